"""Seeded, bounded fuzz targets; `make fuzz` runs them all."""

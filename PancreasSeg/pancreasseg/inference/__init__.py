"""Running networks: device and precision, tiles, and what happens when memory runs out."""

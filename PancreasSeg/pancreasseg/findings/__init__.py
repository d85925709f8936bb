"""Quality remarks about volumes and results."""

"""What a click does: the run, its results, statistics, models, packages and export."""

"""Training: cohorts, recipes, evaluation. Only the command line knows this room."""

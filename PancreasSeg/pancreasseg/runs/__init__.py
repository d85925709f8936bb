"""A pipeline at work: one run from CT to files, and the trial of a model before it is installed."""

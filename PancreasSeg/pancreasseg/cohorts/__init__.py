"""Cohorts of CTs with labels: found, checked, dealt out to folds, and resampled as networks want them."""

from pancreasseg.cohorts.case import Case
from pancreasseg.cohorts.cohort import Cohort
from pancreasseg.cohorts.grid import Grid, Sample

__all__ = ["Case", "Cohort", "Grid", "Sample"]

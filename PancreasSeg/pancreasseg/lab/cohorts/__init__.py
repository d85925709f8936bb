"""Cohorts of CTs with labels: found, checked, dealt out to folds, and resampled as networks want them."""

from pancreasseg.lab.cohorts.case import Case
from pancreasseg.lab.cohorts.cohort import Cohort
from pancreasseg.lab.cohorts.grid import Grid, Sample

__all__ = ["Case", "Cohort", "Grid", "Sample"]

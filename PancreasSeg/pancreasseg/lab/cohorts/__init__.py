"""Cohorts of CTs with labels: found, checked, dealt out to folds, and resampled as networks want them."""

from pancreasseg.lab.cohorts.case import Case
from pancreasseg.lab.cohorts.cohort import Cohort
from pancreasseg.lab.cohorts.grid import CaseGrid, Sample

__all__ = ["Case", "CaseGrid", "Cohort", "Sample"]

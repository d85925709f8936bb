"""A synthetic portal-venous abdomen with its label map, for tests, demos and pre-training."""

from pancreasseg.phantom.anatomy import Anatomy
from pancreasseg.phantom.parts import LABELS, NAMES, PANCREAS
from pancreasseg.phantom.phantom import Phantom, make_phantom, scan

__all__ = ["LABELS", "NAMES", "PANCREAS", "Anatomy", "Phantom", "make_phantom", "scan"]

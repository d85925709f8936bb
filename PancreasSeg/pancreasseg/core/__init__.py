"""What everything speaks of: a CT, its grid, boxes in it, results, findings, measurements, errors, progress."""

from pancreasseg.core.box import Box
from pancreasseg.core.geometry import Geometry
from pancreasseg.core.volume import Volume

__all__ = ["Box", "Geometry", "Volume"]

"""A CT, its grid in space, and boxes in that grid."""

from pancreasseg.volume.box import Box
from pancreasseg.volume.geometry import Geometry
from pancreasseg.volume.volume import Volume

__all__ = ["Box", "Geometry", "Volume"]

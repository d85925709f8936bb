"""An image as its file stores it, before anyone asks whether it is a CT or a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding, Severity

MILLIMETRES = frozenset({"", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres"})


@dataclass(frozen=True)
class StoredImage:
    """Stored values, their grid, and what else the file says.

    Attributes:
        array: (K, J, I), or (K, J, I, C) with several components; in the machine's byte order.
        geometry: the grid.
        slope, intercept: the value meant is ``array * slope + intercept``.
        findings: what is odd about the file.
        keys: the file's key-value pairs.
    """

    array: np.ndarray
    geometry: Geometry
    slope: float = 1.0
    intercept: float = 0.0
    findings: tuple[Finding, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


def no_orientation() -> Finding:
    """The remark on a file that is placed as ITK and Slicer place it: index axes along L, P, S."""
    return Finding(
        "no-orientation",
        Severity.WARNING,
        "The file does not say how the patient lies; left and right, front and back are assumed. Check them.",
    )


def no_spacing() -> Finding:
    """The remark on a file without voxel size, which every program takes for 1 mm."""
    return Finding(
        "spacing-not-stated",
        Severity.SERIOUS,
        "The file does not say how large its voxels are; 1 mm is assumed, so every length and volume may be wrong. "
        "Export the CT again with its spacing.",
    )


def other_unit() -> Finding:
    """The remark on a file that states its voxel size in another unit than mm, which ITK and Slicer read as mm."""
    return Finding(
        "unit-not-mm",
        Severity.WARNING,
        "The file states its voxel size in another unit than mm, but other programs read it as mm, as was done here. "
        "Check the size of the body.",
    )

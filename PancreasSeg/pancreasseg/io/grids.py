"""Grids as files state them, made into a `Geometry` or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError

MAX_VOXEL_MM = 50.0
MAX_EXTENT_MM = 3000.0
_ROUNDING = 1e-6  # cosines this close to orthonormal are kept to the bit
_FARTHEST_MM = 1e6


def make_geometry(
    size: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
    origin: Sequence[float] | np.ndarray,
    direction: np.ndarray,
) -> Geometry:
    """The grid that a file states, with orthonormal axes.

    Cosines that were rounded when the file was written are replaced by the nearest orthonormal ones (polar
    decomposition), about the volume's centre, as long as no voxel moves by more than half of the smallest spacing.

    Args:
        size: voxels along i, j, k.
        spacing: mm along i, j, k.
        origin: LPS mm of the first voxel.
        direction: 3x3; column c is the LPS direction of index axis c, of length 1 but for rounding.

    Raises:
        InputError: a spacing or axis that makes no sense, or axes that are truly sheared.
    """
    steps = np.asarray(spacing, dtype=float)
    start = np.asarray(origin, dtype=float)
    axes = np.asarray(direction, dtype=float).reshape(3, 3)
    _refuse_senseless(steps, start, axes)
    refuse_implausible(size, steps)
    left, _, right = np.linalg.svd(axes)
    nearest = left @ right
    if np.abs(nearest - axes).max() > _ROUNDING:
        half = steps * (np.asarray(size) - 1) / 2
        corners = np.array(np.meshgrid(*[(-h, h) for h in half])).reshape(3, -1).T
        moved = float(np.linalg.norm(corners @ (nearest - axes).T, axis=1).max())
        if moved > 0.5 * float(steps.min()):
            raise InputError(
                "sheared-grid",
                f"The axes of the volume are not at right angles (its corners are off by {moved:.1f} mm).",
                "Resample it to a rectangular grid first, for example with Slicer's Resample Image module.",
            )
        start = start + (axes - nearest) @ half
        axes = nearest
    i, j, k = (int(n) for n in size)
    sx, sy, sz = (float(s) for s in steps)
    ox, oy, oz = (float(o) for o in start)
    return Geometry((i, j, k), (sx, sy, sz), (ox, oy, oz), tuple(float(d) for d in axes.ravel()))


def refuse_implausible(size: Sequence[int], spacing: Sequence[float] | np.ndarray) -> None:
    """Raise `InputError` for a grid larger than any scan of a person: resampling it would take all memory."""
    largest = float(max(spacing))
    if not largest <= MAX_VOXEL_MM:
        raise InputError(
            "voxels-too-large",
            f"The voxels are {largest:.4g} mm large, but those of a CT are at most a few mm.",
            "Check that the voxel spacing is in mm, or export the CT again from its DICOM files.",
        )
    extent = max(n * float(s) for n, s in zip(size, spacing, strict=True))
    if not extent <= MAX_EXTENT_MM:
        raise InputError(
            "field-of-view-too-large",
            f"The volume is {extent / 1000:.4g} m long, longer than any scan of a person.",
            "Check that the voxel spacing is in mm, or export the CT again from its DICOM files.",
        )


def _refuse_senseless(steps: np.ndarray, start: np.ndarray, axes: np.ndarray) -> None:
    finite = all(np.isfinite(v).all() for v in (steps, start, axes))
    if (
        not finite
        or steps.min() <= 0
        or np.abs(start).max() > _FARTHEST_MM
        or np.abs(axes).max() > 2
        or abs(np.linalg.det(axes)) < 1e-3
    ):
        raise InputError(
            "bad-geometry",
            "The file states a voxel spacing or orientation that makes no sense.",
            "Export the CT again from its DICOM files.",
        )

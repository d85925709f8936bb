"""Margins in mm around the pancreas, as masks for planning.

Distances are measured between voxel centres in world mm, so anisotropic and oblique grids are exact: a voxel belongs
to the margin when some voxel of the organ lies within reach.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from scipy import fft, ndimage

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.export.segment import ExportSegment
from pancreasseg.grids.body import body_mask

LARGEST_MM = 100.0
RING_MM = 20.0
_ON_THE_EDGE = 1e-6  # mm; a voxel exactly at the margin belongs to it


@dataclass(frozen=True)
class Margins:
    """How far to grow, in mm towards the patient's left, right, front, back, head and feet."""

    left: float
    right: float
    anterior: float
    posterior: float
    superior: float
    inferior: float

    @classmethod
    def all_around(cls, millimetres: float) -> Margins:
        """The same in every direction."""
        return cls(*[float(millimetres)] * 6)

    def towards(self, world: np.ndarray) -> np.ndarray:
        """The radii (..., 3) along L-R, A-P, S-I that hold for LPS vectors (..., 3)."""
        plus = np.array([self.left, self.posterior, self.superior])
        minus = np.array([self.right, self.anterior, self.inferior])
        return np.where(world >= 0, plus, minus)


def grow(
    mask: np.ndarray, geometry: Geometry, margins: float | Margins, *, within: np.ndarray | None = None
) -> np.ndarray:
    """The organ with a margin.

    A single number grows by a ball (exact Euclidean distance). Different numbers grow by a body made of eight parts of
    ellipsoids whose half axes are the margins along the patient's axes; a margin of 0 does not grow that way at all.

    Args:
        mask: non-zero inside, shape (K, J, I).
        geometry: its grid.
        margins: mm.
        within: non-zero where the margin may go, e.g. `body_of`; the organ itself is
            kept whole in any case.

    Returns:
        uint8 mask on the same grid, ending at the volume's border.

    Raises:
        InputError: a margin that is negative or larger than 100 mm, or an empty mask.
    """
    margins = margins if isinstance(margins, Margins) else Margins.all_around(margins)
    reach = astuple(margins)
    if not (np.isfinite(reach).all() and min(reach) >= 0 and max(reach) <= LARGEST_MM):
        raise InputError(
            "margin-out-of-range", f"A margin must lie between 0 and {LARGEST_MM:.0f} mm.", "Change the margin."
        )
    organ = Box.of_mask(mask)
    if organ is None:
        raise InputError("segment-empty", "An empty segment has no margin.", "Segment the pancreas first.")
    box = organ.grow(max(reach), geometry)
    inside = mask[box.slices] != 0
    if min(reach) == max(reach):
        steps = geometry.spacing[::-1]
        grown = ndimage.distance_transform_edt(~inside, sampling=steps) <= max(reach) + _ON_THE_EDGE
    else:
        grown = _dilate(inside, _ellipsoid(geometry, margins))
    if within is not None:
        grown &= within[box.slices] != 0
    result: np.ndarray = np.zeros(geometry.shape, dtype=np.uint8)
    result[box.slices] = grown | inside
    return result


def margin_segment(
    pancreas: ExportSegment,
    geometry: Geometry,
    millimetres: tuple[float, float, float],
    *,
    within: np.ndarray | None = None,
) -> ExportSegment:
    """The pancreas with a margin, named after it.

    Args:
        pancreas: what is enlarged.
        geometry: grid of its mask.
        millimetres: towards right and left, front and back, head and feet.
        within: as for `grow`.

    Raises:
        InputError: as for `grow`.
    """
    x, y, z = millimetres
    same = x == y == z
    grown = grow(pancreas.mask, geometry, x if same else Margins(x, x, y, y, z, z), within=within)
    label = f"{x:g} mm" if same else f"{x:g}/{y:g}/{z:g} mm"
    return ExportSegment.margin(grown, f"{pancreas.name} + {label}", pancreas.algorithm)


def ring(
    mask: np.ndarray, geometry: Geometry, millimetres: float = RING_MM, *, within: np.ndarray | None = None
) -> np.ndarray:
    """The margin without the organ, 2 cm wide unless told otherwise; arguments as for `grow`."""
    return grow(mask, geometry, millimetres, within=within) & (mask == 0).astype(np.uint8)


def body_of(volume: Volume) -> np.ndarray:
    """Where a margin may go that is not to leave the body: uint8, shape (K, J, I)."""
    return body_mask(volume)


def _ellipsoid(geometry: Geometry, margins: Margins) -> np.ndarray:
    """Boolean (K, J, I) stencil, odd in size: offsets from the centre voxel that the margins reach."""
    half = [int(max(astuple(margins)) / spacing + _ON_THE_EDGE) for spacing in geometry.spacing]
    ranges = [np.arange(-n, n + 1) for n in half]
    k, j, i = np.meshgrid(ranges[2], ranges[1], ranges[0], indexing="ij")
    world = np.stack([i, j, k], axis=-1) @ (geometry.axes * np.asarray(geometry.spacing)).T
    parts = world / (margins.towards(world) + _ON_THE_EDGE)
    return np.asarray((parts**2).sum(axis=-1) <= 1)


def _dilate(inside: np.ndarray, stencil: np.ndarray) -> np.ndarray:
    """Binary dilation by a large stencil as a convolution: counts are whole numbers, so rounding cannot decide."""
    shape = [fft.next_fast_len(n + s - 1, real=True) for n, s in zip(inside.shape, stencil.shape, strict=True)]
    counts = fft.irfftn(
        fft.rfftn(inside.astype(np.float64), shape, workers=-1)
        * fft.rfftn(stencil.astype(np.float64), shape, workers=-1),
        shape,
        workers=-1,
    )
    return np.asarray(
        counts[tuple(slice(s // 2, s // 2 + n) for n, s in zip(inside.shape, stencil.shape, strict=True))] > 0.5
    )

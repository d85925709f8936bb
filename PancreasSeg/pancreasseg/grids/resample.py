"""Between a volume's own grid and the grid a network wants.

Network grids stay parallel to the volume's axes (flipped and permuted to the nearest anatomical orientation, never
rotated), so a box is a box on both sides and an oblique acquisition loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core.box import Box
from pancreasseg.core.geometry import Geometry
from pancreasseg.core.lazy import Library
from pancreasseg.grids.means import block_means

if TYPE_CHECKING:
    import SimpleITK as sitk
else:
    sitk = Library("SimpleITK")

AIR_HU = -1024.0

_LPS_AXIS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


def to_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """SimpleITK image of a (K, J, I) array on ``geometry``; bool becomes uint8."""
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def nearest_axes(geometry: Geometry, orientation: str = "LPS") -> list[tuple[int, int]]:
    """For each axis letter of ``orientation`` the (index axis, sign) of the volume that points most along it.

    Letters name the direction an axis points to, as in DICOM and SimpleITK ("LPS": left, posterior, superior).
    """
    cosines = geometry.axes
    wanted = [_LPS_AXIS[letter] for letter in orientation]
    # The assignment with the largest total alignment, so that no index axis is used twice.
    orders = [(a, b, 3 - a - b) for a in range(3) for b in range(3) if a != b]
    best = max(orders, key=lambda order: sum(abs(cosines[w[0], a]) for w, a in zip(wanted, order, strict=True)))
    return [(a, int(np.sign(cosines[world, a]) or 1) * sign) for (world, sign), a in zip(wanted, best, strict=True)]


def network_grid(
    geometry: Geometry,
    box: Box,
    *,
    spacing: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    orientation: str = "LPS",
) -> Geometry:
    """The grid of a network input over ``box``, in the anatomical orientation nearest to the volume's axes.

    Args:
        geometry: the volume's grid.
        box: region to cover, outer voxel faces included.
        spacing: mm along the axes of ``orientation``; the grid covers the box, centred, with whole voxels. Or:
        size: voxels along the axes of ``orientation``; spacing follows so that the grid covers the box exactly.
        orientation: e.g. "LPS", or "LAI" as OBELISK-Net wants.

    Raises:
        ValueError: neither or both of spacing and size given.
    """
    if (spacing is None) == (size is None):
        raise ValueError("give either spacing or size")
    chosen = nearest_axes(geometry, orientation)
    extent = [box.size[a] * geometry.spacing[a] for a, _ in chosen]
    if spacing is not None:
        counts = [max(1, int(np.ceil(e / s - 1e-6))) for e, s in zip(extent, spacing, strict=True)]
        steps = [float(s) for s in spacing]
    else:
        counts = [int(n) for n in size or ()]
        steps = [e / n for e, n in zip(extent, counts, strict=True)]
    direction = np.stack([geometry.axes[:, a] * sign for a, sign in chosen], axis=1)
    centre = geometry.to_world([(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)])
    origin = centre - direction @ (np.asarray(steps) * (np.asarray(counts) - 1) / 2)
    i, j, k = counts
    sx, sy, sz = steps
    ox, oy, oz = (float(o) for o in origin)
    return Geometry((i, j, k), (sx, sy, sz), (ox, oy, oz), tuple(float(d) for d in direction.ravel()))


def to_grid(
    array: np.ndarray, geometry: Geometry, grid: Geometry, outside: float = AIR_HU, *, antialias: bool = True
) -> np.ndarray:
    """Linear resampling of a (K, J, I) array onto ``grid`` as float32; ``outside`` where the volume does not reach.

    When the grid is coarser, whole blocks of voxels are averaged first, so that thin things do not alias; without
    ``antialias`` they are not, as some published networks were trained.
    """
    factors = [1, 1, 1]
    for axis in range(3 if antialias else 0):
        along = np.abs(grid.axes.T @ geometry.axes[:, axis])
        step = grid.spacing[int(along.argmax())]
        factors[axis] = int(np.clip(step / geometry.spacing[axis] + 1e-6, 1, geometry.size[axis]))
    if max(factors) > 1:
        array = block_means(array, factors, complete=True)
        geometry = _of_blocks(geometry, factors, array.shape)
    target = sitk.Resample(
        to_image(array, geometry),
        list(grid.size),
        sitk.Transform(),
        sitk.sitkLinear,
        list(grid.origin),
        list(grid.spacing),
        list(grid.direction),
        float(outside),
        sitk.sitkFloat32,
    )
    return np.asarray(sitk.GetArrayFromImage(target))


def _of_blocks(geometry: Geometry, factors: Sequence[int], shape: Sequence[int]) -> Geometry:
    """The grid of means of blocks: their centres."""
    i, j, k = (f * s for f, s in zip(factors, geometry.spacing, strict=True))
    x, y, z = (float(c) for c in geometry.to_world([(f - 1) / 2 for f in factors]))
    return Geometry((shape[2], shape[1], shape[0]), (i, j, k), (x, y, z), geometry.direction)


def from_grid(array: np.ndarray, grid: Geometry, geometry: Geometry, box: Box, outside: float = 0.0) -> np.ndarray:
    """Linear resampling of a map on ``grid`` back to the volume's own voxels inside ``box``.

    Args:
        array: probabilities, or what else there is on ``grid``, shape (K, J, I) of the grid.
        grid: as made by `network_grid`.
        geometry: the volume's grid.
        box: the voxels wanted.
        outside: what is said where the grid does not reach.

    Returns:
        float32 array of shape ``box.shape``.
    """
    native = geometry.crop(box)
    back = sitk.Resample(
        to_image(np.ascontiguousarray(array, dtype=np.float32), grid),
        list(native.size),
        sitk.Transform(),
        sitk.sitkLinear,
        list(native.origin),
        list(native.spacing),
        list(native.direction),
        float(outside),
        sitk.sitkFloat32,
    )
    return np.asarray(sitk.GetArrayFromImage(back))


def paste(values: np.ndarray, box: Box, geometry: Geometry, dtype: type = np.uint8) -> np.ndarray:
    """An array on the whole grid that is zero but for ``values`` inside ``box``; exact, no interpolation.

    Raises:
        ValueError: the box is not inside the grid, or ``values`` is not of its shape.
    """
    if box.clip(geometry) != box or values.shape != box.shape:
        raise ValueError(f"values {values.shape} do not fit the box {box.bounds()} in {geometry.shape}")
    whole: np.ndarray = np.zeros(geometry.shape, dtype=dtype)
    whole[box.slices] = values
    return whole

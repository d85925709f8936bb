"""Where the patient is in the volume: a box, a mask for planning, and the mask that Roth's method prescribes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.lazy import Library
from pancreasseg.grids.morphology import opened
from pancreasseg.grids.resample import nearest_axes, to_grid

if TYPE_CHECKING:
    import SimpleITK as sitk
else:
    sitk = Library("SimpleITK")

#: HU above which a voxel is tissue and not air or lung.
TISSUE_HU = -300.0
#: Grid on which the body is looked for; fine enough for a box, coarse enough to cost nothing.
GRID_MM = 4.0
_BLOCK_MM = 3.0


def body_box(volume: Volume) -> Box:
    """The box around the body, without the table: the largest piece of tissue once thin things are opened away.

    Returns the whole volume when there is no tissue.
    """
    grid = _coarse(volume.geometry)
    tissue = opened(to_grid(volume.array, volume.geometry, grid) > TISSUE_HU, (2, 2, 0))
    components = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(tissue.astype(np.uint8))))
    box = Box.of_mask(np.asarray(sitk.GetArrayFromImage(components)) == 1)
    return Box.whole(volume.geometry) if box is None else map_box(box, grid, volume.geometry)


def map_box(box: Box, grid: Geometry, geometry: Geometry) -> Box:
    """The smallest box of whole voxels of ``geometry`` around ``box`` of ``grid``, clipped to the volume.

    Outer voxel faces are mapped, so nothing of the box is lost.
    """
    faces = np.array([box.start, box.stop], dtype=float) - 0.5
    corners = np.array(np.meshgrid(*faces.T, indexing="ij")).reshape(3, -1).T
    mapped = geometry.to_index(grid.to_world(corners)) + 0.5
    low = np.floor(mapped.min(axis=0) + 1e-6).astype(int)
    high = np.ceil(mapped.max(axis=0) - 1e-6).astype(int)
    return Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))).clip(geometry)


def body_mask(volume: Volume) -> np.ndarray:
    """The body without the table, gas inside it included: uint8, shape (K, J, I).

    Tissue (above -300 HU) in and next to the largest piece of solid blocks of 3 mm, so that thin things (covers, the
    table's shell, bridges to it) stay out; holes are filled slice by slice. Everything is body when there is no tissue.
    """
    from scipy import ndimage

    tissue = volume.array > TISSUE_HU
    planes, rows, columns = tissue.shape
    across, down = (max(1, round(_BLOCK_MM / spacing)) for spacing in volume.geometry.spacing[:2])
    padded = np.pad(tissue, ((0, 0), (0, -rows % down), (0, -columns % across)), mode="edge")
    blocks = padded.reshape(planes, padded.shape[1] // down, down, padded.shape[2] // across, across).all(axis=(2, 4))
    pieces, count = ndimage.label(blocks)
    if count == 0:
        return np.ones(volume.geometry.shape, dtype=np.uint8)
    largest = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    near = ndimage.binary_dilation(largest, np.ones((1, 3, 3), dtype=bool))
    body = tissue & near.repeat(down, axis=1).repeat(across, axis=2)[:, :rows, :columns]
    for k, plane in enumerate(body):
        outside, _ = ndimage.label(~np.pad(plane, 1))
        body[k] = (outside != outside[0, 0])[1:-1, 1:-1]
    return body.astype(np.uint8)


def eroded_body(hu: np.ndarray, threshold: float = TISSUE_HU, steps: int = 2) -> np.ndarray:
    """The body: threshold, erode, largest piece, dilate, fill holes slice by slice (Roth 2017, section 2.1).

    Args:
        hu: (K, J, I), K the axial slices.
        threshold: HU above which a voxel is tissue.
        steps: of erosion and dilation, in voxels.

    Returns:
        bool (K, J, I); the paper reports about 40 % of the voxels.
    """
    from scipy import ndimage

    tissue = hu > threshold
    # What the border cuts off goes on beyond it.
    eroded = ndimage.binary_erosion(tissue, iterations=steps, border_value=1) if steps else tissue
    pieces, count = ndimage.label(eroded)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    whole = ndimage.binary_dilation(largest, iterations=steps) if steps else largest
    return np.stack([ndimage.binary_fill_holes(plane) for plane in whole])


def _coarse(geometry: Geometry) -> Geometry:
    """A coarse grid parallel to the volume in its own axis order, never finer than the volume itself."""
    counts = [max(1, round(n * s / max(GRID_MM, s))) for n, s in zip(geometry.size, geometry.spacing, strict=True)]
    steps = [n * s / c for n, s, c in zip(geometry.size, geometry.spacing, counts, strict=True)]
    origin = geometry.to_world([(step / s - 1) / 2 for step, s in zip(steps, geometry.spacing, strict=True)])
    i, j, k = counts
    sx, sy, sz = steps
    ox, oy, oz = (float(o) for o in origin)
    return Geometry((i, j, k), (sx, sy, sz), (ox, oy, oz), geometry.direction)


def superior_axis(geometry: Geometry) -> tuple[int, int]:
    """(index axis, sign) of the volume that points most nearly towards the head."""
    return nearest_axes(geometry)[2]

"""Where the patient is in the volume."""

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

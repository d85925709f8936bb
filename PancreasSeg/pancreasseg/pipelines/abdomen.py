"""Where the abdomen lies in a scan that may reach from the neck to the knees; without any network.

Everything here works on a coarse copy of the volume in LPS orientation: slices ascend towards the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.lazy import Library
from pancreasseg.grids.body import GRID_MM, TISSUE_HU
from pancreasseg.grids.resample import nearest_axes, network_grid, to_grid

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Library("scipy.ndimage")

#: HU of lung; bowel gas is mostly below, soft tissue above.
LUNG_HU = (-970.0, -500.0)
#: Share of the body's cross-section that is lung just above the liver dome.
DOME_LUNG = 0.38
#: The same share in the bases of the lungs.
BASE_LUNG = 0.08
#: A slice holds less than this (square cm): no body there.
LEAST_AREA_CM2 = 60.0
#: Parts of the body's width and depth that the box leaves out: left and right, front, back. OBELISK-Net was trained so.
TRIM_SIDE, TRIM_FRONT, TRIM_BACK = 0.03, 0.02, 0.08


@dataclass(frozen=True)
class Abdomen:
    """The body in a coarse LPS grid.

    Attributes:
        grid: the coarse grid; its slices ascend towards the head.
        inside: bool (K, J, I), the filled trunk without table and detached arms.
        lung: share of each slice's trunk that is lung, (K,).
        first, last: range of slices that hold a body, first <= k < last.
    """

    grid: Geometry
    inside: np.ndarray
    lung: np.ndarray
    first: int
    last: int

    @property
    def length_mm(self) -> float:
        """From the lowest to the highest slice with a body."""
        return (self.last - self.first) * self.grid.spacing[2]

    def dome(self) -> int | None:
        """Slice just above the liver dome, judged by the lungs; None where the scan shows too little lung to tell."""
        enough = self.lung[self.first : self.last] >= DOME_LUNG
        run = max(1, round(20.0 / self.grid.spacing[2]))
        # Going up, the first slice from which the lungs fill that much for 2 cm.
        for k in range(len(enough) - run + 1):
            if enough[k : k + run].all():
                return self.first + k
        # A scan that ends in the bases of the lungs ends near the dome.
        return self.last if self.lung[self.last - 1] >= BASE_LUNG else None

    def box(self, geometry: Geometry, bottom: int, top: int) -> Box:
        """The body's box over the slices ``bottom <= k < top``, trimmed at the sides, in the voxels of ``geometry``."""
        low, high = [0.0, 0.0, float(bottom)], [0.0, 0.0, float(top)]
        slab = self.inside[bottom:top]
        for axis, before, after in ((0, TRIM_SIDE, TRIM_SIDE), (1, TRIM_FRONT, TRIM_BACK)):
            occupied = np.flatnonzero(slab.any(axis=(0, 1 if axis == 0 else 2)))
            start, stop = (occupied[0], occupied[-1] + 1) if occupied.size else (0, self.grid.size[axis])
            low[axis] = start + before * (stop - start)
            high[axis] = stop - after * (stop - start)
        return _nearest_box(low, high, self.grid, geometry)


def find_abdomen(volume: Volume) -> Abdomen | None:
    """The body in a coarse grid, or None where the volume holds none."""
    geometry = volume.geometry
    _, _, (axis, _) = nearest_axes(geometry)
    spacing = (GRID_MM, GRID_MM, max(GRID_MM, geometry.spacing[axis]))
    grid = network_grid(geometry, Box.whole(geometry), spacing=spacing)
    hu = to_grid(volume.array, geometry, grid)
    tissue, _ = ndimage.label(hu > TISSUE_HU)
    if not tissue.any():
        return None
    body = tissue == np.bincount(tissue.ravel())[1:].argmax() + 1
    # Filled before it is opened: the chest wall is thin, and without it the lungs would lie outside.
    filled = np.stack([ndimage.binary_fill_holes(part) for part in body])
    disk = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 3)
    inside = np.stack([_largest(ndimage.binary_opening(part, disk)) for part in filled])
    lungs = inside & (hu > LUNG_HU[0]) & (hu < LUNG_HU[1])
    area = inside.sum(axis=(1, 2))
    held = np.flatnonzero(area * GRID_MM**2 / 100 >= LEAST_AREA_CM2)
    if held.size == 0:
        return None
    lung = lungs.sum(axis=(1, 2)) / np.maximum(area, 1)
    return Abdomen(grid, inside, lung, int(held[0]), int(held[-1]) + 1)


def _largest(part: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(part)
    if count < 2:
        return part
    return np.asarray(labels == np.bincount(labels.ravel())[1:].argmax() + 1)


def _nearest_box(low: list[float], high: list[float], grid: Geometry, geometry: Geometry) -> Box:
    """The box of ``geometry`` whose faces lie nearest to the given voxel faces of ``grid``, clipped to the volume."""
    faces = geometry.to_index(grid.to_world(np.array([low, high]) - 0.5)) + 0.5
    start, stop = np.rint(faces.min(axis=0)).astype(int), np.rint(faces.max(axis=0)).astype(int)
    stop = np.maximum(stop, start + 1)
    i0, j0, k0 = (int(v) for v in start)
    i1, j1, k1 = (int(v) for v in stop)
    return Box((i0, j0, k0), (i1, j1, k1)).clip(geometry)

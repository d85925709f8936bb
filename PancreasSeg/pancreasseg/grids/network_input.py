"""The one way from a CT to what a network sees: pipelines, cohorts and training all go it.

A box of the CT and a rim around it are resampled to the network's grid, then HU become network values. Training that
prepared its cases in another way would teach networks noise that they never meet.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pancreasseg.core.box import Box
from pancreasseg.core.geometry import Geometry
from pancreasseg.core.volume import Volume
from pancreasseg.grids.resample import AIR_HU, nearest_axes, network_grid, to_grid

if TYPE_CHECKING:
    from torch import Tensor

#: Of this module's arithmetic. Another version gives other voxels: cards say which one their networks learned on, and
#: arrays that a cohort keeps are made anew.
VERSION = 1

Values = TypeVar("Values", np.ndarray, "Tensor")


@dataclass(frozen=True)
class Preprocessing:
    """How a CT becomes the network's input.

    Attributes:
        orientation: three letters, the directions that the input's axes point to ("LPS", or "LAI" for OBELISK-Net).
        array_axes: "kji" when the tensor's spatial axes are (z, y, x) of ``orientation``, "ijk" when (x, y, z).
        spacing_mm: voxel size along the axes of ``orientation``, or None. Exactly one of this, ``size`` and
            ``decimation`` is given.
        size: voxels that the region is resampled to along the axes of ``orientation``, or None.
        decimation: every how many of the CT's own voxels along each axis the network sees one, or None; 1 is the CT's
            own grid.
        window_hu: HU are clipped to this, or None.
        scale, shift: value = HU * scale + shift.
        antialias: blocks of voxels are averaged before a CT is resampled to a coarser grid; false for networks that
            were trained on plain linear resampling.
        patch: sliding window along the axes of ``orientation``, or None.
        version: of the arithmetic, see `VERSION`.
    """

    orientation: str = "LPS"
    array_axes: str = "kji"
    spacing_mm: tuple[float, float, float] | None = None
    size: tuple[int, int, int] | None = None
    decimation: int | None = None
    window_hu: tuple[float, float] | None = None
    scale: float = 1.0
    shift: float = 0.0
    antialias: bool = True
    patch: tuple[int, int, int] | None = None
    version: int = VERSION

    def as_dict(self) -> dict[str, Any]:
        """The entry of a model card."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def grid(self, geometry: Geometry, box: Box) -> Geometry:
        """The network's grid over ``box`` of a CT on ``geometry``."""
        spacing = self.spacing_mm
        if self.decimation is not None:
            axes = nearest_axes(geometry, self.orientation)
            x, y, z = (geometry.spacing[axis] * self.decimation for axis, _ in axes)
            spacing = (x, y, z)
        return network_grid(geometry, box, spacing=spacing, size=self.size, orientation=self.orientation)

    def resample(self, array: np.ndarray, geometry: Geometry, box: Box, outside: float = AIR_HU) -> np.ndarray:
        """A CT, or a map on its grid, on the network's grid over ``box``.

        Args:
            array: (K, J, I) on ``geometry``.
            geometry: the CT's own grid.
            box: the region that the network looks at.
            outside: value where the CT does not reach.

        Returns:
            float32 (K, J, I) on `grid`.
        """
        grid = self.grid(geometry, box)
        near = surroundings(geometry, box, grid)
        return to_grid(array[near.slices], geometry.crop(near), grid, outside, antialias=self.antialias)

    def normalise(self, hu: Values) -> Values:
        """HU of any shape to network values; arrays become float32, tensors keep their type."""
        values: Any = hu if self.window_hu is None else hu.clip(*self.window_hu)
        values = values * np.float32(self.scale) + np.float32(self.shift)
        return np.asarray(values, dtype=np.float32) if isinstance(hu, np.ndarray) else values

    def prepare(self, volume: Volume, box: Box) -> tuple[np.ndarray, Geometry]:
        """Network values over ``box`` of a CT, float32 (K, J, I), and their grid."""
        hu = self.resample(volume.array, volume.geometry, box)
        return self.normalise(hu), self.grid(volume.geometry, box)


def surroundings(geometry: Geometry, box: Box, grid: Geometry) -> Box:
    """The box and the rim that is resampled with it.

    Interpolation on ``grid`` reaches beyond the box; the rest of the CT is left alone, so that a small box of a large
    CT costs little. Means of blocks begin at the rim's first voxel, so the rim is part of what a network learns on.
    """
    return box.grow(2 * max(grid.spacing), geometry)

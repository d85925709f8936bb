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
        own_slices: the third entry of ``spacing_mm`` is only aimed at; the network sees every slice of the CT, or means
            of as many whole slices as come nearest to it. Nothing is interpolated between thick slices.
        neighbours_mm: where along the third axis of ``orientation`` the channels of the input lie, 0 being the slice
            itself; None for one channel. At the ends of the CT the last slice stands in for those beyond.
        context_mm: how much of the CT within the slice a network sees around the box that it answers for.
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
    own_slices: bool = False
    neighbours_mm: tuple[float, ...] | None = None
    context_mm: float = 0.0
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
        if self.own_slices and spacing is not None:
            axis, _ = nearest_axes(geometry, self.orientation)[2]
            own = geometry.spacing[axis]
            spacing = (*spacing[:2], own * max(1, round(spacing[2] / own)))
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
        """Network values over ``box`` of a CT, float32 (K, J, I) or (channels, K, J, I), and their grid."""
        grid = self.grid(volume.geometry, box)
        if self.neighbours_mm is None:
            return self.normalise(self.resample(volume.array, volume.geometry, box)), grid
        offsets = [round(mm / grid.spacing[2]) for mm in self.neighbours_mm]
        reach = max(abs(offset) for offset in offsets)
        near = box.grow(max(abs(mm) for mm in self.neighbours_mm) + 3 * max(grid.spacing), volume.geometry)
        part, tall = volume.geometry.crop(near), taller(grid, reach)
        hu = to_grid(volume.array[near.slices], part, tall, AIR_HU, antialias=self.antialias)
        values = self.normalise(hu[_inside(tall, volume.geometry)])
        depth = grid.size[2]
        return np.stack([values[reach + offset : reach + offset + depth] for offset in offsets]), grid

    def context(self, box: Box, geometry: Geometry) -> Box:
        """The box that a network sees when it is to answer for ``box``: `context_mm` wider within the slice."""
        wide = [int(np.ceil(self.context_mm / s)) for s in geometry.spacing]
        wide[nearest_axes(geometry, self.orientation)[2][0]] = 0
        return box.pad(wide, wide).clip(geometry)


def surroundings(geometry: Geometry, box: Box, grid: Geometry) -> Box:
    """The box and the rim that is resampled with it.

    Interpolation on ``grid`` reaches beyond the box; the rest of the CT is left alone, so that a small box of a large
    CT costs little. Means of blocks begin at the rim's first voxel, so the rim is part of what a network learns on.
    """
    return box.grow(2 * max(grid.spacing), geometry)


def taller(grid: Geometry, slices: int) -> Geometry:
    """A grid with so many more slices at either end."""
    i, j, k = grid.size
    first = grid.to_world((0.0, 0.0, -float(slices)))
    origin = (float(first[0]), float(first[1]), float(first[2]))
    return Geometry((i, j, k + 2 * slices), grid.spacing, origin, grid.direction)


def _inside(grid: Geometry, geometry: Geometry) -> np.ndarray:
    """For each slice of a grid its own index, or that of the nearest slice that lies within the CT on ``geometry``."""
    middle = [(n - 1) / 2 for n in grid.size[:2]]
    centres = geometry.to_index(grid.to_world(np.array([[*middle, float(k)] for k in range(grid.size[2])])))
    axis = int(np.abs(geometry.axes.T @ grid.axes[:, 2]).argmax())
    held = np.flatnonzero((centres[:, axis] >= -0.5) & (centres[:, axis] <= geometry.size[axis] - 0.5))
    return np.arange(grid.size[2]) if held.size == 0 else np.arange(grid.size[2]).clip(held[0], held[-1])

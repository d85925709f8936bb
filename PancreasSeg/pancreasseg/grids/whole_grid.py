"""The grid that nnU-Net and TotalSegmentator lay over a whole CT, and the part of it that is needed.

The grids of this project's own networks are laid over a box. Networks of nnU-Net saw another arithmetic: the whole CT,
cropped to what is not zero, brought to their spacing by cubic splines. What such a network sees in a box has to be cut
out of that, or it would see something else. Resampling is linear and goes axis by axis, so the cut costs only what lies
in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core.box import Box
from pancreasseg.core.geometry import Geometry
from pancreasseg.core.lazy import Library
from pancreasseg.core.volume import Volume
from pancreasseg.grids.axis import Axis
from pancreasseg.grids.conventions import ANISOTROPY, Conventions
from pancreasseg.grids.network_input import Preprocessing
from pancreasseg.grids.resample import nearest_axes

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Library("scipy.ndimage")

#: Slices that are resampled at once; more would only need more memory.
_SLAB = 24

#: start <= voxel < stop along the network's axes; may reach beyond the grid.
Window = tuple[tuple[int, int, int], tuple[int, int, int]]


class WholeGrid:
    """A network's grid over one CT, cropped to what is not zero.

    Args:
        volume: the CT.
        preprocessing: orientation, spacing and intensities, as in the network's card.
        conventions: the rest of what the network was trained on.

    Raises:
        ValueError: the preprocessing states no spacing.
    """

    def __init__(self, volume: Volume, preprocessing: Preprocessing, conventions: Conventions) -> None:
        if preprocessing.spacing_mm is None:
            raise ValueError("a grid over the whole CT needs a spacing")
        self._spacing = preprocessing.spacing_mm
        self._conventions = conventions
        self._chosen = nearest_axes(volume.geometry, preprocessing.orientation)
        box = Box.of_mask(volume.array != 0) or Box.whole(volume.geometry)
        faces = conventions.scheme == "nnunet"
        self._box = box if faces else Box.whole(volume.geometry)
        self._geometry = volume.geometry
        self._array = volume.array[self._box.slices]
        if conventions.intensities == "z-score-nonzero":
            self._array = _scaled_inside(self._array)
        self._axes = self._resampling(volume.geometry)
        self._low, self._high = ((0, 0, 0), self._size) if faces else self._cropped(box)
        self._intensities = _Intensities(self._array, preprocessing, conventions)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the network's axes."""
        low, high = self._turned(self._low), self._turned(self._high)
        return (high[0] - low[0], high[1] - low[1], high[2] - low[2])

    def window_of(self, box: Box) -> Window:
        """The voxels of the grid that hold a box of the CT and what interpolation in it needs."""
        low, high = [], []
        for letter, (index, sign) in enumerate(self._chosen):
            axis = self._axes[2 - index]
            places = [box.start[index] - 0.5 - self._box.start[index], box.stop[index] - 0.5 - self._box.start[index]]
            if sign < 0:
                places = [axis.old - 1 - place for place in reversed(places)]
            first = math.floor((places[0] - axis.first) / axis.step)
            last = math.ceil((places[1] - axis.first) / axis.step)
            size = self._high[letter] - self._low[letter]
            low.append(min(max(first - self._low[letter], 0), size - 1))
            high.append(min(max(last + 1 - self._low[letter], low[-1] + 1), size))
        return self._turned(low), self._turned(high)

    def values(self, window: Window) -> np.ndarray:
        """What the network sees in a window, float32 along its axes; 0 where the window leaves the grid."""
        start, stop = window
        inside = [(max(a, 0), min(b, n)) for a, b, n in zip(start, stop, self.shape, strict=True)]
        result = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=np.float32)
        if any(b <= a for a, b in inside):
            return result
        part = tuple(slice(a - s, b - s) for (a, b), s in zip(inside, start, strict=True))
        result[part] = self._seen([a for a, _ in inside], [b for _, b in inside])
        return result

    def geometry(self, window: Window) -> Geometry:
        """Where a window lies in space, as (K, J, I) of the card's orientation; see `to_kji`."""
        axes = [self._axes[2 - index] for index, _ in self._chosen]
        start, stop = self._untransposed(window[0]), self._untransposed(window[1])
        spacing, corner = [], [0.0, 0.0, 0.0]
        for letter, ((index, sign), axis) in enumerate(zip(self._chosen, axes, strict=True)):
            place = axis.first + axis.step * (start[letter] + self._low[letter])
            corner[index] = self._box.start[index] + (place if sign > 0 else axis.old - 1 - place)
            spacing.append(self._geometry.spacing[index] * axis.step)
        direction = np.stack([self._geometry.axes[:, index] * sign for index, sign in self._chosen], axis=1)
        x, y, z = (float(value) for value in self._geometry.to_world(corner))
        i, j, k = (b - a for a, b in zip(start, stop, strict=True))
        sx, sy, sz = spacing
        return Geometry((i, j, k), (sx, sy, sz), (x, y, z), tuple(float(d) for d in direction.ravel()))

    def to_kji(self, array: np.ndarray) -> np.ndarray:
        """An array (..., along the network's axes) as (..., K, J, I) of the card's orientation."""
        back = np.argsort(self._conventions.transposition)
        first = array.ndim - 3
        return array.transpose(*range(first), *(first + int(axis) for axis in back))

    @property
    def _size(self) -> tuple[int, int, int]:
        """Voxels of the grid along x, y, z of the orientation, before it is cropped."""
        i, j, k = (self._axes[2 - index].new for index, _ in self._chosen)
        return (i, j, k)

    def _turned(self, letters: Sequence[int]) -> tuple[int, int, int]:
        """Numbers along x, y, z of the orientation as numbers along the network's axes."""
        a, b, c = (letters[2 - axis] for axis in self._conventions.transposition)
        return (a, b, c)

    def _untransposed(self, network: Sequence[int]) -> list[int]:
        """The inverse of `_turned`."""
        letters = [0, 0, 0]
        for value, axis in zip(network, self._conventions.transposition, strict=True):
            letters[2 - axis] = value
        return letters

    def _resampling(self, geometry: Geometry) -> list[Axis]:
        """How each axis of the array (K, J, I) is resampled."""
        conventions = self._conventions
        old, new = [1.0] * 3, [1.0] * 3
        for letter, (index, _) in enumerate(self._chosen):
            old[2 - index], new[2 - index] = geometry.spacing[index], self._spacing[letter]
        if conventions.dimensions == 2:
            kept = 2 - self._chosen[2 - conventions.transposition[0]][0]
            new[kept] = old[kept]
        self._across = _across(old, new, conventions)
        axes = []
        for axis, count in enumerate(self._array.shape):
            voxels = max(1, round(old[axis] / new[axis] * count))
            order = conventions.order_across if axis == self._across else conventions.order
            axes.append(Axis(count, voxels, order, conventions.scheme == "nnunet"))
        return axes

    def _cropped(self, box: Box) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Voxels of the grid that linear resampling can make anything but zero of, along x, y, z."""
        low, high = [], []
        for index, sign in self._chosen:
            axis = self._axes[2 - index]
            places = axis.first + axis.step * np.arange(axis.new)
            places = places if sign > 0 else axis.old - 1 - places
            touched = np.flatnonzero((places > box.start[index] - 1) & (places < box.stop[index]))
            low.append(int(touched[0]) if touched.size else 0)
            high.append(int(touched[-1]) + 1 if touched.size else axis.new)
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def _seen(self, start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
        """Values of a window inside the grid, along the network's axes."""
        first, last = self._untransposed(start), self._untransposed(stop)
        ranges, flips = [(0, 0)] * 3, [False] * 3
        for letter, (index, sign) in enumerate(self._chosen):
            a, b = first[letter] + self._low[letter], last[letter] + self._low[letter]
            size = self._axes[2 - index].new
            ranges[2 - index] = (a, b) if sign > 0 else (size - b, size - a)
            flips[2 - index] = sign < 0
        matrices = []
        for axis, (a, b), flipped in zip(self._axes, ranges, flips, strict=True):
            # Ties of the nearest voxel fall as they do in the orientation in which the network was trained.
            rows, low, high = axis.rows(axis.new - b, axis.new - a) if flipped else axis.rows(a, b)
            if flipped:
                rows, low, high = rows[::-1, ::-1], axis.old - high, axis.old - low
            matrices.append((rows, slice(low, high)))
        values = self._resampled(matrices)
        values = values[tuple(slice(None, None, -1 if flipped else 1) for flipped in flips)]
        order = [2 - self._chosen[2 - axis][0] for axis in self._conventions.transposition]
        return values.transpose(order)

    def _resampled(self, matrices: list[tuple[np.ndarray, slice]]) -> np.ndarray:
        """Values in the CT's own axis order, float32."""
        last = 0 if self._across is None else self._across
        moved = any(axis.moves for axis in self._axes)
        whole = self._conventions.scheme == "totalsegmentator"
        kind = np.float64 if whole else np.float32  # whole numbers must not fall one lower by rounding
        slices = range(*matrices[last][1].indices(self._array.shape[last]))
        slabs = []
        for first in range(slices.start, slices.stop, _SLAB):
            slab = slice(first, min(first + _SLAB, slices.stop))
            region = [used for _, used in matrices]
            region[last] = slab
            block = self._array[tuple(region)]
            block = block.astype(kind) if whole else self._intensities.of(block)
            for axis in sorted({0, 1, 2} - {last}, reverse=True):
                if self._axes[axis].moves:
                    block = _along(matrices[axis][0].astype(kind), block, axis)
            if moved and self._across is not None:
                block = np.clip(block, *self._intensities.ranges(slab, last))
            slabs.append(block)
        values = np.concatenate(slabs, axis=last)
        if self._axes[last].moves:
            values = _along(matrices[last][0].astype(kind), values, last)
        if whole:
            return self._intensities.of(np.trunc(values))
        return np.clip(values, *self._intensities.range()) if moved and self._across is None else values


def _across(old: Sequence[float], new: Sequence[float], conventions: Conventions) -> int | None:
    """The axis of the array (K, J, I) across which slices are resampled on their own, if any."""
    if conventions.separate is False or conventions.scheme != "nnunet":
        return None
    judged = old if conventions.separate or max(old) / min(old) > ANISOTROPY else new
    if not conventions.separate and max(judged) / min(judged) <= ANISOTROPY:
        return None
    coarsest = [axis for axis, spacing in enumerate(judged) if spacing == max(judged)]
    return coarsest[0] if len(coarsest) == 1 else None


def _along(matrix: np.ndarray, block: np.ndarray, axis: int) -> np.ndarray:
    """A matrix applied along one axis of a block of three."""
    if axis == 2:
        return np.asarray(block @ matrix.T)
    if axis == 1:
        return np.asarray(matrix @ block)
    return np.asarray((matrix @ block.reshape(len(block), -1)).reshape(len(matrix), *block.shape[1:]))


def _scaled_inside(array: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 within what is not zero, holes filled; 0 outside. float32."""
    body = ndimage.binary_fill_holes(array != 0)
    inside = array[body].astype(np.float64)
    scaled = array.astype(np.float32)
    scaled[body] = (inside - inside.mean()) / max(float(inside.std()), 1e-8)
    return scaled


class _Intensities:
    """From HU to a network's values: the card's window, or statistics of the cropped CT."""

    def __init__(self, array: np.ndarray, preprocessing: Preprocessing, conventions: Conventions) -> None:
        self._array = array
        self._window = preprocessing.window_hu
        self._scale, self._shift = preprocessing.scale, preprocessing.shift
        if conventions.intensities != "window":
            self._window, self._scale, self._shift = None, 1.0, 0.0
        self._range: tuple[float, float] | None = None
        kind = conventions.intensities
        if kind == "z-score":
            self._scale = 1 / max(float(array.std(dtype=np.float64)), 1e-8)
            self._shift = -float(array.mean(dtype=np.float64)) * self._scale
        elif kind == "unit-range":
            low, high = float(array.min()), float(array.max())
            self._scale = 1 / max(high - low, 1e-8)
            self._shift = -low * self._scale

    def of(self, hu: np.ndarray) -> np.ndarray:
        """Values of HU, float32."""
        values = hu.astype(np.float32) if self._window is None else np.clip(hu, *self._window).astype(np.float32)
        values *= np.float32(self._scale)
        values += np.float32(self._shift)
        return values

    def range(self) -> tuple[float, float]:
        """Smallest and largest value of the cropped CT: splines swing beyond them, and are held there."""
        if self._range is None:
            low, high = self.of(np.array([self._array.min(), self._array.max()]))
            self._range = (float(low), float(high))
        return self._range

    def ranges(self, slab: slice, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """The same of every slice across ``axis``, to be broadcast."""
        part = self._array[(slice(None),) * axis + (slab,)]
        others = tuple({0, 1, 2} - {axis})
        return self.of(part.min(axis=others, keepdims=True)), self.of(part.max(axis=others, keepdims=True))

"""Where a trained patch is laid over a region, as nnU-Net lays it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

Shape = tuple[int, int, int]
Slices = tuple[slice, ...]

#: Gaussian sigma as a part of the tile's edge, and the weight in its middle (nnU-Net's values).
SIGMA, PEAK = 1 / 8, 10.0


@dataclass(frozen=True)
class Tiles:
    """Windows over an array.

    Attributes:
        size: of every window.
        corners: first voxel of each.
        weight: of a voxel by its place in a window, float32 of ``size``.
        wanted: first voxel, and one after the last, of the part of the array that is wanted; all of it by default.
    """

    size: Shape
    corners: tuple[Shape, ...]
    weight: np.ndarray
    wanted: tuple[Shape, Shape] | None = None

    def shares(self, shape: Sequence[int]) -> tuple[Shape, list[tuple[Shape, Slices, Slices]]]:
        """What the windows give to what is wanted of an array.

        Args:
            shape: of the array.

        Returns:
            The shape of what is wanted; and of each window that touches it the corner, the voxels of the window, and
            their place in what is wanted.
        """
        low, high = self.wanted or ((0, 0, 0), (shape[0], shape[1], shape[2]))
        found = []
        for corner in self.corners:
            spans = [
                (max(first, c), min(last, c + n), c, first)
                for first, last, c, n in zip(low, high, corner, self.size, strict=True)
            ]
            if all(a < b for a, b, _, _ in spans):
                inside = tuple(slice(a - c, b - c) for a, b, c, _ in spans)
                place = tuple(slice(a - first, b - first) for a, b, _, first in spans)
                found.append((corner, inside, place))
        return (high[0] - low[0], high[1] - low[1], high[2] - low[2]), found


def places(low: int, high: int, length: int, tile: int, step: float) -> list[int]:
    """First voxels of the tiles that cover ``low`` to ``high`` along an axis of ``length`` voxels.

    Over a whole axis they are nnU-Net's. A part that is smaller than a tile gets one around its middle, with the real
    surroundings. Where the axis itself is smaller, the tile reaches beyond it by as much on both sides.
    """
    if length <= tile:
        return [-((tile - length) // 2)]
    if high - low <= tile:
        return [min(max((low + high - tile) // 2, 0), length - tile)]
    count = int(np.ceil((high - low - tile) / (tile * step))) + 1
    distance = (high - low - tile) / (count - 1)
    return [low + int(np.round(distance * index)) for index in range(count)]


def lay(
    low: Sequence[int], high: Sequence[int], shape: Sequence[int], patch: Shape, steps: Sequence[float]
) -> list[Shape]:
    """First voxels of the tiles of shape ``patch`` over a part of a grid, see `places`."""
    first, second, third = (places(*along) for along in zip(low, high, shape, patch, steps, strict=True))
    return list(itertools.product(first, second, third))


@lru_cache(maxsize=4)
def gaussian(patch: Shape, slicewise: bool = False) -> np.ndarray:
    """nnU-Net's weights of a tile: a separable Gaussian in half precision, float32 of shape ``patch``.

    Args:
        patch: the tile.
        slicewise: the first axis holds slices that know nothing of each other; they weigh the same.
    """
    profiles = []
    for axis, length in enumerate(patch):
        one = np.zeros(length)
        one[length // 2] = 1
        flat = slicewise and axis == 0
        profiles.append(np.ones(length) if flat else ndimage.gaussian_filter(one, length * SIGMA, mode="constant"))
    weight = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    weight = (weight * (PEAK / weight.max())).astype(np.float16).astype(np.float32)
    return np.maximum(weight, weight[weight > 0].min())

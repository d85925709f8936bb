"""Means of whole blocks of voxels, slice by slice: what is coarser than a CT is made of these, without a copy of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def block_means(array: np.ndarray, factors: Sequence[int], *, complete: bool = False) -> np.ndarray:
    """The mean of every block, as SimpleITK's BinShrink gives it.

    Args:
        array: (K, J, I).
        factors: voxels of a block along i, j, k.
        complete: a last block that the array does not fill is completed by repeating the border; else it is left out.

    Returns:
        The array's type, whole numbers rounded half up; float32 for types of one byte, whose means would be lost.
    """
    i, j, k = factors
    whole = array.dtype.kind in "iu"
    sums = np.int64 if array.dtype.itemsize > 2 else np.int32
    kept = np.dtype(np.float32) if array.dtype.itemsize == 1 else array.dtype
    depth, height, width = (-(-n // f) if complete else n // f for n, f in zip(array.shape, (k, j, i), strict=True))
    means: np.ndarray = np.empty((depth, height, width), kept)
    for index, out in enumerate(means):
        planes = [array[min(k * index + step, len(array) - 1)] for step in range(k)]
        total = _sum(planes, sums if whole else np.float64)
        total = _along(_along(total, 0, j, height), 1, i, width)
        mean = total / (i * j * k)
        out[:] = np.floor(mean + 0.5) if kept.kind in "iu" else mean
    return means


def _sum(planes: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    total: np.ndarray = planes[0].astype(dtype)
    for plane in planes[1:]:
        total += plane
    return total


def _along(plane: np.ndarray, axis: int, factor: int, count: int) -> np.ndarray:
    """Sums of ``count`` times ``factor`` lines along an axis of a plane; the last line stands in for those missing."""
    missing = count * factor - plane.shape[axis]
    if missing > 0:
        plane = np.pad(plane, [(0, missing if a == axis else 0) for a in range(2)], mode="edge")
    lines = np.moveaxis(plane, axis, 0)
    total = _sum([lines[step : count * factor : factor] for step in range(factor)], plane.dtype.type)
    return np.moveaxis(total, 0, axis)

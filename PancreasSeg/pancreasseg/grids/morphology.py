"""Masks grown and shrunk by discs and balls, and their holes: as SimpleITK and SciPy have it, but faster.

A ball is made of rows: a mask is widened along i once for each length of row, then shifted along j and k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from pancreasseg.core.lazy import Library

ndimage = Library("scipy.ndimage")


def dilated(mask: np.ndarray, radius: Sequence[int]) -> np.ndarray:
    """A mask grown by SimpleITK's ball: an ellipsoid with half a voxel more than ``radius`` along each axis.

    Args:
        mask: bool (K, J, I).
        radius: whole voxels along i, j, k.

    Returns:
        bool (K, J, I).
    """
    i, j, k = radius
    # Shifts along j and k move whole rows, so eight voxels of a row can be moved as the bits of one byte.
    rows = [np.packbits(wide, axis=2) for wide in _widened(mask, i)]
    result = np.zeros_like(rows[0])
    for down, back in product(range(-k, k + 1), range(-j, j + 1)):
        left = 1 - (down / (k + 0.5)) ** 2 - (back / (j + 0.5)) ** 2
        if left < 0:
            continue
        width = int((i + 0.5) * left**0.5 + 1e-9)
        to, of = zip(_shifted(down, mask.shape[0]), _shifted(back, mask.shape[1]), strict=True)
        result[to] |= rows[width][of]
    return np.unpackbits(result, axis=2, count=mask.shape[2]).view(bool)


def opened(mask: np.ndarray, radius: Sequence[int]) -> np.ndarray:
    """A mask without what the ball of `dilated` does not fit into; what lies beyond the border counts as mask.

    Args:
        mask: bool (K, J, I).
        radius: whole voxels along i, j, k.
    """
    return dilated(~dilated(~mask, radius), radius)


def filled(mask: np.ndarray, *, slicewise: bool = False) -> np.ndarray:
    """A mask with its holes: what of its outside is not joined to the border by faces of voxels.

    Args:
        mask: bool (K, J, I).
        slicewise: in every slice by itself.
    """
    rim = (0, 0) if slicewise else (1, 1)
    outside = np.pad(~mask, (rim, (1, 1), (1, 1)), constant_values=True)
    joined = ndimage.generate_binary_structure(3, 1)
    if slicewise:
        joined[[0, 2]] = False
    pieces, _ = ndimage.label(outside, joined)
    border = pieces[:, 0, 0]  # the rim of a slice, or of all, is one piece
    open_air = np.zeros(pieces.max() + 1, dtype=bool)
    open_air[border] = True
    inner = pieces[:, 1:-1, 1:-1] if slicewise else pieces[1:-1, 1:-1, 1:-1]
    return np.asarray(mask | ~open_air[inner] | (inner == 0))


def _widened(mask: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """Grown by 0, 1, ... and ``width`` voxels along i on either side."""
    wide = mask.astype(bool)
    yield wide
    for _ in range(width):
        narrow, wide = wide, wide.copy()
        wide[..., 1:] |= narrow[..., :-1]
        wide[..., :-1] |= narrow[..., 1:]
        yield wide


def _shifted(by: int, length: int) -> tuple[slice, slice]:
    """Where lines go, and from where, when they are shifted; what leaves the array is lost."""
    by = max(-length, min(by, length))
    return slice(max(by, 0), length + min(by, 0)), slice(max(-by, 0), length - max(by, 0))

"""Faces of a box in the patient's words."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.grids.resample import nearest_axes

_WORDS = (("right", "left"), ("front", "back"), ("lower", "upper"))  # low and high along L, P, S


def face_names(geometry: Geometry) -> dict[tuple[int, int], str]:
    """(index axis, 0 for its low or 1 for its high face) to left, right, front, back, upper or lower."""
    names = {}
    for (axis, sign), words in zip(nearest_axes(geometry, "LPS"), _WORDS, strict=True):
        for side in (0, 1):
            names[axis, side] = words[side if sign > 0 else 1 - side]
    return names


def faces_touched(
    inside: np.ndarray, organ: Box, box: Box, geometry: Geometry, within_mm: float = 0.0
) -> dict[str, float]:
    """Faces of ``box`` that a mask touches, crosses or comes near to, with the area in mm².

    Args:
        inside: bool mask cropped to ``organ``.
        organ: the smallest box around the mask.
        box: the box whose faces count.
        geometry: of the volume.
        within_mm: a mask that ends short of a face by at most this much counts as touching it.
    """
    names = face_names(geometry)
    areas = {}
    for axis in range(3):
        across = float(np.prod([s for a, s in enumerate(geometry.spacing) if a != axis]))
        gap = int(within_mm / geometry.spacing[axis] + 1e-6)
        low, high = box.start[axis] - organ.start[axis], box.stop[axis] - 1 - organ.start[axis]
        for side, first, last in ((0, low, low + gap), (1, high - gap, high)):
            planes = range(max(first, 0), min(last + 1, organ.size[axis]))
            voxels = int(np.count_nonzero(np.take(inside, planes, axis=2 - axis).any(axis=2 - axis)))
            if voxels:
                areas[names[axis, side]] = voxels * across
    return areas


def joined(words: Collection[str]) -> str:
    """Words for a sentence: ``"left"``, ``"left and upper"``, ``"left, front and upper"``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last

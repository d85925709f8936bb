"""A slice of a mask as closed polygons that any reader turns back into the same pixels.

The polygons run midway between the centres of pixels inside and outside (marching squares at 0.5), so no pixel centre
lies on them and a reader that asks "is this pixel's centre inside?" gets the mask back exactly. Contours through the
centres of the outermost pixels, as OpenCV and rt-utils draw them, lose half a pixel all around.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


def slice_contours(mask: np.ndarray) -> list[np.ndarray]:
    """One polygon for each piece of a slice; pieces that touch at a corner only are two.

    Holes are cut out by a keyhole: a channel of no width that leads from the outer line to the hole and back (DICOM
    PS3.3 C.8.8.6.3), so that readers which unite, exclude or wind polygons all agree.

    Args:
        mask: non-zero inside, shape (rows, columns).

    Returns:
        Arrays of shape (points, 2) in pixels (row, column), first point not repeated, all in one sense of rotation.
        Their areas sum up to the pixels less half a pixel for each piece, plus half a pixel for each hole.
    """
    from skimage.measure import find_contours  # which Slicer does not bring along

    pieces, count = ndimage.label(mask)
    polygons = []
    for number, where in zip(range(1, count + 1), ndimage.find_objects(pieces), strict=True):
        piece = np.pad((pieces[where] == number).astype(np.float32), 1)
        corner = np.array([part.start - 1 for part in where])
        rings = [_without_straight_points(ring[:-1]) for ring in find_contours(piece, 0.5)]
        rings.sort(key=lambda ring: -abs(signed_area(ring)))
        polygons.append(_keyholed(rings[0], rings[1:]) + corner)
    return polygons


def signed_area(ring: np.ndarray) -> float:
    """Area in the unit of the points squared; the sign is the sense of rotation. Keyholes come out right."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _without_straight_points(ring: np.ndarray) -> np.ndarray:
    """The same ring without points in the middle of straight runs; exact, as coordinates are multiples of one half."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[turns != 0]


def _keyholed(outer: np.ndarray, holes: Sequence[np.ndarray]) -> np.ndarray:
    """One ring from an outer line and the holes in it; always the nearest hole next, so that channels do not cross."""
    ring, left = outer, list(holes)
    while left:
        tree = cKDTree(ring)
        found = [tree.query(hole) for hole in left]
        number = int(np.argmin([distances.min() for distances, _ in found]))
        distances, nearest = found[number]
        hole = left.pop(number)
        inner = int(distances.argmin())
        at = int(nearest[inner])
        ring = np.concatenate([ring[: at + 1], np.roll(hole, -inner, axis=0), hole[inner : inner + 1], ring[at:]])
    return ring

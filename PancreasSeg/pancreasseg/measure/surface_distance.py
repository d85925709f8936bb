"""Distances between the surfaces of two masks.

The surface of a mask is the set of its voxels with at least one of the six face neighbours outside the mask (voxels
at the array's border count as surface); distances run between voxel centres in mm. These are MONAI's and medpy's
definitions.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def surface(mask: np.ndarray) -> np.ndarray:
    """Bool array of the surface voxels of a bool (K, J, I) mask."""
    p = np.pad(mask, 1)
    inner = p[:-2, 1:-1, 1:-1] & p[2:, 1:-1, 1:-1]
    inner &= p[1:-1, :-2, 1:-1] & p[1:-1, 2:, 1:-1]
    inner &= p[1:-1, 1:-1, :-2] & p[1:-1, 1:-1, 2:]
    return np.asarray(mask & ~inner)


def surface_distances(
    mask: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """For each surface voxel of one mask the distance in mm to the nearest of the other's; both ways.

    A search tree over the surface points is exact for any spacing, and unlike a distance map costs nothing for the
    empty space between the masks.

    Args:
        mask: bool (K, J, I), not empty.
        reference: the same, same shape.
        spacing: mm along i, j, k.
    """
    ours, theirs = surface(mask), surface(reference)
    return _to_nearest(ours, theirs, spacing), _to_nearest(theirs, ours, spacing)


def _to_nearest(ours: np.ndarray, theirs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    steps = np.asarray(spacing)[::-1]
    distances = np.zeros(int(np.count_nonzero(ours)))
    apart = ours & ~theirs  # the others are at distance 0
    found, _ = cKDTree(np.argwhere(theirs) * steps).query(np.argwhere(apart) * steps)
    distances[: len(found)] = found
    return distances

"""Distances between the surfaces of two masks.

The surface of a mask is the set of its voxels with at least one of the six face neighbours outside the mask (voxels
at the array's border count as surface); distances run between voxel centres in mm. These are MONAI's and medpy's
definitions.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


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

    Read off Euclidean distance maps of both surfaces (Maurer's algorithm, float32), whose cost depends on the size of
    the arrays alone: crop them to the masks first.

    Args:
        mask: bool (K, J, I), not empty.
        reference: the same, same shape.
        spacing: mm along i, j, k.
    """
    ours, theirs = surface(mask), surface(reference)
    return _to_nearest(ours, theirs, spacing), _to_nearest(theirs, ours, spacing)


def _to_nearest(ours: np.ndarray, theirs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    image = sitk.GetImageFromArray(theirs.astype(np.uint8))
    image.SetSpacing(spacing)
    image = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    # Negative inside a surface: there the distance is 0. The view lives no longer than the image it looks at.
    return np.maximum(sitk.GetArrayViewFromImage(image)[ours].astype(float), 0.0)

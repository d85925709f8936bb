"""What a network's own probabilities say about its result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Probabilities within the slice and this far (mm) from the mask count: pieces that cleaning removed are gone.
NEAR_MM = 8.0


def soft_dice(probability: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> float:
    """The DSC that a mask would have if the probabilities were true: 2 sum(p in mask) / (sum p near it + its voxels).

    Networks are too sure of themselves; a calibration on held-out patients makes an expected overlap of it.

    Args:
        probability: (K, J, I), K along the slices.
        mask: bool of the same shape.
        spacing: mm along i, j, k.

    Returns:
        0 to 1; 0 for an empty mask.
    """
    import SimpleITK as sitk

    voxels = int(np.count_nonzero(mask))
    if voxels == 0:
        return 0.0
    radius = [max(1, round(NEAR_MM / s)) for s in spacing[:2]]
    wide = sitk.BinaryDilate(sitk.GetImageFromArray(mask.astype(np.uint8)), [*radius, 0], sitk.sitkBall)
    near = probability[sitk.GetArrayViewFromImage(wide) > 0]
    return 2 * float(probability[mask].sum(dtype=np.float64)) / (float(near.sum(dtype=np.float64)) + voxels)

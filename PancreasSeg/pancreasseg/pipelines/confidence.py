"""What a network's own probabilities say about its result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pancreasseg.core import Box
from pancreasseg.grids.morphology import dilated

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
    organ = Box.of_mask(mask)
    if organ is None:
        return 0.0
    i, j = (max(1, round(NEAR_MM / s)) for s in spacing[:2])
    depth, height, width = mask.shape
    around = organ.pad((i, j, 0), (i, j, 0)).intersect(Box((0, 0, 0), (width, height, depth))).slices
    mask, probability = mask[around], probability[around]
    near = probability[dilated(mask, (i, j, 0))].sum(dtype=np.float64)
    return 2 * float(probability[mask].sum(dtype=np.float64)) / (float(near) + int(np.count_nonzero(mask)))

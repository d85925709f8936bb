"""What a network's own probabilities say about its result."""

from __future__ import annotations

import numpy as np


def soft_dice(probability: np.ndarray, mask: np.ndarray) -> float:
    """The DSC that a mask would have if the probabilities were true: 2 sum(p in mask) / (sum p + voxels of the mask).

    Networks are too sure of themselves; a calibration on held-out patients makes an expected overlap of it.

    Args:
        probability: of any shape.
        mask: bool of the same shape.

    Returns:
        0 to 1; 0 for an empty mask.
    """
    voxels = int(np.count_nonzero(mask))
    total = float(probability.sum(dtype=np.float64))
    return 2 * float(probability[mask].sum(dtype=np.float64)) / (total + voxels) if voxels else 0.0

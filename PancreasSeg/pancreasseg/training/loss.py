"""Loss of a two-class segmentation with soft truth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def dice_and_cross_entropy(logits: Tensor, share: Tensor, smooth: float = 20.0) -> Tensor:
    """Soft Dice loss of the pancreas plus cross entropy, equal parts, each case for itself.

    Args:
        logits: (N, 2, A, B, C).
        share: (N, A, B, C), how much of each voxel is pancreas, 0 to 1.
        smooth: voxels added above and below in the Dice ratio; steadies cases with little or no pancreas.
    """
    logits = logits.float()
    log_probability = F.log_softmax(logits, dim=1)
    cross_entropy = -(share * log_probability[:, 1] + (1 - share) * log_probability[:, 0]).mean()
    probability = log_probability[:, 1].exp()
    axes = (1, 2, 3)
    overlap = (probability * share).sum(axes)
    # Squares below keep a soft truth from pulling confident predictions back to the middle.
    total = probability.square().sum(axes) + share.square().sum(axes)
    dice = (2 * overlap + smooth) / (total + smooth)
    return cross_entropy + (1 - dice).mean()


def dice(probability: Tensor, share: Tensor) -> float:
    """DSC of two maps cut at one half; 1 when both are empty."""
    a, b = probability >= 0.5, share >= 0.5
    total = int(a.sum()) + int(b.sum())
    return 2 * int(torch.logical_and(a, b).sum()) / total if total else 1.0

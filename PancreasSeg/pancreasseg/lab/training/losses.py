"""Losses of the published methods.

Logits are (N, classes, K, J, I) with the background first. A truth is a share of each class in each voxel, of the same
shape, summing to 1 along the classes; a hard truth is the special case of zeros and ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Loss = Callable[[Tensor, Tensor], Tensor]

#: Weights of the outputs under deep supervision, finest first.
LEVEL_WEIGHTS = (1.0, 0.5, 0.25, 0.125)


def soft_dice(logits: Tensor, truth: Tensor, *, smooth: float = 1e-5, background: bool = False) -> Tensor:
    """Soft Dice loss with plain denominators (Zhao 2019; Oktay 2018), mean over cases and classes.

    1 - (2 Σ p·g + smooth) / (Σ p + Σ g + smooth), p the softmax.

    Args:
        logits: (N, classes, K, J, I).
        truth: the same shape.
        smooth: voxels added above and below; what makes an absent class without prediction cost nothing.
        background: also average over class 0.
    """
    probability = logits.float().softmax(dim=1)
    first = 0 if background else 1
    probability, truth = probability[:, first:], truth[:, first:]
    axes = tuple(range(2, logits.ndim))
    overlap = (probability * truth).sum(axes)
    total = probability.sum(axes) + truth.sum(axes)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def cross_entropy(
    logits: Tensor, truth: Tensor, *, weights: Sequence[float] | Tensor | None = None, where: Tensor | None = None
) -> Tensor:
    """Cross entropy with a weight a class, mean over the voxels that count: -mean Σ_c w_c g_c log p_c.

    Args:
        logits: (N, classes, K, J, I).
        truth: the same shape.
        weights: one a class; all 1 by default.
        where: (N, K, J, I), non-zero where a voxel counts (Roth 2017: the candidate region); everywhere by default.
            0 when no voxel counts.
    """
    loss = -F.log_softmax(logits.float(), dim=1) * truth
    if weights is not None:
        factors = torch.as_tensor(weights, dtype=loss.dtype, device=loss.device)
        loss = loss * factors.reshape(1, -1, *(1,) * (loss.ndim - 2))
    voxels = loss.sum(dim=1)
    if where is None:
        return voxels.mean()
    counted = where.to(voxels.dtype)
    return (voxels * counted).sum() / counted.sum().clamp(min=1)


def class_weights(truth: Tensor) -> Tensor:
    """Weights against class imbalance, w_c = (1 - frac_c) / (classes - 1); they sum to 1 (Roth 2017, section 2.2).

    Args:
        truth: (N, classes, K, J, I); voxels without any truth, all zero, do not count.

    Returns:
        (classes,), on the truth's device.
    """
    mass = truth.float().sum(dim=(0, *range(2, truth.ndim)))
    return (1 - mass / mass.sum().clamp(min=1)) / max(truth.shape[1] - 1, 1)


def weighted_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy with the class weights of this very batch; voxels whose truth is all zero do not count.

    So the candidate region of Roth 2017 is told to the loss: outside of it there is no truth.
    """
    return cross_entropy(logits, truth, weights=class_weights(truth), where=truth.sum(dim=1) > 0.5)


def dice_cross_entropy(logits: Tensor, truth: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Soft Dice loss of the foreground plus cross entropy, equal parts."""
    return soft_dice(logits, truth, smooth=smooth) + cross_entropy(logits, truth)


def centers(mask: Tensor, eps: float = 1e-6) -> Tensor:
    """Centers of the slices of a mask: mass-weighted mean coordinates, as parts of the slice's height and width.

    Zhao 2019, section 2.3, without a formula in print. Ours: c_z(p) = (Σ y·p / H, Σ x·p / W) / (Σ p + eps), which
    settles what the paper leaves open: the spatial normalisation factor is the size of the slice.

    Args:
        mask: (N, K, J, I), probabilities or shares.
        eps: keeps an empty slice finite; its center is then the corner (0, 0).

    Returns:
        (N, K, 2).
    """
    mask = mask.float()
    height, width = mask.shape[2:]
    y = torch.arange(height, dtype=mask.dtype, device=mask.device) / height
    x = torch.arange(width, dtype=mask.dtype, device=mask.device) / width
    mass = mask.sum(dim=(2, 3)) + eps
    return torch.stack((mask.sum(dim=3) @ y / mass, mask.sum(dim=2) @ x / mass), dim=-1)


def center_loss(probability: Tensor, truth: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean squared distance between predicted and true centers over the slices with true mask (Zhao 2019).

    It speeds up convergence, and does not see isolated false positives that balance each other: keep the largest
    component afterwards.

    Args:
        probability: (N, K, J, I) of the organ.
        truth: the same shape, its share.
        eps: see `centers`.

    Returns:
        0, with a gradient of 0, when no slice has true mask.
    """
    counted = (truth.float().sum(dim=(2, 3)) > 0).to(torch.float32)
    distance = (centers(probability, eps) - centers(truth, eps)).square().sum(dim=-1)
    return (distance * counted).sum() / counted.sum().clamp(min=1)


def center_weight(epoch: int, weight: float = 0.1, epochs: int = 50) -> float:
    """λ of the center loss: ``weight`` for the first ``epochs`` epochs (counted from 0), then 0 (Zhao 2019).

    The paper prints neither λ nor how it falls to 0; 0.1 and at once are ours.
    """
    return weight if epoch < epochs else 0.0


def zhao(logits: Tensor, truth: Tensor, center: float, organ: int = 1) -> Tensor:
    """Dice loss + λ · center loss of one organ (Zhao 2019, equation 1).

    Args:
        logits: (N, classes, K, J, I), K the axial slices.
        truth: the same shape.
        center: λ, see `center_weight`.
        organ: the class whose centers are compared.
    """
    loss = soft_dice(logits, truth)
    if center:
        loss = loss + center * center_loss(logits.float().softmax(dim=1)[:, organ], truth[:, organ])
    return loss


def supervised(
    loss: Loss, outputs: Tensor | Sequence[Tensor], truth: Tensor, weights: Sequence[float] = LEVEL_WEIGHTS
) -> Tensor:
    """A loss on the outputs of several levels; the weights are scaled to sum to 1.

    Args:
        loss: of logits and truth.
        outputs: logits of one size, or several, finest first.
        truth: (N, classes, K, J, I) at the finest size; coarser levels see its block means.
        weights: one a level.

    Raises:
        ValueError: more outputs than weights.
    """
    if isinstance(outputs, Tensor):
        return loss(outputs, truth)
    if len(outputs) > len(weights):
        raise ValueError(f"{len(outputs)} outputs, but only {len(weights)} weights")
    used = weights[: len(outputs)]
    total = torch.zeros((), device=truth.device)
    for output, weight in zip(outputs, used, strict=True):
        k, j, i = output.shape[2:]
        at_level = truth if output.shape[2:] == truth.shape[2:] else F.adaptive_avg_pool3d(truth, (k, j, i))
        total = total + weight / sum(used) * loss(output, at_level)
    return total

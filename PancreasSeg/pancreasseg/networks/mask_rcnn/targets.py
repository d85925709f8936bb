"""What candidates should have become: which of them count as the organ, and a few of them to learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from pancreasseg.networks.mask_rcnn.boxes import iou

ORGAN, BACKGROUND, NEITHER = 1, 0, -1


def match(candidates: Tensor, truth: Tensor, high: float, low: float, best: bool) -> tuple[Tensor, Tensor]:
    """Compare candidate boxes with true ones.

    Args:
        candidates: (n, 4).
        truth: (m, 4); m may be 0.
        high: intersection over union from which a candidate is the organ.
        low: below which it is background; between the two it is neither and teaches nothing.
        best: the best candidate of every true box is the organ however little it overlaps.

    Returns:
        For every candidate `ORGAN`, `BACKGROUND` or `NEITHER`, and the number of its true box (0 where there is none).
    """
    kinds = torch.full((len(candidates),), BACKGROUND, dtype=torch.long, device=candidates.device)
    if len(truth) == 0 or len(candidates) == 0:
        return kinds, torch.zeros_like(kinds)
    overlaps = iou(candidates, truth)
    most, whose = overlaps.max(1)
    kinds[most >= low] = NEITHER
    kinds[most >= high] = ORGAN
    if best:
        reached = overlaps.max(0).values
        close = (overlaps >= reached - 1e-6) & (reached > 0)
        kinds[close.any(1)] = ORGAN
        whose = torch.where(close.any(1), torch.where(close, overlaps, -1.0).argmax(1), whose)
    return kinds, whose


def draw(kinds: Tensor, count: int, share: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of at most ``count`` candidates: those of the organ, at most the part ``share``, and background.

    Args:
        kinds: as `match` gives them.
        count: how many at most.
        share: part of them that may be the organ.
        random: on the CPU; the same state draws the same.
    """
    organ, background = (torch.nonzero(kinds == kind)[:, 0] for kind in (ORGAN, BACKGROUND))
    organ = _some(organ, int(count * share), random)
    return organ, _some(background, count - len(organ), random)


def _some(indices: Tensor, count: int, random: torch.Generator) -> Tensor:
    order = torch.randperm(len(indices), generator=random)[:count]
    return indices[order.to(indices.device)]

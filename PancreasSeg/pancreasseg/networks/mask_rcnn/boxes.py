"""Boxes in a slice: overlap, and the numbers that a network predicts instead of edges.

A box is (x0, y0, x1, y1): continuous edges in pixels, where pixel p reaches from p to p + 1. Pixels 3 and 4 make a
box from 3 to 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Largest factor, as a logarithm, by which a prediction may enlarge a box.
MOST_GROWTH = math.log(1000 / 16)


def area(boxes: Tensor) -> Tensor:
    """Areas (n,) of boxes (n, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4); 0 where both are empty."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    union = area(a)[:, None] + area(b)[None] - common
    return torch.where(union > 0, common / union.clamp(min=1e-9), torch.zeros_like(common))


def encode(boxes: Tensor, anchors: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes relative to anchors, both (n, 4): shifts in anchor sizes, logarithms of size ratios (Girshick 2014)."""
    size, own = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2 / size
    return torch.cat((shift, (own / size).log()), 1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, anchors: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The inverse of `encode`; growth is limited, so that no prediction overflows."""
    deltas = deltas / deltas.new_tensor(weights)
    size = anchors[:, 2:] - anchors[:, :2]
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * size
    half = deltas[:, 2:].clamp(max=MOST_GROWTH).exp() * size / 2
    return torch.cat((middle - half, middle + half), 1)


def clip(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes (n, 4) cut to a slice of ``size`` (J, I)."""
    rows, columns = size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([columns, rows, columns, rows]))


def of_masks(shares: Tensor) -> list[Tensor]:
    """The box around the pixels of at least one half in every slice.

    Args:
        shares: (N, J, I).

    Returns:
        For every slice (1, 4), or (0, 4) where there is nothing.
    """
    found = []
    for mask in shares >= 0.5:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        if len(rows) == 0:
            found.append(shares.new_zeros((0, 4)))
            continue
        edges = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        found.append(shares.new_tensor([edges]))
    return found

"""The two operations that torchvision has compiled: taken from there if it imports, otherwise computed in plain torch.

torchvision has no CPU build on the package registry, and the published one does not import beside a CPU-only torch. So
everything must also run without it; this is the only module that knows.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pancreasseg.networks.mask_rcnn.boxes import iou

#: Points along each edge of a bin whose mean is the bin's value.
POINTS = 2


@cache
def compiled() -> Any | None:
    """``torchvision.ops``, or None where it is missing or does not fit the installed torch.

    That it imports is not enough: its operations may be declared and have no kernel, so one is called.
    """
    try:
        found = importlib.import_module("torchvision.ops")
        found.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (ImportError, RuntimeError, OSError):  # RuntimeError: "operator torchvision::nms does not exist"
        return None
    return found


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes that stay, best first: each drops the worse ones that overlap it by more than ``threshold``.

    Args:
        boxes: (n, 4).
        scores: (n,).
        threshold: intersection over union.
    """
    fast = compiled()
    if fast is not None:
        return torch.as_tensor(fast.nms(boxes, scores, threshold))
    return plain_nms(boxes, scores, threshold)


def nms_by_level(boxes: Tensor, scores: Tensor, levels: Tensor, threshold: float) -> Tensor:
    """`nms` among the boxes of each level of a pyramid; what stays, best first (Lin 2017).

    Args:
        boxes: (n, 4).
        scores: (n,).
        levels: whole numbers (n,).
        threshold: intersection over union.
    """
    apart = (boxes.max() - boxes.min() + 1) * levels.to(boxes) if len(boxes) else boxes.new_zeros(0)
    return nms(boxes + apart[:, None], scores, threshold)


def roi_align(features: Tensor, boxes: Sequence[Tensor], size: int, scale: float) -> Tensor:
    """Features inside boxes, brought to one size (He 2017, RoIAlign with half-pixel alignment).

    Args:
        features: (N, C, J, I).
        boxes: for every slice (n, 4), in pixels of the slice and inside it.
        size: bins along each edge of a box.
        scale: pixels of ``features`` a pixel of the slice.

    Returns:
        float32 (boxes of all slices, C, size, size).
    """
    features = features.float()
    fast = compiled()
    if fast is not None:
        return torch.as_tensor(fast.roi_align(features, list(boxes), size, scale, POINTS, True))
    return plain_roi_align(features, boxes, size, scale)


def plain_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """`nms` without torchvision."""
    order = scores.argsort(descending=True, stable=True)
    ranked = boxes[order]
    drops = (iou(ranked, ranked) > threshold).cpu().numpy()
    gone = np.zeros(len(order), dtype=bool)
    kept = []
    for place in range(len(order)):
        if not gone[place]:
            kept.append(place)
            gone |= drops[place]
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def plain_roi_align(features: Tensor, boxes: Sequence[Tensor], size: int, scale: float) -> Tensor:
    """`roi_align` without torchvision: all boxes of a slice in one interpolation."""
    channels, rows, columns = features.shape[1:]
    count = size * POINTS
    along = (torch.arange(count, device=features.device) + 0.5) / count
    results = []
    for plane, edges in zip(features, boxes, strict=True):
        if len(edges) == 0:
            results.append(features.new_zeros((0, channels, size, size)))
            continue
        low, high = edges[:, :2] * scale, edges[:, 2:] * scale
        x = low[:, :1] + (high - low)[:, :1] * along  # (n, count)
        y = low[:, 1:] + (high - low)[:, 1:] * along
        # grid_sample speaks of x, y from -1 to 1, edge to edge.
        points = torch.stack(
            torch.broadcast_tensors(2 * x[:, None, :] / columns - 1, 2 * y[:, :, None] / rows - 1), dim=-1
        )
        values = F.grid_sample(
            plane[None], points.reshape(1, -1, count, 2), mode="bilinear", padding_mode="border", align_corners=False
        )
        values = values.reshape(channels, len(edges), count, count).transpose(0, 1)
        results.append(F.avg_pool2d(values, POINTS))
    return torch.cat(results)

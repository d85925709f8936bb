"""What looks into the proposed boxes: is it the organ, where exactly are the edges, which pixels (He 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pancreasseg.networks.mask_rcnn.ops import roi_align

#: Bins along the edge of a box for the box head; the mask head has twice as many and doubles them once more.
BOX_BINS = 7
MASK_BINS = 14
#: Pixels along the edge of a predicted mask.
MASK_SIZE = 2 * MASK_BINS


def pooled(features: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], size: int) -> Tensor:
    """Features in boxes, each from the level on which it is about one and a half to three pixels a bin (Lin 2017).

    Args:
        features: maps (N, C, ...) of the levels, finest first.
        strides: of the levels.
        boxes: of every slice (n, 4).
        size: bins along each edge.

    Returns:
        float32 (boxes of all slices in order, C, size, size).
    """
    every = torch.cat(list(boxes))
    edge = (every[:, 2:] - every[:, :2]).clamp(min=1e-3).prod(1).sqrt()
    # 14 pixels of the finest level's stride: 56 pixels for stride 4, as in the paper (224 on the level of stride 16).
    levels = (edge / (14 * strides[0]) + 1e-6).log2().floor().long().clamp(0, len(features) - 1)
    places = torch.arange(len(every), device=every.device).split([len(own) for own in boxes])
    result = features[0].new_zeros((len(every), features[0].shape[1], size, size), dtype=torch.float32)
    for level, (values, stride) in enumerate(zip(features, strides, strict=False)):
        chosen = [own[levels[own] == level] for own in places]
        index = torch.cat(chosen)
        if len(index):
            values = roi_align(values, [every[own] for own in chosen], size, 1 / stride)
            result = result.index_copy(0, index, values)
    return result


class BoxHead(nn.Module):
    """Two full layers, then the judgement (background, organ) and the correction of the box.

    Args:
        width: channels of the pyramid.
        hidden: of the full layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(width * BOX_BINS**2, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.classes = nn.Linear(hidden, 2)
        self.deltas = nn.Linear(hidden, 4)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, width, 7, 7) -> logits (n, 2) and deltas (n, 4), float32."""
        hidden = F.relu(self.second(F.relu(self.first(x.flatten(1)))))
        return self.classes(hidden).float(), self.deltas(hidden).float()


class MaskHead(nn.Module):
    """Convolutions, one doubling of the size, one logit a pixel.

    Args:
        width: channels of the pyramid.
        convs: how many convolutions.
    """

    def __init__(self, width: int, convs: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(convs)]
        self.convs = nn.ModuleList(convolutions)
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.logits = nn.Conv2d(width, 1, 1)
        for layer in (*convolutions, self.up):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.logits.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, 14, 14) -> logits (n, 28, 28), float32."""
        for layer in self.convs:
            x = F.relu(layer(x))
        return self.logits(F.relu(self.up(x)))[:, 0].float()


def paste(masks: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Masks of boxes laid into a slice; where several lie on each other the largest counts.

    Args:
        masks: probabilities (n, m, m).
        boxes: (n, 4).
        size: of the slice (J, I).

    Returns:
        float32 (J, I), 0 outside all boxes.
    """
    rows, columns = (torch.arange(n, device=masks.device) + 0.5 for n in size)
    if len(boxes) == 0:
        return masks.new_zeros((len(rows), len(columns)))
    extent = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    x = 2 * (columns - boxes[:, :1]) / extent[:, :1] - 1
    y = 2 * (rows - boxes[:, 1:2]) / extent[:, 1:] - 1
    points = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    values = F.grid_sample(masks[:, None], points, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    inside = (points.abs() <= 1).all(-1)
    return torch.where(inside, values, torch.zeros_like(values)).amax(0)

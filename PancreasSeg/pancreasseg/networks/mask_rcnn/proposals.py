"""The region proposal network: boxes that may hold the organ (Ren 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pancreasseg.networks.mask_rcnn.boxes import clip, decode, encode
from pancreasseg.networks.mask_rcnn.ops import nms_by_level
from pancreasseg.networks.mask_rcnn.targets import ORGAN, draw, match

#: Anchors from this intersection over union are the organ, those below the second are background (Ren 2015).
HIGH, LOW = 0.7, 0.3
#: Anchors that one slice teaches, and the part of them that may be the organ (Ren 2015).
SAMPLED, SHARE = 256, 0.5
#: Proposals of one level that overlap by more than this are one.
OVERLAP = 0.7
#: Where the absolute loss of box regression becomes quadratic.
BETA = 1 / 9


class Proposer(nn.Module):
    """Judges and corrects anchors on every level of a pyramid.

    Args:
        width: channels of the pyramid.
        strides: pixels of the slice a pixel of each level.
        anchors: edge of the anchors of each level, in pixels of the slice.
        ratios: height by width of the anchors at every place.
        candidates: best anchors of each level that are looked at.
        proposals: that remain at most.

    Raises:
        ValueError: not one anchor size a level.
    """

    def __init__(
        self,
        width: int,
        strides: Sequence[int],
        anchors: Sequence[float],
        ratios: Sequence[float],
        candidates: int,
        proposals: int,
    ) -> None:
        super().__init__()
        if len(anchors) != len(strides):
            raise ValueError(f"{len(strides)} levels need as many anchor sizes, not {len(anchors)}")
        self.strides, self.sizes, self.ratios = tuple(strides), tuple(anchors), tuple(ratios)
        self.candidates, self.proposals = candidates, proposals
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, len(ratios), 1)
        self.deltas = nn.Conv2d(width, 4 * len(ratios), 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of a pyramid -> by level logits (N, anchors) and deltas (N, anchors, 4), in the order of `anchors`."""
        logits, deltas = [], []
        for level in features:
            hidden = F.relu(self.conv(level))
            count = level.shape[0]
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).reshape(count, -1))
            corrections = self.deltas(hidden).permute(0, 2, 3, 1)
            deltas.append(corrections.reshape(count, -1, 4))
        return logits, deltas

    def anchors(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The anchors (rows x columns x ratios, 4) of each level; they may reach beyond the slice."""
        made = []
        for level, stride, size in zip(features, self.strides, self.sizes, strict=True):
            rows, columns = (torch.arange(n, device=level.device) * stride + stride / 2 for n in level.shape[2:])
            ratios = torch.tensor(self.ratios, device=level.device)
            half = torch.stack((size / ratios.sqrt(), size * ratios.sqrt()), 1) / 2  # x, y
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            middle = torch.stack((x, y), -1)[:, :, None]
            made.append(torch.cat((middle - half, middle + half), -1).reshape(-1, 4))
        return made

    def propose(
        self, anchors: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], size: Sequence[int]
    ) -> list[Tensor]:
        """The best boxes (n, 4) of every slice, best first.

        Args:
            anchors: by level.
            logits: by level, as `forward` gives them.
            deltas: by level.
            size: of the slices (J, I).
        """
        found = []
        for index in range(len(logits[0])):
            scores, boxes, levels = [], [], []
            for level, (own, judged, corrections) in enumerate(zip(anchors, logits, deltas, strict=True)):
                best, places = judged[index].float().topk(min(self.candidates, len(own)))
                scores.append(best)
                levels.append(torch.full_like(places, level))
                boxes.append(decode(corrections[index, places].float(), own[places]))
            every, score = clip(torch.cat(boxes), size), torch.cat(scores)
            real = ((every[:, 2:] - every[:, :2]) >= 1).all(1)
            every, score, level_of = every[real], score[real], torch.cat(levels)[real]
            found.append(every[nms_by_level(every, score, level_of, OVERLAP)[: self.proposals]])
        return found

    def losses(
        self,
        anchors: Sequence[Tensor],
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        truth: Sequence[Tensor],
        random: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy of the judgements and smooth absolute loss of the corrections, means over the slices.

        Args:
            anchors: by level.
            logits: by level.
            deltas: by level.
            truth: true boxes (m, 4) of every slice.
            random: draws the anchors to learn from.
        """
        own, judged, corrections = torch.cat(list(anchors)), torch.cat(list(logits), 1), torch.cat(list(deltas), 1)
        classes, boxes = [], []
        for index, wanted in enumerate(truth):
            kinds, whose = match(own, wanted, HIGH, LOW, best=True)
            organ, background = draw(kinds, SAMPLED, SHARE, random)
            chosen = torch.cat((organ, background))
            count = max(len(chosen), 1)
            target = (kinds[chosen] == ORGAN).float()
            classes.append(
                F.binary_cross_entropy_with_logits(judged[index, chosen].float(), target, reduction="sum") / count
            )
            goal = encode(wanted[whose[organ]], own[organ]) if len(organ) else own[organ]
            boxes.append(F.smooth_l1_loss(corrections[index, organ].float(), goal, beta=BETA, reduction="sum") / count)
        return torch.stack(classes).mean(), torch.stack(boxes).mean()

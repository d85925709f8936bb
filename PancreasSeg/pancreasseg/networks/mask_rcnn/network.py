"""Mask R-CNN for one organ in axial slices (He 2017), with neighbouring slices as channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pancreasseg.networks.mask_rcnn.backbone import Pyramid
from pancreasseg.networks.mask_rcnn.boxes import clip, decode, encode, of_masks
from pancreasseg.networks.mask_rcnn.heads import BOX_BINS, MASK_BINS, MASK_SIZE, BoxHead, MaskHead, pooled
from pancreasseg.networks.mask_rcnn.ops import nms, roi_align
from pancreasseg.networks.mask_rcnn.proposals import BETA, Proposer
from pancreasseg.networks.mask_rcnn.targets import ORGAN, draw, match

#: Proposals from this intersection over union are the organ (Ren 2015), and the part of a slice's that may be it.
MATCH, SHARE = 0.5, 0.25
#: Detections that overlap by more than this are one; those scored lower are nothing.
OVERLAP, FAINTEST = 0.5, 0.05
_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the box head's deltas (Ren 2015)


class Maps(NamedTuple):
    """What the network computes once for whole slices: the pyramid, the judged anchors, and the slices' size (J, I)."""

    features: list[Tensor]
    logits: list[Tensor]
    deltas: list[Tensor]
    size: tuple[int, int]


class Detections(NamedTuple):
    """The organ in one slice: boxes (n, 4), scores (n,) best first, and probabilities (n, 28, 28) inside the boxes."""

    boxes: Tensor
    scores: Tensor
    masks: Tensor


class MaskRCNN(nn.Module):
    """Finds the boxes and masks of an organ in slices of any size. The defaults are the published ResNet-50-FPN.

    ``forward`` computes maps; `losses` trains on them and `detect` reads boxes and masks from them.

    Args:
        in_channels: neighbouring slices.
        channels: width of each level of the residual network, finest first.
        blocks: residual blocks of each level.
        block: "bottleneck" or "basic".
        stem: channels of the first convolution.
        stem_stride: pixels a pixel of the finest level: 4, or 2 for coarse slices.
        norm: "group", or "batch" as in the published network, for large batches.
        pyramid: channels of the feature pyramid and the heads on it.
        anchors: edge in pixels of the anchors on each level and the one beyond the last.
        ratios: height by width of the anchors.
        candidates: best anchors of each level that may become proposals.
        proposals: of a slice.
        sampled: proposals of a slice that teach the heads.
        head: units of the box head's layers.
        mask_convs: convolutions of the mask head.
        detections: of a slice, at most.

    Raises:
        ValueError: numbers of levels that do not fit each other, or an unknown block, norm or stem stride.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (256, 512, 1024, 2048),
        blocks: Sequence[int] = (3, 4, 6, 3),
        block: str = "bottleneck",
        stem: int = 64,
        stem_stride: int = 4,
        norm: str = "group",
        pyramid: int = 256,
        anchors: Sequence[float] = (16, 32, 64, 128, 256),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        candidates: int = 300,
        proposals: int = 200,
        sampled: int = 64,
        head: int = 1024,
        mask_convs: int = 4,
        detections: int = 5,
    ) -> None:
        super().__init__()
        self.in_channels, self.sampled, self.detections = in_channels, sampled, detections
        self.backbone = Pyramid(in_channels, channels, blocks, block, stem, stem_stride, norm, pyramid)
        self.strides = self.backbone.strides
        self.proposer = Proposer(pyramid, self.strides, anchors, ratios, candidates, proposals)
        self.box_head = BoxHead(pyramid, head)
        self.mask_head = MaskHead(pyramid, mask_convs)

    def forward(self, x: Tensor) -> Maps:
        """(N, in_channels, J, I) -> maps."""
        features = self.backbone(x)
        logits, deltas = self.proposer(features)
        return Maps(features, logits, deltas, (x.shape[2], x.shape[3]))

    def losses(self, maps: Maps, shares: Tensor, random: torch.Generator) -> dict[str, Tensor]:
        """The five losses of Mask R-CNN; their sum is what is minimised.

        Args:
            maps: of the slices.
            shares: how much of each pixel of the middle slice is organ, (N, J, I), 0 to 1.
            random: draws what to learn from; the same state draws the same.
        """
        truth = of_masks(shares)
        anchors = self.proposer.anchors(maps.features)
        objectness, shift = self.proposer.losses(anchors, maps.logits, maps.deltas, truth, random)
        with torch.no_grad():
            proposals = self.proposer.propose(anchors, maps.logits, maps.deltas, maps.size)
            drawn = [self._drawn(own, wanted, random) for own, wanted in zip(proposals, truth, strict=True)]
            boxes = [boxes for boxes, _, _ in drawn]
            organ = torch.cat([kinds for _, kinds, _ in drawn])
            goals = torch.cat([goal for _, _, goal in drawn])
        classes, deltas = self.box_head(self._pooled(maps, boxes, BOX_BINS))
        count = max(len(organ), 1)
        positive = organ == ORGAN
        targets = encode(goals[positive], torch.cat(boxes)[positive], _WEIGHTS)
        found = [own[kinds == ORGAN] for own, kinds, _ in drawn]
        wanted = roi_align(shares[:, None], found, MASK_SIZE, 1.0)[:, 0]
        masks = self.mask_head(self._pooled(maps, found, MASK_BINS))
        return {
            "objectness": objectness,
            "proposal": shift,
            "class": F.cross_entropy(classes, organ, reduction="sum") / count,
            "box": F.smooth_l1_loss(deltas[positive], targets, beta=BETA, reduction="sum") / count,
            "mask": F.binary_cross_entropy_with_logits(masks, wanted.clamp(0, 1), reduction="sum")
            / max(wanted.numel(), 1),
        }

    def detect(self, maps: Maps) -> list[Detections]:
        """The organ in every slice; call it in evaluation mode and without gradients."""
        anchors = self.proposer.anchors(maps.features)
        proposals = self.proposer.propose(anchors, maps.logits, maps.deltas, maps.size)
        classes, deltas = self.box_head(self._pooled(maps, proposals, BOX_BINS))
        every = clip(decode(deltas, torch.cat(proposals), _WEIGHTS), maps.size)
        counts = [len(own) for own in proposals]
        boxes, scores = [], []
        for own, score in zip(every.split(counts), classes.softmax(1)[:, ORGAN].split(counts), strict=True):
            good = (score >= FAINTEST) & ((own[:, 2:] - own[:, :2]) >= 1).all(1)
            own, score = own[good], score[good]
            kept = nms(own, score, OVERLAP)[: self.detections]
            boxes.append(own[kept])
            scores.append(score[kept])
        masks = self.mask_head(self._pooled(maps, boxes, MASK_BINS)).sigmoid()
        found = zip(boxes, scores, masks.split([len(own) for own in boxes]), strict=True)
        return [Detections(*one) for one in found]

    def _pooled(self, maps: Maps, boxes: Sequence[Tensor], size: int) -> Tensor:
        """Features in boxes; the level beyond the last only has anchors."""
        return pooled(maps.features[:-1], self.strides[:-1], boxes, size)

    def _drawn(self, proposals: Tensor, truth: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Some proposals, and the truth itself, to learn from: boxes, kinds and the true boxes they belong to."""
        boxes = torch.cat((proposals, truth))
        kinds, whose = match(boxes, truth, MATCH, MATCH, best=False)
        organ, background = draw(kinds, self.sampled, SHARE, random)
        chosen = torch.cat((organ, background))
        goals = truth[whose[chosen]] if len(truth) else boxes[chosen]
        return boxes[chosen], kinds[chosen], goals

"""Our Mask R-CNN beside torchvision's, with the same weights: prints the largest differences as one JSON object.

Runs in a process of its own, because the published torchvision does not fit the CPU build of torch: the schemas of its
compiled operations are declared by hand, so that its Python code imports and runs. `nms` gets a plain kernel here;
`roi_align` has one of torchvision's own in Python.

What is set alike on purpose, and what it means:

* torchvision's anchors are centred on the corners of a level's pixels and rounded; ours are centred on the pixels'
  middles. The whole networks are compared with our anchors in both.
* torchvision's network samples features with ``aligned=False``, half a pixel off (kept there for old weights); ours
  uses the half-pixel alignment of Detectron2. The whole networks are compared with alignment in both.
* torchvision drops boxes smaller than a hundredth of a pixel, ours those smaller than one.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pancreasseg.networks import build
from pancreasseg.networks.mask_rcnn import boxes as our_boxes
from pancreasseg.networks.mask_rcnn import network as our_network
from pancreasseg.networks.mask_rcnn import ops, proposals, targets

_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _greedy(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppression word by word: the best box stays, what overlaps it goes, and so on."""
    left, kept = scores.argsort(descending=True, stable=True).tolist(), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [n for n in left if _overlap(dets[best].tolist(), dets[n].tolist()) <= iou_threshold]
    return torch.tensor(kept, dtype=torch.long)


def _overlap(a: list[float], b: list[float]) -> float:
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


_library.impl("nms", _greedy, "CPU")

import torchvision.ops.boxes as their_box_operations  # noqa: E402
import torchvision.ops.poolers as their_poolers  # noqa: E402
from torchvision.models.detection import _utils as their_utils  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.backbone_utils import BackboneWithFPN  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.mask_rcnn import MaskRCNN as TheirMaskRCNN  # noqa: E402
from torchvision.models.resnet import BasicBlock, ResNet  # noqa: E402
from torchvision.ops import roi_align as module_of_roi_align  # noqa: E402

their_box_operations._assert_has_ops = lambda: None  # type: ignore[assignment]
their_roi_align: Any = module_of_roi_align

SIZE = (96, 128)
CHANNELS = (64, 128)
ANCHORS = (16.0, 32.0, 64.0)
RATIOS = (0.5, 1.0, 2.0)


def main() -> None:
    """Print what was compared and how far apart it is."""
    torch.manual_seed(0)
    differences = {
        "suppression": suppression(),
        "roi_align": regions(),
        "anchors": anchors(),
        "box coding": coding(),
        "matching": matching(),
        **whole_network(),
    }
    print(json.dumps(differences))


def random_boxes(count: int) -> Tensor:
    """Boxes (n, 4) of 4 to 44 pixels in a slice of 100 x 100."""
    corner = torch.rand(count, 2) * 56
    return torch.cat((corner, corner + 4 + torch.rand(count, 2) * 40), 1)


def suppression() -> float:
    """Per-level suppression: theirs shifts the boxes of each level away from each other."""
    boxes, scores, levels = random_boxes(80), torch.rand(80), torch.randint(0, 3, (80,))
    theirs = their_box_operations.batched_nms(boxes, scores, levels, 0.4)
    return _apart(ops.nms_by_level(boxes, scores, levels, 0.4), theirs)


def regions() -> float:
    """RoIAlign of boxes inside the slice, on two levels of resolution."""
    features = torch.randn(2, 5, 25, 25)
    boxes = [random_boxes(7), random_boxes(4)]
    worst = 0.0
    for size, scale in ((7, 0.25), (14, 0.25)):
        theirs = their_roi_align(features, boxes, size, scale, ops.POINTS, True)
        worst = max(worst, _apart(ops.plain_roi_align(features, boxes, size, scale), theirs))
    return worst


def anchors() -> float:
    """Sizes and ratios of the anchors at every place; theirs lie half a stride further up and left, and are rounded."""
    ours = _ours().eval()
    features = ours(torch.zeros(1, 3, *SIZE)).features
    generator = AnchorGenerator(tuple((size,) for size in ANCHORS), (RATIOS,) * len(ANCHORS))
    theirs = generator(ImageList(torch.zeros(1, 3, *SIZE), [SIZE]), features)[0]
    half = torch.cat(
        [torch.full((f.shape[2] * f.shape[3] * 3, 1), s / 2) for f, s in zip(features, ours.strides, strict=True)]
    )
    made = torch.cat(ours.proposer.anchors(features)) - half
    return max(0.0, _apart(made, theirs) - 0.5)  # their rounding


def coding() -> float:
    """Boxes to deltas and back, with deltas that grow a box beyond all measure."""
    coder = their_utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    boxes, own = random_boxes(50), random_boxes(50)
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = coder.encode_single(boxes, own)
    wild = torch.randn(50, 4) * 30
    return max(
        _apart(our_boxes.encode(boxes, own, weights), deltas),
        _apart(our_boxes.decode(wild, own, weights), coder.decode_single(wild, own)) / 1e3,
    )


def matching() -> float:
    """Which candidates count as the organ, as background or as neither, with one true box a slice."""
    wrong = 0
    for best in (True, False):
        matcher = their_utils.Matcher(0.7, 0.3, allow_low_quality_matches=best)
        for _ in range(20):
            truth, candidates = random_boxes(1), random_boxes(60)
            theirs = matcher(their_box_operations.box_iou(truth, candidates))
            kinds, _ = targets.match(candidates, truth, 0.7, 0.3, best=best)
            expected = torch.where(theirs >= 0, targets.ORGAN, torch.where(theirs == -1, 0, targets.NEITHER))
            wrong += int((kinds != expected).sum())
    return float(wrong)


def whole_network() -> dict[str, float]:
    """Features, judgements, detections, masks, losses and gradients of a small network with the same weights."""
    ours, theirs = _ours(), _theirs()
    _copy(ours, theirs)
    images = torch.randn(2, 3, *SIZE)
    listed = ImageList(images, [SIZE, SIZE])
    their_poolers.roi_align = partial(their_roi_align, aligned=True)  # type: ignore[assignment]
    found = {}
    with torch.no_grad():
        maps = ours.eval()(images)
        features = theirs.eval().backbone(images)
        found["features"] = max(_apart(a, b) for a, b in zip(maps.features, features.values(), strict=True))
        logits, _ = theirs.rpn.head(list(features.values()))
        own = torch.cat(maps.logits, 1)
        found["objectness"] = _apart(own, torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in logits], 1))
        proposed, _ = theirs.rpn(listed, features)
        made = ours.proposer.propose(ours.proposer.anchors(maps.features), maps.logits, maps.deltas, SIZE)
        found["proposals"] = max(_apart(a, b) for a, b in zip(made, proposed, strict=True))
        detections, _ = theirs.roi_heads(features, proposed, [SIZE, SIZE])
        for one, other in zip(ours.detect(maps), detections, strict=True):
            assert len(one.boxes) > 1, "a comparison of nothing"
            for name, a, b in (
                ("boxes", one.boxes, other["boxes"]),
                ("scores", one.scores, other["scores"]),
                ("masks", one.masks, other["masks"][:, 0]),
            ):
                found[name] = max(found.get(name, 0.0), _apart(a, b))
    return {**found, **losses_and_gradients(ours, theirs, images)}


def losses_and_gradients(ours: Any, theirs: Any, images: Tensor) -> dict[str, float]:
    """With everything drawn, so that chance has no part in it."""
    shares = torch.zeros(2, *SIZE)
    shares[0, 20:61, 30:90] = 1
    shares[1, 50:80, 10:45] = 1
    proposals.SAMPLED, proposals.SHARE, our_network.SHARE = 10**6, 1.0, 1.0
    ours.sampled = 10**6
    ours.train(), theirs.train()
    truth = [
        {"boxes": box, "labels": torch.ones(1, dtype=torch.long), "masks": (share[None] > 0.5).to(torch.uint8)}
        for box, share in zip(our_boxes.of_masks(shares), shares, strict=True)
    ]
    from torchvision.models.detection import roi_heads

    roi_heads.roi_align = partial(their_roi_align, sampling_ratio=ops.POINTS, aligned=True)
    features = theirs.backbone(images)
    boxes, losses = theirs.rpn(ImageList(images, [SIZE, SIZE]), features, truth)
    _, more = theirs.roi_heads(features, boxes, [SIZE, SIZE], truth)
    other = {**losses, **more}
    mine = ours.losses(ours(images), shares, torch.Generator().manual_seed(0))
    names = {
        "objectness": "loss_objectness",
        "proposal": "loss_rpn_box_reg",
        "class": "loss_classifier",
        "box": "loss_box_reg",
        "mask": "loss_mask",
    }
    found = {f"loss {name}": _apart(mine[name].detach(), other[names[name]].detach()) for name in names}
    torch.stack(list(mine.values())).sum().backward()
    torch.stack(list(other.values())).sum().backward()
    for name, a, b in (
        ("stem", ours.backbone.stem.conv.weight, theirs.backbone.body.conv1.weight),
        ("mask head", ours.mask_head.convs[0].weight, theirs.roi_heads.mask_head[0][0].weight),
    ):
        assert float(b.grad.abs().max()) > 0, "a comparison of nothing"
        found[f"gradient {name}"] = _apart(a.grad, b.grad) / float(b.grad.abs().max())
    return found


def _ours() -> Any:
    return build(
        "mask-rcnn",
        channels=list(CHANNELS),
        blocks=[1, 1],
        block="basic",
        norm="batch",
        pyramid=32,
        anchors=list(ANCHORS),
        ratios=list(RATIOS),
        candidates=200,
        proposals=40,
        head=48,
        mask_convs=2,
        detections=10,
    )


class _OurAnchors(AnchorGenerator):
    """Our anchors for their network."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = _ours().proposer

    def num_anchors_per_location(self) -> list[int]:
        return [len(RATIOS)] * len(ANCHORS)

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        return [torch.cat(self.maker.anchors(maps))] * len(images.image_sizes)


def _theirs() -> Any:
    body = ResNet(BasicBlock, [1, 1, 1, 1])
    backbone = BackboneWithFPN(body, {"layer1": "0", "layer2": "1"}, list(CHANNELS), 32)
    heads = their_mask_head()
    return TheirMaskRCNN(
        backbone,
        rpn_anchor_generator=_OurAnchors(),
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=40,
        rpn_post_nms_top_n_test=40,
        rpn_batch_size_per_image=10**6,
        rpn_positive_fraction=1.0,
        box_batch_size_per_image=10**6,
        box_positive_fraction=1.0,
        box_detections_per_img=10,
        box_roi_pool=their_poolers.MultiScaleRoIAlign(["0", "1"], 7, ops.POINTS, canonical_scale=56, canonical_level=2),
        mask_roi_pool=their_poolers.MultiScaleRoIAlign(
            ["0", "1"], 14, ops.POINTS, canonical_scale=56, canonical_level=2
        ),
        **heads,
    )


def their_mask_head() -> dict[str, Any]:
    """Their heads in the widths of ours."""
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

    return {
        "num_classes": None,
        "box_head": TwoMLPHead(32 * 49, 48),
        "box_predictor": FastRCNNPredictor(48, 2),
        "mask_head": MaskRCNNHeads(32, (32, 32), 1),
        "mask_predictor": MaskRCNNPredictor(32, 32, 2),
    }


def _copy(ours: Any, theirs: Any) -> None:
    """Their random weights into our network; larger in the last layers, so that scores and boxes differ."""
    body, pyramid, heads = theirs.backbone.body, theirs.backbone.fpn, theirs.roi_heads
    with torch.no_grad():
        for layer, spread in ((theirs.rpn.head.cls_logits, 1.0), (theirs.rpn.head.bbox_pred, 0.1)):
            layer.weight.normal_(0, spread)
        heads.box_predictor.cls_score.weight.normal_(0, 1)
        heads.box_predictor.bbox_pred.weight.normal_(0, 1)
        heads.mask_predictor.mask_fcn_logits.weight.normal_(0, 1)
    pairs = [(ours.backbone.stem.conv, body["conv1"]), (ours.backbone.stem.norm, body["bn1"])]
    for stage, name in zip(ours.backbone.stages, ("layer1", "layer2"), strict=True):
        block = body[name][0]
        pairs += [(stage[0].layers[0].conv, block.conv1), (stage[0].layers[0].norm, block.bn1)]
        pairs += [(stage[0].layers[1].conv, block.conv2), (stage[0].layers[1].norm, block.bn2)]
        if block.downsample is not None:
            pairs += [(stage[0].shortcut.conv, block.downsample[0]), (stage[0].shortcut.norm, block.downsample[1])]
    for level in range(2):
        pairs.append((ours.backbone.lateral[level], pyramid.inner_blocks[level][0]))
        pairs.append((ours.backbone.output[level], pyramid.layer_blocks[level][0]))
    pairs += [
        (ours.proposer.conv, theirs.rpn.head.conv[0][0]),
        (ours.proposer.objectness, theirs.rpn.head.cls_logits),
        (ours.proposer.deltas, theirs.rpn.head.bbox_pred),
        (ours.box_head.first, heads.box_head.fc6),
        (ours.box_head.second, heads.box_head.fc7),
        (ours.box_head.classes, heads.box_predictor.cls_score),
        (ours.mask_head.convs[0], heads.mask_head[0][0]),
        (ours.mask_head.convs[1], heads.mask_head[1][0]),
        (ours.mask_head.up, heads.mask_predictor.conv5_mask),
    ]
    for own, other in pairs:
        own.load_state_dict(other.state_dict())
    with torch.no_grad():  # theirs has the background's box and mask as well
        ours.box_head.deltas.weight.copy_(heads.box_predictor.bbox_pred.weight[4:])
        ours.box_head.deltas.bias.copy_(heads.box_predictor.bbox_pred.bias[4:])
        ours.mask_head.logits.weight.copy_(heads.mask_predictor.mask_fcn_logits.weight[1:])
        ours.mask_head.logits.bias.copy_(heads.mask_predictor.mask_fcn_logits.bias[1:])


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference; infinite where the shapes differ."""
    return float((a.float() - b.float()).abs().max()) if a.shape == b.shape else float("inf")


if __name__ == "__main__":
    main()

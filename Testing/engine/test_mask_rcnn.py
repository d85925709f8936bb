"""Mask R-CNN in plain torch: boxes, the two operations, anchors, what it learns from, what it finds in slices."""

import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import box_utils
from scipy.ndimage import map_coordinates

from pancreasseg.core.errors import Cancelled, ModelError, RunError
from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import Hardware
from pancreasseg.inference.slices import SliceDetector
from pancreasseg.networks import build
from pancreasseg.networks.fold import fold_batch_norm
from pancreasseg.networks.mask_rcnn import MaskRCNN, ops, paste
from pancreasseg.networks.mask_rcnn.boxes import clip, decode, encode, iou, of_masks
from pancreasseg.networks.mask_rcnn.heads import pooled
from pancreasseg.networks.mask_rcnn.targets import BACKGROUND, NEITHER, ORGAN, draw, match

CPU = Hardware("cpu", "f32")
TINY = {
    "channels": [4, 8],
    "blocks": [1, 1],
    "block": "basic",
    "stem": 4,
    "pyramid": 8,
    "anchors": [8, 16, 32],
    "candidates": 20,
    "proposals": 10,
    "sampled": 8,
    "head": 16,
    "mask_convs": 1,
}
edges = st.tuples(*[st.floats(0, 90)] * 2, *[st.floats(1, 60)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
many = st.lists(edges, min_size=1, max_size=30).map(lambda boxes: torch.tensor(boxes, dtype=torch.float32))


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 60
    size = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1)) * 30 + 2
    return torch.cat((corner, corner + size), 1)


def network(**arguments) -> MaskRCNN:
    torch.manual_seed(0)
    made = build("mask-rcnn", **{**TINY, **arguments})
    assert isinstance(made, MaskRCNN)
    return made


@pytest.fixture
def plain(monkeypatch):
    """Without torchvision, even where it is installed."""
    monkeypatch.setattr(ops, "compiled", lambda: None)


def test_overlap_agrees_with_monai():
    a, b = random_boxes(20), random_boxes(15, 7)
    torch.testing.assert_close(iou(a, b), box_utils.box_iou(a, b))
    torch.testing.assert_close(iou(a, a).diagonal(), torch.ones(20))
    assert iou(a[:0], b).shape == (0, 15)
    flat = torch.tensor([[5.0, 5, 5, 5]])
    assert float(iou(flat, flat)) == 0


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_suppression_agrees_with_monai(threshold, plain):
    boxes, scores = random_boxes(60), torch.rand(60, generator=torch.Generator().manual_seed(3))
    expected = box_utils.non_max_suppression(boxes, scores, threshold)
    assert ops.nms(boxes, scores, threshold).tolist() == expected.tolist()


@settings(max_examples=40, deadline=None)
@given(many, st.floats(0.05, 0.95))
def test_what_stays_after_suppression_is_apart_and_what_goes_has_a_better_neighbour(boxes, threshold):
    scores = torch.linspace(1, 0, len(boxes))
    kept = ops.plain_nms(boxes, scores, threshold)
    overlaps = iou(boxes, boxes)
    assert (overlaps[kept][:, kept].fill_diagonal_(0) <= threshold).all()
    for place in set(range(len(boxes))) - set(kept.tolist()):
        better = kept[kept < place]
        assert (overlaps[place, better] > threshold).any()
    assert kept.tolist() == sorted(kept.tolist())
    assert ops.plain_nms(boxes[kept], scores[kept], threshold).tolist() == list(range(len(kept)))


@settings(max_examples=40, deadline=None)
@given(many, st.integers(0, 5))
def test_boxes_survive_coding_against_any_anchor(boxes, seed):
    anchors = random_boxes(len(boxes), seed)
    weights = (10.0, 10.0, 5.0, 5.0)
    torch.testing.assert_close(decode(encode(boxes, anchors, weights), anchors, weights), boxes, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(encode(anchors, anchors), torch.zeros_like(anchors), rtol=0, atol=1e-5)


def test_predictions_that_explode_stay_finite_and_inside():
    anchors = random_boxes(5)
    wild = decode(torch.full((5, 4), 1e4), anchors)
    assert torch.isfinite(wild).all()
    assert (clip(wild, (50, 70)) <= torch.tensor([70.0, 50, 70, 50])).all()


def test_the_box_of_a_slice_is_around_its_pixels():
    shares = torch.zeros(3, 20, 30)
    shares[0, 4:9, 11:25] = 1
    shares[1, 19, 29] = 0.6
    shares[2, 3, 3] = 0.4
    boxes = of_masks(shares)
    assert boxes[0].tolist() == [[11, 4, 25, 9]]
    assert boxes[1].tolist() == [[29, 19, 30, 20]]
    assert boxes[2].shape == (0, 4)


def test_aligned_regions_of_a_linear_image_are_its_values_at_the_middles_of_the_bins(plain):
    j, i = np.mgrid[:25, :33]
    image = torch.from_numpy(3 * (i + 0.5) - 2 * (j + 0.5)).float()[None, None]
    boxes = torch.tensor([[4.0, 6, 18.5, 20], [10.25, 3, 12.25, 9]])
    values = ops.roi_align(image, [boxes], 7, 1.0)[:, 0]
    for (x0, y0, x1, y1), found in zip(boxes.tolist(), values, strict=True):
        middle = (np.arange(7) + 0.5) / 7
        expected = 3 * (x0 + middle * (x1 - x0))[None] - 2 * (y0 + middle * (y1 - y0))[:, None]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_aligned_regions_agree_with_scipy_up_to_the_rim_of_the_slice(plain):
    random = np.random.default_rng(0)
    features = torch.from_numpy(random.normal(size=(2, 3, 13, 17))).float()
    boxes = [torch.tensor([[0.0, 0, 68, 52], [11, 7, 40, 31]]), torch.tensor([[30.0, 20, 68, 52]])]
    values = ops.roi_align(features, boxes, 5, 0.25)
    assert values.shape == (3, 3, 5, 5)
    rows = [(0, boxes[0][0]), (0, boxes[0][1]), (1, boxes[1][0])]
    for (index, (x0, y0, x1, y1)), found in zip(rows, values, strict=True):
        points = (np.arange(10) + 0.5) / 10
        y, x = (float(low) / 4 + points * float(high - low) / 4 - 0.5 for low, high in ((y0, y1), (x0, x1)))
        for channel, plane in zip(features[index].numpy(), found, strict=True):
            sampled = map_coordinates(channel, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")
            np.testing.assert_allclose(plane, sampled.reshape(5, 2, 5, 2).mean((1, 3)), atol=1e-4)


def test_regions_come_from_the_level_of_their_size_in_the_order_of_the_boxes():
    features = [torch.full((2, 1, 64 // 2**level, 64 // 2**level), float(level)) for level in range(3)]
    boxes = [torch.tensor([[0.0, 0, 250, 250], [0, 0, 20, 20]]), torch.tensor([[0.0, 0, 120, 120]])]
    assert pooled(features, (4, 8, 16), boxes, 7).mean((1, 2, 3)).tolist() == [2, 0, 1]
    assert pooled(features, (4, 8, 16), [boxes[0][:0]] * 2, 7).shape == (0, 1, 7, 7)


def test_torchvision_is_used_where_it_imports(monkeypatch):
    calls = []
    fake = types.ModuleType("torchvision.ops")
    fake.nms = lambda *given: calls.append("nms") or ops.plain_nms(*given)  # type: ignore[attr-defined, func-returns-value]
    fake.roi_align = (  # type: ignore[attr-defined]
        lambda values, boxes, size, scale, points, aligned: (
            calls.append(("roi_align", points, aligned))  # type: ignore[func-returns-value]
            or ops.plain_roi_align(values, boxes, size, scale)
        )
    )
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.ops", fake)
    ops.compiled.cache_clear()
    try:
        network().eval().detect(network().eval()(torch.randn(1, 3, 40, 40)))
    finally:
        ops.compiled.cache_clear()
    assert set(calls) == {"nms", ("roi_align", 2, True)}


@pytest.mark.parametrize("error", [ImportError("no"), RuntimeError("operator torchvision::nms does not exist")])
def test_a_torchvision_that_does_not_import_is_done_without(monkeypatch, error):
    def broken(name: str) -> None:
        raise error

    monkeypatch.setattr(ops.importlib, "import_module", broken)
    ops.compiled.cache_clear()
    try:
        assert ops.nms(random_boxes(5), torch.arange(5.0), 0.5)[0] == 4
    finally:
        ops.compiled.cache_clear()


def test_a_torchvision_that_imports_but_has_no_kernels_is_done_without(monkeypatch):
    def without_kernel(*given: object) -> None:
        raise NotImplementedError("Could not run 'torchvision::nms' with arguments from the 'CPU' backend.")

    broken = types.ModuleType("torchvision.ops")
    broken.nms = without_kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.ops", broken)
    ops.compiled.cache_clear()
    try:
        assert ops.compiled() is None
        assert ops.nms(random_boxes(5), torch.arange(5.0), 0.5)[0] == 4
    finally:
        ops.compiled.cache_clear()


def test_anchors_lie_on_the_pixels_of_their_level_in_every_ratio():
    made = network(ratios=[0.5, 1.0, 2.0])
    levels = made.proposer.anchors(made(torch.zeros(1, 3, 37, 50)).features)
    assert [len(level) for level in levels] == [10 * 13 * 3, 5 * 7 * 3, 3 * 4 * 3]
    for level, size, stride in zip(levels, (8, 16, 32), made.strides, strict=True):
        width, height = (level[:, 2] - level[:, 0]), (level[:, 3] - level[:, 1])
        torch.testing.assert_close((width * height).sqrt(), torch.full((len(level),), float(size)))
        torch.testing.assert_close((height / width)[:3], torch.tensor([0.5, 1, 2]))
        middle = (level[:, :2] + level[:, 2:]) / 2
        assert middle[0].tolist() == pytest.approx([stride / 2, stride / 2])
        assert middle[3].tolist() == pytest.approx([stride * 1.5, stride / 2])


def test_candidates_are_matched_and_the_best_one_always_counts():
    truth = torch.tensor([[0.0, 0, 10, 10]])
    candidates = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 5], [50, 50, 60, 60]])
    assert match(candidates, truth, 0.7, 0.3, best=False)[0].tolist() == [ORGAN, NEITHER, BACKGROUND]
    assert match(candidates[1:], truth, 0.7, 0.3, best=True)[0].tolist() == [ORGAN, BACKGROUND]
    assert match(candidates[2:], truth, 0.7, 0.3, best=True)[0].tolist() == [BACKGROUND]
    assert match(candidates, truth[:0], 0.7, 0.3, best=True)[0].tolist() == [BACKGROUND] * 3


def test_what_is_drawn_is_balanced_and_repeats_with_its_random_state():
    kinds = torch.tensor([ORGAN] * 40 + [BACKGROUND] * 100 + [NEITHER] * 100)
    organ, background = draw(kinds, 32, 0.25, torch.Generator().manual_seed(5))
    assert (len(organ), len(background)) == (8, 24)
    assert (kinds[organ] == ORGAN).all()
    assert (kinds[background] == BACKGROUND).all()
    again, _ = draw(kinds, 32, 0.25, torch.Generator().manual_seed(5))
    assert organ.tolist() == again.tolist()
    few, rest = draw(kinds[39:], 32, 0.25, torch.Generator().manual_seed(5))
    assert (len(few), len(rest)) == (1, 31)


def test_a_mask_cut_out_and_pasted_back_is_the_same():
    j, i = np.mgrid[:60, :80]
    mask = torch.from_numpy((((i - 40.3) / 22) ** 2 + ((j - 28.8) / 14) ** 2 < 1).astype(np.float32))
    boxes = of_masks(mask[None])
    cut = ops.plain_roi_align(mask[None, None], boxes, 28, 1.0)[:, 0]
    back = paste(cut, boxes[0], (60, 80)) >= 0.5
    assert 2 * float((back * mask).sum()) / float(back.sum() + mask.sum()) > 0.97
    assert float(paste(cut[:0], boxes[0][:0], (60, 80)).sum()) == 0


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("size", [(37, 50), (64, 33), (16, 16)])
def test_slices_of_any_size_train_and_are_searched(norm, block, size):
    made = network(norm=norm, block=block, stem_stride=2)
    shares = torch.zeros(2, *size)
    shares[0, 4:12, 3:13] = 1  # the second slice has no pancreas
    losses = made.losses(made(torch.randn(2, 3, *size)), shares, torch.Generator().manual_seed(0))
    assert set(losses) == {"objectness", "proposal", "class", "box", "mask"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())
    with torch.inference_mode():
        found = made.eval().detect(made(torch.randn(2, 3, *size)))
    assert len(found) == 2
    for boxes, scores, masks in found:
        assert boxes.shape == (len(scores), 4)
        assert masks.shape == (len(scores), 28, 28)
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([size[1], size[0]] * 2)).all()
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_slices_without_pancreas_teach_background_alone():
    made = network()
    losses = made.losses(made(torch.randn(2, 3, 40, 40)), torch.zeros(2, 40, 40), torch.Generator().manual_seed(0))
    assert [name for name, value in losses.items() if float(value.detach()) > 0] == ["objectness", "class"]


def test_the_same_random_state_gives_the_same_losses():
    made = network()
    shares = torch.zeros(1, 40, 40)
    shares[0, 5:25, 8:30] = 1
    maps = made(torch.randn(1, 3, 40, 40))
    seeds = [made.losses(maps, shares, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    values = [[float(value.detach()) for value in losses.values()] for losses in seeds]
    assert values[0] == values[1] != values[2]


def test_batch_norm_folds_away_without_changing_what_is_found():
    made = network(norm="batch")
    made.train()
    for _ in range(3):
        made(torch.randn(4, 3, 48, 48) * 2 + 1)
    x = torch.randn(1, 3, 48, 48)
    with torch.inference_mode():
        before = made.eval()(x)
        fold_batch_norm(made)
        after = made(x)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())
    for a, b in zip(before.features, after.features, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"anchors": [8, 16]}, {"blocks": [1]}, {"norm": "none"}, {"block": "odd"}, {"stem_stride": 3}]
)
def test_levels_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ModelError, match="cannot be built"):
        network(**wrong)


def test_the_published_network_has_the_size_of_resnet_50_fpn():
    with torch.device("meta"):
        published = build("mask-rcnn")
    count = sum(p.numel() for p in published.parameters())
    assert 43e6 < count < 45e6  # torchvision's has 44.4 million, for 91 classes
    assert sum(p.numel() for p in published.backbone.stages.parameters()) == pytest.approx(23.5e6, rel=0.01)  # type: ignore[union-attr, operator]


def test_all_slices_are_searched_in_batches_with_progress_and_cancel():
    made = network().eval()
    array = np.random.default_rng(0).normal(size=(11, 32, 40)).astype(np.float32)
    updates = []
    progress = Progress(report=updates.append)
    detector = SliceDetector([made, made], CPU)
    assert detector.passes(11) == 4
    with progress.stage("coarse", detector.passes(11)):
        found = detector.detect(array, -2.0, progress)
    assert updates[-1].done == updates[-1].total == 4
    assert [len(members) for members in found] == [2] * 11
    # A slice is seen with its real neighbours, and with air beyond the first one.
    with torch.inference_mode():
        for place, planes in ((5, array[4:7]), (0, np.stack([np.full((32, 40), -2.0, np.float32), *array[:2]]))):
            alone = made.detect(made(torch.from_numpy(planes)[None]))[0]
            torch.testing.assert_close(found[place][0].boxes, alone.boxes, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(found[place][1].scores, alone.scores, rtol=1e-3, atol=1e-4)
    calls = []
    with pytest.raises(Cancelled):
        detector.detect(array, 0.0, Progress(cancelled=lambda: calls.append(1) or len(calls) > 1))  # type: ignore[func-returns-value]
    assert len(calls) == 2


def test_running_out_of_memory_goes_on_slice_by_slice_and_says_so(monkeypatch):
    made = network().eval()
    real, room = made.detect, [1]

    def detect(maps):
        if len(maps.logits[0]) > room[0]:
            raise RuntimeError("CUDA out of memory")
        return real(maps)

    monkeypatch.setattr(made, "detect", detect)
    detector = SliceDetector([made], CPU)
    progress = Progress()
    array = np.zeros((5, 24, 24), dtype=np.float32)
    assert len(detector.detect(array, 0.0, progress)) == 5
    assert [finding.code for finding in progress.notices] == ["out-of-memory"]
    assert detector.passes(5) == 5
    room[0] = 0
    with pytest.raises(RunError, match="not enough memory"):
        detector.detect(array, 0.0, progress)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="Mask R-CNN"):
        SliceDetector([build("unet3d", channels=[2])], CPU)

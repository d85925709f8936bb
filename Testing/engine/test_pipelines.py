"""The pipelines' geometry, with a network that can be reasoned about: it calls every bright voxel pancreas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from Testing.helpers.bright_model import outside
from Testing.helpers.model_cards import card_of, checked, network_entry, preprocessing
from torch import nn

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import Cancelled
from pancreasseg.core.finding import Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization
from pancreasseg.grids.body import body_box, map_box
from pancreasseg.grids.resample import network_grid
from pancreasseg.inference.hardware import Hardware
from pancreasseg.models.network_card import NetworkCard
from pancreasseg.models.package import ModelPackage
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.single_stage import SingleStagePipeline
from pancreasseg.pipelines.two_stage import TwoStageOptions, TwoStagePipeline

COARSE_MM, FINE_MM = 6.0, 2.0
OBLIQUE = (0.966, 0.0, 0.259, 0.0, -1.0, 0.0, 0.259, 0.0, -0.966)


class Bright(nn.Module):
    """Pancreas where the normalised value is above 0.5; remembers the shapes it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(image.shape[2:]))
        logit = (image - 0.5) * 20
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def card(role: str, spacing_mm: float) -> NetworkCard:
    entry = network_entry(role, preprocessing=preprocessing(spacing_mm, patch=[24, 24, 24]))
    return checked(card_of(entry)).networks[0]


class Package:
    """What a stage asks of a package when no weights are read."""

    card = type("Card", (), {"name": "bright", "version": "1", "weights": type("W", (), {"sha256": "0" * 64})})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float], Stage]:
    monkeypatch.setattr("pancreasseg.inference.load.load_networks", lambda package, network_card: [Bright()])

    def make(role: str, spacing_mm: float) -> Stage:
        package: ModelPackage = Package()  # type: ignore[assignment]
        return Stage(package, card(role, spacing_mm), Hardware("cpu", "f32"))

    return make


@pytest.fixture
def two_stage(stage: Callable[[str, float], Stage]) -> Callable[..., TwoStagePipeline]:
    return lambda **options: TwoStagePipeline(
        stage("localizer", COARSE_MM), stage("segmenter", FINE_MM), TwoStageOptions(**options)
    )


def shapes_seen(stage: Stage) -> list[tuple[int, ...]]:
    network = stage.predictor.networks[0]
    assert isinstance(network, Bright)
    return network.shapes


def patient(
    centre: Sequence[float] = (0.5, 0.5, 0.5),
    radii_mm: Sequence[float] = (30, 20, 22),
    size: tuple[int, int, int] = (80, 70, 40),
    spacing: tuple[float, float, float] = (2.0, 2.0, 4.0),
    direction: tuple[float, ...] = Geometry((1, 1, 1)).direction,
) -> tuple[Volume, np.ndarray]:
    """A body of 40 HU in air with one bright ellipsoid (180 HU) at a relative place; and the ellipsoid's mask."""
    geometry = Geometry(size, spacing, (12.0, -30.0, 400.0), direction)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), axis=-1).transpose(2, 1, 0, 3)
    middle = (np.array(size) - 1) / 2
    body = ((np.abs(index - middle) * spacing / (np.array(size) * spacing * 0.48))[..., :2] ** 2).sum(-1) < 1
    away = (index - np.asarray(centre) * (np.array(size) - 1)) * spacing
    organ = ((away / np.asarray(radii_mm)) ** 2).sum(-1) < 1
    hu = np.full(geometry.shape, -1000, dtype=np.int16)
    hu[body] = 40
    hu[organ] = 180
    return Volume(hu, geometry), organ


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("direction", [Geometry((1, 1, 1)).direction, OBLIQUE, (0, 0, 1, 1, 0, 0, 0, -1, 0)])
def test_two_stage_finds_the_organ_on_any_grid(
    two_stage: Callable[..., TwoStagePipeline], direction: tuple[float, ...]
) -> None:
    volume, organ = patient(direction=direction)
    pipeline = two_stage()
    localization = pipeline.localize(volume)
    result = pipeline.segment(volume, localization)
    truth = Box.of_mask(organ)
    assert truth is not None
    assert localization.box.union(truth) == localization.box
    assert result.mask.shape == volume.array.shape
    assert result.mask.dtype == np.uint8
    assert dsc(result.mask > 0, organ) > 0.9
    assert result.probability.shape == result.agreement.shape == result.box.shape
    assert 0.9 < localization.score <= 1


def test_box_1_and_box_2_have_the_margins_of_the_paper(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient()
    first, second = two_stage(margin_mm=10.0).localize(volume).candidates
    truth = Box.of_mask(organ)
    assert truth is not None
    spacing = np.asarray(volume.geometry.spacing)
    for box, margin in ((first, 2 * COARSE_MM), (second, 10.0)):
        low = (np.asarray(truth.start) - box.start) * spacing
        high = (np.asarray(box.stop) - truth.stop) * spacing
        # the coarse mask's surface may lie one coarse voxel off
        assert (np.abs(np.concatenate([low, high]) - margin) <= COARSE_MM + spacing.max()).all()


def test_the_same_segmenter_sees_both_boxes_and_fast_sees_one(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, _ = patient()
    for boxes, name in ((2, "two-stage"), (1, "fast")):
        pipeline = two_stage(boxes=boxes)
        result = pipeline.segment(volume, pipeline.localize(volume))
        assert len(shapes_seen(pipeline.segmenter)) == boxes
        assert result.provenance.pipeline == pipeline.name == name


def test_a_box_of_a_person_is_obeyed(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient()
    pipeline = two_stage()
    box = Box((20, 20, 10), (45, 50, 30))  # cuts the organ
    result = pipeline.segment(volume, box)
    inside = np.zeros_like(organ)
    inside[box.slices] = organ[box.slices]
    assert result.box == box
    assert not outside(result.mask, box).any()
    assert dsc(result.mask > 0, inside) > 0.9
    assert not shapes_seen(pipeline.localizer)
    assert len(shapes_seen(pipeline.segmenter)) == 1


def test_a_face_that_the_mask_touches_grows_once(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient(size=(80, 70, 60))
    pipeline = two_stage(boxes=1, growth_mm=40.0)
    cut = short_of(pipeline, volume, organ, 6)
    result = pipeline.segment(volume, cut)
    assert [finding.code for finding in result.findings] == ["box-grown"]
    assert result.box.stop[0] > cut.box.stop[0]
    assert result.box.start == cut.box.start
    assert dsc(result.mask > 0, organ) > 0.9
    assert len(shapes_seen(pipeline.segmenter)) == 2


def short_of(pipeline: TwoStagePipeline, volume: Volume, organ: np.ndarray, voxels: int) -> Localization:
    """What a weak localizer says: a box that ends ``voxels`` before the organ does."""
    region, truth = pipeline.localize(volume), Box.of_mask(organ)
    assert truth is not None
    box = Box(region.box.start, (truth.stop[0] - voxels, *region.box.stop[1:]))
    return replace(region, box=box, candidates=(box,))


def test_one_more_crop_around_the_fine_mask_finds_what_a_weak_localizer_cut_off(
    two_stage: Callable[..., TwoStagePipeline],
) -> None:
    volume, organ = patient(size=(80, 70, 60))
    settings = {"boxes": 1, "growth_mm": 10.0, "margin_mm": 10.0}
    once, again = two_stage(**settings), two_stage(**settings, recrops=1)
    region = short_of(again, volume, organ, 17)
    first, result = once.segment(volume, region), again.segment(volume, region)
    assert dsc(first.mask > 0, organ) < 0.85
    assert dsc(result.mask > 0, organ) > 0.95
    told = next(finding for finding in result.findings if finding.code == "passes-disagree")
    assert told.number == pytest.approx(dsc(first.mask > 0, result.mask > 0))
    assert told.severity is Severity.WARNING
    changed = (first.mask != result.mask)[result.box.slices]
    np.testing.assert_array_equal(result.agreement, np.where(changed, 0.5, 1.0))
    assert [name for name, _ in again.segmenting] == ["fine", "fusion", "recrop"]
    assert result.timings["recrop"] > 0


def test_two_passes_that_agree_say_so_with_their_dsc(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient()
    pipeline = two_stage(recrops=2)
    result = pipeline.segment(volume, pipeline.localize(volume))
    assert len(shapes_seen(pipeline.segmenter)) == 4  # two boxes, two more passes
    (told,) = result.findings
    assert told.code == "passes-agree"
    assert told.number is not None
    assert 0.97 < told.number <= 1
    truth = Box.of_mask(organ)
    assert truth is not None
    for a, b in zip(result.box.bounds(), truth.grow(10.0, volume.geometry).bounds(), strict=True):
        assert abs(a - b) <= 1


def test_a_box_of_a_person_is_not_cropped_again(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, _ = patient()
    pipeline = two_stage(recrops=1)
    box = Box((20, 20, 10), (45, 50, 30))
    result = pipeline.segment(volume, box)
    assert result.box == box
    assert len(shapes_seen(pipeline.segmenter)) == 1
    assert result.findings == ()


def test_a_second_pass_that_finds_nothing_leaves_the_first_mask(
    two_stage: Callable[..., TwoStagePipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, organ = patient()
    pipeline = two_stage(recrops=1)
    region = pipeline.localize(volume)
    blind_from, look = len(region.candidates), pipeline.segmenter.pancreas_on_box
    monkeypatch.setattr(
        pipeline.segmenter,
        "pancreas_on_box",
        lambda *given: look(*given) * (len(shapes_seen(pipeline.segmenter)) <= blind_from),
    )
    result = pipeline.segment(volume, region)
    assert dsc(result.mask > 0, organ) > 0.9
    assert [(finding.code, finding.number) for finding in result.findings] == [("passes-disagree", 0.0)]


def test_where_the_first_pass_finds_nothing_there_is_no_second(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, _ = patient(radii_mm=(0.1, 0.1, 0.1), centre=(0.503, 0.503, 0.503))
    pipeline = two_stage(recrops=1)
    result = pipeline.segment(volume, replace(pipeline.localize(volume), candidates=(Box((20, 20, 10), (60, 50, 30)),)))
    assert not result.mask.any()
    assert len(shapes_seen(pipeline.segmenter)) == 1


def test_a_volume_without_a_pancreas_gives_an_empty_mask_and_a_box_to_drag(
    two_stage: Callable[..., TwoStagePipeline],
) -> None:
    volume, _ = patient(radii_mm=(0.1, 0.1, 0.1), centre=(0.503, 0.503, 0.503))
    pipeline = two_stage()
    localization = pipeline.localize(volume)
    result = pipeline.segment(volume, localization)
    assert [finding.code for finding in result.findings] == ["no-pancreas"]
    assert not result.mask.any()
    assert localization.box.voxels > 0
    assert localization.box.clip(volume.geometry) == localization.box


def test_a_far_false_positive_moves_neither_box_nor_mask(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient(size=(80, 70, 60))
    hu = volume.array.copy()
    hu[2:8, 30:40, 35:45] = 180
    result = two_stage().segment(Volume(hu, volume.geometry), two_stage().localize(Volume(hu, volume.geometry)))
    assert dsc(result.mask > 0, organ) > 0.9


def test_a_large_piece_that_was_left_out_is_told(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient()
    hu = volume.array.copy()
    piece = np.s_[14:26, 4:8, 30:50]
    hu[piece] = 180  # 3 cm in front of the organ, inside the box
    pipeline = two_stage()
    apart = Volume(hu, volume.geometry)
    result = pipeline.segment(apart, Box((15, 2, 5), (65, 60, 38)))
    assert not result.mask[18, 6, 40]
    assert result.second_largest == pytest.approx(hu[piece].size / organ.sum(), rel=0.15)


def test_an_organ_that_breaks_at_its_neck_is_kept_whole(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, organ = patient(radii_mm=(50, 14, 16))
    hu = volume.array.copy()
    hu[:, :, 34:40][organ[:, :, 34:40]] = 40  # no contrast over 12 mm, off the middle: the parts differ in size
    organ = organ & (hu == 180)
    pipeline = two_stage()
    broken = Volume(hu, volume.geometry)
    result = pipeline.segment(broken, pipeline.localize(broken))
    assert dsc(result.mask > 0, organ) > 0.9
    alone = two_stage(coarse_join_mm=0.0, join_mm=0.0)
    assert dsc(alone.segment(broken, alone.localize(broken)).mask > 0, organ) < 0.85


def test_single_stage_agrees_with_two_stage(
    stage: Callable[[str, float], Stage], two_stage: Callable[..., TwoStagePipeline]
) -> None:
    volume, organ = patient()
    single = SingleStagePipeline(stage("segmenter", FINE_MM))
    result = single.segment(volume, single.localize(volume))
    assert len(shapes_seen(single.segmenter)) > 8  # it really slides
    assert dsc(result.mask > 0, organ) > 0.9
    pipeline = two_stage()
    assert dsc(result.mask > 0, pipeline.segment(volume, pipeline.localize(volume)).mask > 0) > 0.97


def test_cancel_stops_between_the_two_boxes(two_stage: Callable[..., TwoStagePipeline]) -> None:
    volume, _ = patient()
    pipeline = two_stage()
    localization = pipeline.localize(volume)
    with pytest.raises(Cancelled):
        pipeline.segment(volume, localization, Progress(cancelled=lambda: len(shapes_seen(pipeline.segmenter)) >= 1))
    assert len(shapes_seen(pipeline.segmenter)) == 1


def test_the_body_box_leaves_out_air_and_a_thin_table() -> None:
    volume, _ = patient(size=(100, 100, 30))
    hu = volume.array.copy()
    body = Box.of_mask(hu > -500)
    assert body is not None
    hu[:, 97:98, :] = 300  # a table top of 2 mm
    found = body_box(Volume(hu, volume.geometry))
    for axis in range(2):
        assert abs(found.start[axis] - body.start[axis]) * 2 <= 8
        assert abs(found.stop[axis] - body.stop[axis]) * 2 <= 8


def test_the_body_box_of_nothing_is_the_whole_volume() -> None:
    geometry = Geometry((20, 20, 20))
    air = Volume(np.full(geometry.shape, -1000, np.int16), geometry)
    assert body_box(air) == Box.whole(geometry)


def test_a_mapped_box_contains_every_voxel_of_the_original() -> None:
    native = Geometry((64, 48, 30), (0.8, 0.8, 3.0), (5.0, 6.0, 7.0), OBLIQUE)
    grid = network_grid(native, Box.whole(native), spacing=(4.0, 4.0, 4.0))
    coarse = Box((2, 3, 1), (7, 6, 9))
    mapped = map_box(coarse, grid, native)
    back = map_box(mapped, native, grid)
    assert coarse.union(back) == back
    assert max(a - b for a, b in zip(back.size, coarse.size, strict=True)) <= 2


def test_unknown_fusion_and_box_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="fusion"):
        TwoStageOptions(fusion="loudest")
    with pytest.raises(ValueError, match="one or two boxes"):
        TwoStageOptions(boxes=3)
    with pytest.raises(ValueError, match="re-crops"):
        TwoStageOptions(recrops=-1)

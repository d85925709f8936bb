"""Dogan 2021 end to end: from boxes in slices to a volume box, what is segmented in it, and how it is trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from Testing.helpers.bright_model import THRESHOLD_HU, a_patient, outside, write_bright_model
from Testing.helpers.easy_cohort import easy_cohort
from Testing.helpers.model_samples import CARD, card
from Testing.helpers.tiny_recipes import tiny

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import Cancelled, InputError, ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.cohorts import Cohort
from pancreasseg.lab.training.augmentation import Augmentation
from pancreasseg.lab.training.run import loop_for
from pancreasseg.lab.training.slices import SliceLoop
from pancreasseg.models.package import write_package
from pancreasseg.models.store import Store
from pancreasseg.networks import build
from pancreasseg.networks.mask_rcnn import Detections
from pancreasseg.pipelines import cast, create
from pancreasseg.pipelines.mask_rcnn import Found, MaskRcnnOptions, MaskRcnnPipeline, persistent, robust_box
from pancreasseg.pipelines.postprocess import smooth

CPU = Hardware("cpu", "f32")
ARGUMENTS = {
    "channels": [2], "blocks": [1], "block": "basic", "stem": 2, "pyramid": 2, "anchors": [16, 32], "candidates": 4,
    "proposals": 2, "head": 2, "mask_convs": 1,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A package with an untrained Mask R-CNN, and one whose segmenter calls every bright voxel pancreas."""
    write_bright_model(tmp_path)
    entry = {**CARD["networks"][0], "network": "mask-rcnn", "arguments": ARGUMENTS, "role": "localizer"}
    entry["preprocessing"] = {
        **entry["preprocessing"], "spacing_mm": [3, 3, 4], "window_hu": [0, 200], "scale": 1 / 200, "shift": 0
    }  # fmt: skip
    data = card(name="slices", pipeline="mask-rcnn", networks=[{**entry, "members": ["one"]}])
    tensors = {f"one.{key}": value for key, value in build("mask-rcnn", **ARGUMENTS).state_dict().items()}
    write_package(tmp_path / "models" / "slices", data, tensors)
    return Store(tmp_path)


def made(store: Store, **options) -> MaskRcnnPipeline:
    pipeline = create(Setup("mask-rcnn", model="slices+bright", device="cpu", precision="f32", options=options), store)
    assert isinstance(pipeline, MaskRcnnPipeline)
    return pipeline


def test_its_boxes_on_slices_are_for_its_own_pipeline_alone(store: Store) -> None:
    assert cast(Setup(model="slices+bright"), store).declaration.name == "mask-rcnn"
    assert cast(Setup(model="bright"), store).localizer is None
    with pytest.raises(ModelError, match="has no localizer network, which the pipeline fast needs"):
        cast(Setup("fast", "slices+bright"), store)


def seeing(pipeline: MaskRcnnPipeline, score: float = 0.9, skip: tuple[int, ...] = ()) -> MaskRcnnPipeline:
    """The pipeline with a detector that finds the box around what is bright in every slice, but for some slices."""

    def detect(array: np.ndarray, outside: float, progress: Progress) -> list[list[Detections]]:
        result = []
        for place, plane in enumerate(array):
            bright = ndimage.binary_opening(plane > THRESHOLD_HU / 200)
            found = np.argwhere(bright) if place not in skip else np.zeros((0, 2))
            if len(found) == 0:
                result.append([Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 28, 28))])
                continue
            (y0, x0), (y1, x1) = found.min(0), found.max(0) + 1
            mask = torch.from_numpy(bright[y0:y1, x0:x1].astype(np.float32))[None, None]
            mask = torch.nn.functional.interpolate(mask, (28, 28), mode="bilinear")[0]
            box = torch.tensor([[x0, y0, x1, y1]], dtype=torch.float32)
            result.append([Detections(box, torch.tensor([score]), mask)])
        return result

    pipeline.detector.detect = detect  # type: ignore[method-assign]
    return pipeline


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def found(rows: list[tuple[int, list[float]]]) -> Found:
    boxes = np.array([edges for _, edges in rows], dtype=np.float32)
    count = len(rows)
    return Found(np.array([place for place, _ in rows]), boxes, np.ones(count), np.ones((count, 2, 2)))


def test_boxes_must_persist_over_slices_in_a_row():
    here, there = [10.0, 10, 30, 30], [60.0, 60, 80, 80]
    rows = [(4, here), (5, [12, 10, 32, 30]), (6, [14, 10, 34, 30]), (7, there), (9, there), (11, there)]
    sure = np.ones(6, dtype=bool)
    assert persistent(found(rows), sure, 3, 0.2).tolist() == [True] * 3 + [False] * 3
    assert persistent(found(rows), sure, 4, 0.2).sum() == 0
    assert persistent(found(rows), sure, 1, 0.2).all()
    assert persistent(found(rows), sure, 3, 0.95).sum() == 0  # they move too much to be the same
    sure[1] = False  # it continues the chain, but only two are sure
    assert persistent(found(rows), sure, 2, 0.2).tolist() == [True] * 3 + [False] * 3
    assert persistent(found(rows), sure, 3, 0.2).sum() == 0
    twice = found([(4, here), (4, here), (5, here)])
    assert not persistent(twice, np.ones(3, bool), 3, 0.2).any()
    assert persistent(twice.only(np.zeros(3, bool)), np.zeros(0, bool), 3, 0.2).shape == (0,)


def test_single_stray_boxes_do_not_move_the_volume_box():
    rows = [(place, [20.0, 30, 50, 45]) for place in range(10, 40)]
    assert robust_box(found(rows), 0.0) == Box((20, 30, 10), (50, 45, 40))
    stray = [*rows, (20, [0.0, 0, 100, 100])]
    box = robust_box(found(stray), 5.0)
    assert (box.start[:2], box.stop[:2]) == ((20, 30), (50, 45))
    assert 10 <= box.start[2] <= 12
    assert 38 <= box.stop[2] <= 40
    assert robust_box(found(stray), 0.0).start[:2] == (0, 0)


def test_the_box_holds_the_organ_with_the_margin_and_the_masks_are_the_coarse_map(store):
    volume, truth = a_patient()
    pipeline = seeing(made(store))
    region = pipeline.localize(volume)
    true_box = Box.of_mask(truth)
    assert true_box is not None
    assert region.box.intersect(true_box) == true_box
    assert region.candidates == (region.box,)
    assert region.score == pytest.approx(0.9)
    assert not region.findings
    wide = seeing(made(store, margin_mm=30.0)).localize(volume).box
    assert all(a > b for a, b in zip(wide.size, region.box.size, strict=True))
    result = pipeline.segment(volume, region)
    assert dice(result.mask, truth) > 0.95
    assert result.provenance.pipeline == "mask-rcnn"
    assert {model["name"] for model in result.provenance.models} == {"slices", "bright"}
    assert region.coarse is not None
    assert region.coarse_grid is not None
    assert region.coarse.shape == region.coarse_grid.shape
    assert (region.coarse >= 0.5).sum() * region.coarse_grid.voxel_ml == pytest.approx(
        truth.sum() * volume.geometry.voxel_ml, rel=0.25
    )


def test_a_slice_that_was_missed_does_not_matter_and_faint_boxes_are_told(store):
    volume, truth = a_patient()
    grid = made(store).localizer.prepare(volume, Box.whole(volume.geometry))[1]
    middle = grid.shape[0] // 2
    region = seeing(made(store, persistence=2), skip=(middle,)).localize(volume)
    assert truth[region.box.slices].sum() == truth.sum()
    faint = seeing(made(store), score=0.4).localize(volume)
    assert [finding.code for finding in faint.findings] == ["faint-localization"]
    assert truth[faint.box.slices].sum() == truth.sum()


def test_what_persists_elsewhere_is_dropped_from_box_and_map(store):
    volume, _ = a_patient()
    pipeline = seeing(made(store))
    alone = pipeline.localize(volume)
    see = pipeline.detector.detect

    def with_bowel(array: np.ndarray, outside: float, progress: Progress) -> list[list[Detections]]:
        result = see(array, outside, progress)
        box = Detections(torch.tensor([[2.0, 2, 6, 6]]), torch.tensor([0.95]), torch.ones(1, 28, 28))
        return [[*members, box] if place < 4 else members for place, members in enumerate(result)]

    pipeline.detector.detect = with_bowel  # type: ignore[method-assign]
    assert pipeline.localize(volume).box == alone.box
    np.testing.assert_array_equal(pipeline.localize(volume).coarse, alone.coarse)


def test_nothing_found_is_said_and_a_persons_box_is_obeyed(store):
    volume, truth = a_patient()
    pipeline = seeing(made(store), score=0.1)
    region = pipeline.localize(volume)
    assert [finding.code for finding in region.findings] == ["no-pancreas"]
    assert not region.candidates
    assert not pipeline.segment(volume, region).mask.any()
    box = Box((38, 25, 15), (80, 70, 22))
    result = pipeline.segment(volume, box)
    assert not outside(result.mask, box).any()
    assert (result.mask & truth).sum() > 0.9 * truth[box.slices].sum()


def test_the_untrained_network_runs_and_stops_between_batches(store):
    volume, _ = a_patient()
    pipeline = made(store, score=0.001, faint_score=0.001)
    updates = []
    pipeline.localize(volume, Progress(report=updates.append))
    passes = [update for update in updates if update.stage == "coarse"]
    assert passes[-1].done == passes[-1].total > 2
    with pytest.raises(Cancelled):
        pipeline.localize(volume, Progress(cancelled=lambda: len(updates) > 0))


def test_scans_thinner_than_the_persistence_are_searched(store):
    volume, truth = a_patient()
    thin = Volume(volume.array[19:21], volume.geometry.crop(Box((0, 0, 19), (80, 70, 21))))
    region = seeing(made(store)).localize(thin)
    assert truth[19:21][region.box.slices].sum() == truth[19:21].sum()


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"persistence": 0}, {"edge_percentile": 50.0}, {"edge_percentile": -1.0}):
        with pytest.raises(ValueError, match="persistence"):
            MaskRcnnOptions(**wrong)  # type: ignore[arg-type]


def test_smoothing_closes_gaps_takes_spurs_away_and_leaves_coarse_axes_alone():
    mask = np.zeros((12, 30, 30), dtype=np.uint8)
    mask[2:10, 8:22, 8:22] = 1
    spur, gap = mask.copy(), mask.copy()
    spur[5, 22:28, 15] = 1
    gap[5, 15, 8:22] = 0
    cube = smooth(mask, (1.0, 1.0, 1.0), 1.0)
    assert dice(cube, mask > 0) > 0.97  # edges of a cube are rounded
    for changed in (spur, gap):
        np.testing.assert_array_equal(smooth(changed, (1.0, 1.0, 1.0), 1.0), cube)
        np.testing.assert_array_equal(smooth(changed, (2.0, 2.0, 2.0), 1.0), changed > 0)
    flat = np.zeros((3, 20, 20), dtype=np.uint8)
    flat[1, 5:15, 5:15] = 1  # one slice thick: only opened within the slice
    assert smooth(flat, (1.0, 1.0, 5.0), 1.0).sum() > 90
    edge = np.zeros((4, 8, 8), dtype=np.uint8)
    edge[:, :, 4:] = 1
    assert smooth(edge, (1.0, 1.0, 1.0), 1.0)[1:3, 2:6, 7].all()
    assert not smooth(np.zeros((2, 3, 4)), (1.0, 1.0, 1.0), 1.0).any()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return easy_cohort(tmp_path_factory.mktemp("easy"))


def localizer(**changes):
    return tiny("dogan2021").with_settings({f"localizer.{k}": v for k, v in changes.items()}).part("localizer")


def test_examples_are_slices_with_their_neighbours(cohort, tmp_path):
    part = localizer()
    assert loop_for(part) is SliceLoop
    loop = SliceLoop(part, cohort, cohort.cases, tmp_path, CPU)
    case = loop.cases[0]
    sample = cohort.sample(case, part.grid)
    values = part.preprocessing.normalise(sample.hu.astype(np.float32))
    seen = set()
    for seed in range(12):
        x, share = loop.example(case, Augmentation.none(), np.random.default_rng(seed))
        assert x.shape[:2] == (1, 3)
        assert share.shape == (1, 1, *x.shape[2:])
        middle = [
            k for k in range(1, len(values) - 1) if np.allclose(values[k], _centre(x[0, 1], values[k]), atol=1e-3)
        ]
        for k in middle:
            seen.add(k)
            np.testing.assert_allclose(_centre(x[0, 0], values[k]), values[k - 1], atol=1e-3)
            np.testing.assert_allclose(_centre(share[0, 0], values[k]), sample.truth[k] / 255, atol=1e-3)
    assert len(seen) > 3


def _centre(plane: torch.Tensor, like: np.ndarray) -> np.ndarray:
    """The middle of a slice that was padded with air to the size of the examples."""
    j, i = ((n - m) // 2 for n, m in zip(plane.shape, like.shape, strict=True))
    return plane[j : j + like.shape[0], i : i + like.shape[1]].numpy()


def test_all_slices_hold_pancreas_where_only_those_are_drawn(cohort, tmp_path):
    for share, expected in ((1.0, 10), (0.0, 6)):
        folder = tmp_path / str(share)
        folder.mkdir()
        loop = SliceLoop(localizer(**{"sampling.foreground": share}), cohort, cohort.cases, folder, CPU)
        random = np.random.default_rng(3)
        drawn = [loop.example(loop.cases[0], Augmentation.none(), random)[1].amax() > 0.5 for _ in range(10)]
        assert sum(map(bool, drawn)) == pytest.approx(expected, abs=2 if share == 0 else 0)


def test_an_interrupted_training_in_slices_ends_with_the_same_weights(cohort, tmp_path):
    part = localizer(**{"schedule.steps": 6, "schedule.every": 3})
    weights = []
    for name, stops in (("whole", (6,)), ("broken", (2, 4, 6))):
        folder = tmp_path / name
        folder.mkdir()
        for stop in stops:
            loop = SliceLoop(part, cohort, cohort.cases, folder, CPU)
            loop.run(stop)
        weights.append(loop.weights())
        assert [row[0] for row in loop.history] == [3, 6]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


@pytest.mark.parametrize("count", [5, 2])
def test_a_number_of_slices_that_the_network_does_not_take_is_refused(cohort, tmp_path, count):
    with pytest.raises(InputError, match="odd number of slices"):
        SliceLoop(localizer(**{"sampling.size": [44, 40, count]}), cohort, cohort.cases, tmp_path, CPU)

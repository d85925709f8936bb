"""Body box, window search and classes, with a network that can be reasoned about, and with the published one."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.helpers import unpinned
from Testing.helpers.model_cards import card_of, checked, network_entry, preprocessing
from torch import nn

from pancreasseg import pipelines
from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import Cancelled
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Segmentation
from pancreasseg.core.setup import Setup
from pancreasseg.grids.resample import from_grid, network_grid
from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.read import read_mask, read_volume
from pancreasseg.models.store import Store
from pancreasseg.pipelines.abdomen import find_abdomen
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.whole_volume import WholeVolumeOptions, WholeVolumePipeline, climb
from pancreasseg.pipelines.winners import winners

FLESH, LIVER, PANCREAS, LUNG, AIR = 0, 100, 200, -800, -1000
OBLIQUE = (0.966, 0.0, 0.259, 0.0, -1.0, 0.0, 0.259, 0.0, -0.966)


class ByBrightness(nn.Module):
    """Liver near 100 HU, pancreas near 200 HU, background elsewhere."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([-(((image * 1000 - hu) / 30) ** 2) for hu in (FLESH, LIVER, PANCREAS)], dim=1)


def stage(monkeypatch: pytest.MonkeyPatch, members: int = 2) -> Stage:
    shape = {"orientation": "LAI", "array_axes": "ijk", "spacing_mm": None, "size": [64, 48, 40], "patch": None}
    entry = network_entry(
        "whole-volume",
        members=[f"m{n}" for n in range(members)],
        classes=["background", "liver", "pancreas"],
        pancreas=2,
        preprocessing=preprocessing(**shape, window_hu=None, scale=0.001, antialias=False),
    )
    card = checked(card_of(entry, pipeline="whole-volume"))
    package = type("Package", (), {"card": card})()
    monkeypatch.setattr(
        "pancreasseg.inference.load.load_networks", lambda package, card: [ByBrightness() for _ in card.members]
    )
    return Stage(package, card.networks[0], Hardware("cpu", "f32"))


def patient(length_mm: float, dome_mm: float, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Volume:
    """A trunk of 320 x 220 mm with lungs above ``dome_mm`` (from the bottom), liver and pancreas below, arms and table.

    Made in LPS order at 4 x 4 x 5 mm; ``direction`` then only says how the axes lie.
    """
    depth = int(length_mm / 5)
    z, y, x = np.meshgrid(
        np.arange(depth) * 5 + 2.5, np.arange(80) * 4 - 160 + 2, np.arange(120) * 4 - 240 + 2, indexing="ij"
    )
    trunk = (x / 160) ** 2 + (y / 110) ** 2 < 1
    hu = np.where(trunk, FLESH, AIR)
    hu[((x / 145) ** 2 + (y / 95) ** 2 < 1) & (abs(x) > 25) & (z > dome_mm)] = LUNG
    liver = ((x + 70) / 55) ** 2 + (y / 60) ** 2 + ((z - dome_mm + 75) / 70) ** 2 < 1
    hu[liver] = LIVER
    hu[(abs(x - 30) < 40) & (abs(y) < 15) & (abs(z - dome_mm + 95) < 15)] = PANCREAS
    hu[(abs(abs(x) - 205) < 20) & (abs(y) < 20)] = FLESH  # arms
    hu[abs(y - 140) < 4] = 0  # table
    return Volume(hu.astype(np.int16), Geometry((120, 80, depth), (4.0, 4.0, 5.0), (-30.0, 20.0, 7.0), direction))


# Without a network


@pytest.mark.parametrize("only", [None, 2])
def test_resolving_classes_one_by_one_equals_the_argmax_of_all(only):
    generator = np.random.default_rng(0)
    geometry = Geometry((30, 26, 22), (1.0, 1.2, 2.0), (3.0, 4.0, 5.0), OBLIQUE)
    box = Box((2, 3, 1), (28, 25, 20))
    grid = network_grid(geometry, box, size=(12, 11, 10), orientation="LAI")
    logits = torch.from_numpy(generator.normal(size=(1, 4, 5, 5, 5)).astype(np.float32)) * 6
    mean = nn.functional.interpolate(logits, size=grid.shape, mode="trilinear")[0].softmax(0).numpy()
    mean[0] += 0.5  # the organs become islands
    mean /= mean.sum(0)
    expected = np.argmax([from_grid(p, grid, geometry, box) for p in mean], axis=0)
    labels, window = winners(mean, grid, geometry, box, only)
    found = np.zeros(geometry.shape, dtype=np.uint8)
    found[window.slices] = labels
    if only is None:
        np.testing.assert_array_equal(found[box.slices], expected)
        assert len(np.unique(expected)) == 4
    else:
        np.testing.assert_array_equal(found[box.slices] == only, expected == only)
    assert found.sum() == labels.sum()


@pytest.mark.parametrize("peak", [12, 37, 50, 77, 100])
@pytest.mark.parametrize("start", [0, 40, 100])
def test_climbing_finds_the_top_of_a_smooth_hill(peak, start):
    asked = []

    def score(position):
        asked.append(position)
        return 1 - ((position - peak) / 100) ** 2

    best, _ = climb(score, start, 10, 0, 100, {})
    assert abs(best - peak) <= 1
    assert len(asked) == len(set(asked))


def test_climbing_on_a_plain_stays_where_it_is():
    assert climb(lambda position: 0.5, 30, 10, 0, 100, {}) == (30, 0.5)
    assert climb(lambda position: 0.5, 7, 10, 7, 7, {}) == (7, 0.5)


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), OBLIQUE])
def test_the_body_box_is_the_trunk_without_arms_and_table(direction):
    volume = patient(200, 180, direction)
    abdomen = find_abdomen(volume)
    assert abdomen is not None
    box = abdomen.box(volume.geometry, abdomen.first, abdomen.last)
    width, depth, height = box.extent_mm(volume.geometry)
    assert width == pytest.approx(320 * 0.94, abs=12)
    assert depth == pytest.approx(220 * 0.90, abs=12)
    assert height == pytest.approx(200, abs=5)
    # More is trimmed at the back: the middle moves to the front, which is towards low j unless the rows are flipped.
    shift = (box.start[1] + box.stop[1] - 80) / 2 * 4 * direction[4]
    assert -12 < shift < -1


def test_the_lungs_tell_where_the_liver_dome_is():
    for length, dome in ((500, 300), (700, 350), (400, 380)):
        abdomen = find_abdomen(patient(length, dome))
        assert abdomen is not None
        assert abdomen.dome() is not None
        assert abdomen.dome() * abdomen.grid.spacing[2] == pytest.approx(dome, abs=10)


def test_without_lungs_there_is_no_dome_to_see():
    abdomen = find_abdomen(patient(300, 1000))
    assert abdomen is not None
    assert abdomen.dome() is None


def test_air_holds_no_body(monkeypatch):
    volume = Volume(np.full((20, 30, 30), AIR, dtype=np.int16), Geometry((30, 30, 20), (5.0, 5.0, 5.0)))
    assert find_abdomen(volume) is None
    result = WholeVolumePipeline(stage(monkeypatch)).localize(volume)
    assert result.score == 0
    assert [f.code for f in result.findings] == ["no-body"]


# With a network that can be reasoned about


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), OBLIQUE])
def test_every_class_lands_on_its_own_voxels(monkeypatch, direction):
    volume = patient(200, 190, direction)
    pipeline = WholeVolumePipeline(stage(monkeypatch))
    result = pipeline.segment(volume, pipeline.localize(volume))
    for hu, label in ((LIVER, 1), (PANCREAS, 2)):
        truth = volume.array == hu
        found = result.labels == label
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.9
    np.testing.assert_array_equal(result.mask == 1, result.labels == 2)
    inside = Box.of_mask(result.mask)
    assert inside is not None
    assert inside.intersect(result.box) == inside
    assert result.probability.shape == result.agreement.shape == result.box.shape
    assert result.agreement.min() >= 0
    assert result.agreement.mean() > 0.9
    assert result.provenance.pipeline == "whole-volume"
    assert result.findings == ()


def test_without_the_other_organs_the_mask_is_the_same(monkeypatch):
    volume = patient(200, 190)
    network = stage(monkeypatch)
    full = WholeVolumePipeline(network)
    quick = WholeVolumePipeline(network, WholeVolumeOptions(organs=False))
    region = full.localize(volume)
    assert quick.segment(volume, region).labels is None
    np.testing.assert_array_equal(quick.segment(volume, region).mask, full.segment(volume, region).mask)


@pytest.mark.parametrize(("length", "dome"), [(600, 350), (900, 650), (450, 440)])
def test_in_long_scans_the_window_lies_below_the_dome(monkeypatch, length, dome):
    volume = patient(length, dome)
    result = WholeVolumePipeline(stage(monkeypatch)).localize(volume)
    low, high = result.box.start[2] * 5, result.box.stop[2] * 5
    assert high - low == pytest.approx(200, abs=8)
    assert low < dome - 130  # pancreas and liver lie inside
    assert high > dome - 40
    assert 0.9 < result.score <= 1


def test_without_lungs_all_of_a_long_scan_is_searched(monkeypatch):
    volume = patient(800, 350)
    hidden = Volume(np.where(volume.array == LUNG, FLESH, volume.array), volume.geometry)
    result = WholeVolumePipeline(stage(monkeypatch)).localize(hidden)
    assert result.box.start[2] * 5 < 350 - 110
    assert result.box.stop[2] * 5 > 350 - 80


def test_a_short_scan_is_named(monkeypatch):
    result = WholeVolumePipeline(stage(monkeypatch)).localize(patient(100, 150))
    assert [f.code for f in result.findings] == ["short-scan"]
    assert result.findings[0].number == pytest.approx(100, abs=8)


def test_a_large_box_is_what_the_network_sees(monkeypatch):
    volume = patient(200, 190)
    box = Box((20, 15, 2), (100, 65, 38))
    result = WholeVolumePipeline(stage(monkeypatch)).segment(volume, box)
    assert result.box == box
    assert result.provenance.box == box.bounds()
    assert result.findings == ()


@pytest.mark.parametrize("length", [200, 600])
def test_a_small_box_only_limits_the_result(monkeypatch, length):
    dome = length - 20
    volume = patient(length, dome)
    k = (dome - 95) // 5
    box = Box((60, 30, k - 5), (75, 50, k + 5))
    result = WholeVolumePipeline(stage(monkeypatch)).segment(volume, box)
    assert [f.code for f in result.findings] == ["box-smaller-than-view"]
    assert result.box == box
    outside = result.mask.copy()
    outside[box.slices] = 0
    assert not outside.any()
    truth = volume.array[box.slices] == PANCREAS
    assert 2 * (truth & (result.mask[box.slices] == 1)).sum() / (truth.sum() + result.mask.sum()) > 0.9


def counted(pipeline: WholeVolumePipeline) -> list[Box]:
    """Every view that the members are run on from now on."""
    views: list[Box] = []
    run = pipeline.run_members

    def members(volume, box, progress):
        views.append(box)
        return run(volume, box, progress)

    pipeline.run_members = members
    return views


SMALL = Box((60, 30, 14), (75, 50, 24))


def test_a_moved_small_box_costs_no_run_and_gives_what_a_new_run_would(monkeypatch):
    volume = patient(200, 190)
    network = stage(monkeypatch)
    warm = WholeVolumePipeline(network)
    views = counted(warm)
    warm.segment(volume, warm.localize(volume))
    for box in (SMALL, Box((50, 25, 10), (70, 45, 30)), Box((64, 34, 16), (90, 60, 22))):
        again, anew = warm.segment(volume, box), WholeVolumePipeline(network).segment(volume, box)
        for name in ("mask", "labels", "probability", "agreement"):
            np.testing.assert_array_equal(getattr(again, name), getattr(anew, name))
        assert (again.box, again.findings, again.provenance) == (anew.box, anew.findings, anew.provenance)
    assert len(views) == 1


def test_another_view_volume_or_precision_is_run_anew(monkeypatch):
    volume, other = patient(200, 190), patient(200, 185)
    pipeline = WholeVolumePipeline(stage(monkeypatch))
    views = counted(pipeline)
    pipeline.segment(volume, SMALL)
    pipeline.segment(volume, Box((20, 15, 2), (100, 65, 38)))  # large enough to be the view itself
    pipeline.segment(volume, SMALL)
    pipeline.segment(other, SMALL)
    assert len(views) == 4
    with monkeypatch.context() as patch:
        patch.setattr(WholeVolumePipeline, "precision", "bf16")
        pipeline.segment(other, SMALL)
    assert len(views) == 5


def test_in_a_long_scan_the_view_follows_the_box_up_and_down_only(monkeypatch):
    volume = patient(600, 580)
    pipeline = WholeVolumePipeline(stage(monkeypatch))
    views = counted(pipeline)
    low = Box((60, 30, 92), (75, 50, 102))
    pipeline.segment(volume, low)
    pipeline.segment(volume, Box((50, 25, 92), (70, 45, 102)))
    assert len(views) == 1
    pipeline.segment(volume, Box((60, 30, 86), (75, 50, 96)))
    assert len(views) == 2
    assert views[1].start[2] < views[0].start[2]


def test_the_maps_go_with_their_volume(monkeypatch):
    volume = patient(200, 190)
    pipeline = WholeVolumePipeline(stage(monkeypatch))
    pipeline.segment(volume, SMALL)
    maps = weakref.ref(pipeline.kept.maps)
    assert maps() is not None
    del volume
    assert maps() is None


def test_cancel_takes_effect_between_members(monkeypatch):
    volume = patient(200, 190)
    pipeline = WholeVolumePipeline(stage(monkeypatch, members=4))
    steps = []
    progress = Progress(report=steps.append, cancelled=lambda: len([u for u in steps if u.done]) >= 2)
    with pytest.raises(Cancelled):
        pipeline.segment(volume, Box((20, 15, 2), (100, 65, 38)), progress)
    assert max(u.done for u in steps) == 2


# With the published network, on a real CT


@pytest.fixture(scope="module")
def published(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Volume, np.ndarray]:
    store = Store(tmp_path_factory.mktemp("store"))
    store.install(real_data / "models" / "obelisk")
    folder = real_data / "data" / "ircadb17"
    reference = read_volume(folder / "obelisk_reference.nii.gz", allow=("labels-not-ct",)).array
    return store, read_volume(folder / "ct.nii.gz"), reference


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


WHOLE = Box((53, 40, 0), (467, 407, 119))


@pytest.fixture(scope="module")
def given(published) -> Segmentation:
    store, volume, _ = published
    return pipelines.create(Setup(model="obelisk-hybrid", device="cpu", precision="f32"), store).segment(volume, WHOLE)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_published_ensemble_is_reproduced(published, given):
    reference = published[2]
    assert dice(given.labels == 2, reference == 2) >= 0.99
    for organ in range(1, 9):
        assert dice(given.labels == organ, reference == organ) >= 0.98


@pytest.mark.real_data
@pytest.mark.slow
def test_it_holds_with_our_own_box(published):
    store, volume, reference = published
    pipeline = pipelines.create(Setup(model="obelisk-hybrid", device="cpu", precision="f32"), store)
    assert dice(pipeline.segment(volume, pipeline.localize(volume)).mask == 1, reference == 2) >= 0.93


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(not unpinned.has_bf16(), reason="the processor is not good at bf16")
def test_half_precision_gives_the_published_mask_too(published, given, real_data, tmp_path):
    store, volume, _ = published
    i, j, k = zip(WHOLE.start, WHOLE.stop, strict=True)
    command = [sys.executable, "-m", "pancreasseg", "segment", str(real_data / "data" / "ircadb17" / "ct.nii.gz")]
    command += [
        "--model",
        "obelisk-hybrid",
        "--device",
        "cpu",
        "--precision",
        "bf16",
        "--output",
        str(tmp_path / "out"),
    ]
    command += ["--box", *map(str, (*i, *j, *k))]
    environment = {**unpinned.environment(), "PANCREASSEG_HOME": str(store.home)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    half = read_mask(tmp_path / "out" / "pancreas.nii.gz", volume.geometry)
    assert dice(half == 1, given.mask == 1) >= 0.995


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("above", ["chest", "air"])
def test_the_abdomen_is_found_in_a_long_scan(published, above):
    store, volume, _ = published
    top = np.repeat(volume.array[-1:], 100, axis=0) if above == "chest" else np.full_like(volume.array[:100], AIR)
    array = np.concatenate([np.repeat(volume.array[:1], 110, axis=0), volume.array, top])
    geometry = Geometry((512, 512, len(array)), volume.geometry.spacing)
    pipeline = pipelines.create(Setup(model="obelisk-hybrid-fold1", device="cpu"), store)
    found = pipeline.localize(Volume(array, geometry)).box
    low, high = ((k - 110) * geometry.spacing[2] for k in (found.start[2], found.stop[2]))
    assert low == pytest.approx(0, abs=35)
    assert high == pytest.approx(190, abs=35)

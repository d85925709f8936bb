"""Training on axial slices as they are: gaps, partly known labels, several sources."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from pancreasseg.core import Geometry, Volume
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.axial import crossvalidation, evaluation, groups, organs, package, public
from pancreasseg.lab.axial.augmentation import emptied
from pancreasseg.lab.axial.cases import OTHER, PANCREAS, UNKNOWN, SliceCase, load_group
from pancreasseg.lab.axial.synthesis import FAT, LabelMaps
from pancreasseg.lab.axial.training import Batches, Plan, Source, Training, loss
from pancreasseg.networks import AxialUNet
from pancreasseg.pipelines.confidence import soft_dice

CPU = Hardware("cpu", "f32")
SMALL = Plan(steps=40, rate=1e-2, warm_up=3, batch=2, averaging=0.8, channels=(16, 32))
#: Gaps of sparse slices.
HEIGHTS = (0.0, 2.0, 6.0, 7.0, 13.0, 30.0)


def patient(seed: int, heights=HEIGHTS) -> SliceCase:
    """A bright pancreas in a grey body, at another place in each patient."""
    rng = np.random.default_rng(seed)
    ct = np.zeros((len(heights), 150, 200), np.uint8)
    labels = np.full(ct.shape, OTHER, np.uint8)
    rows, columns = np.mgrid[:150, :200]
    body = ((rows - 75) / 65) ** 2 + ((columns - 100) / 90) ** 2 < 1
    row, column = 75 + rng.integers(-15, 15), 100 + rng.integers(-20, 20)
    organ = ((rows - row) / 14) ** 2 + ((columns - column) / 30) ** 2 < 1
    ct[:, body], ct[:, organ] = 90, 190
    labels[:, organ] = PANCREAS
    labels[:, :, :5] = UNKNOWN
    return SliceCase(f"p{seed}", ct, labels, np.asarray(heights, np.float32))


def body_map() -> np.ndarray:
    """A pancreas and a liver in fat."""
    volume = np.zeros((40, 90, 120), np.uint8)
    volume[:, 10:80, 10:110] = FAT
    volume[15:25, 40:50, 40:80] = PANCREAS
    volume[5:35, 20:60, 12:38] = 6
    return volume


def test_a_slice_finds_its_neighbours_across_the_gaps():
    case = patient(0)
    assert case.neighbours(2, 4.0) == [0, 1, 2, 3, 4]  # wanted at -2, 2, (6), 10 and 14 mm
    assert case.neighbours(5, 5.0) == [5, 5, 5, 5, 5]  # nothing within reach of the last
    assert case.neighbours(0, 5.0)[:3] == [0, 0, 0]


def test_a_case_comes_back_from_its_file(tmp_path):
    patient(3).save(tmp_path)
    patient(4).save(tmp_path)
    (case,) = load_group(tmp_path, without=["p4"])
    np.testing.assert_array_equal(case.ct, patient(3).ct)
    np.testing.assert_array_equal(case.heights, patient(3).heights)


def test_a_slice_beyond_the_organ_is_made_of_a_real_one():
    case = patient(0)
    planes, labels = emptied(case, case.neighbours(2, 4.0))
    assert not (labels == PANCREAS).any()
    assert (planes[:, case.pancreas[2]] == 0).all()
    kept = ~ndimage.binary_dilation(case.pancreas[2], iterations=3)
    np.testing.assert_array_equal(planes[2][kept], case.ct[2][kept])
    assert case.pancreas.any(), "the case itself stays as it is"
    _, labels = next(iter(Batches([Source(1.0, [case], beyond=1.0)], 4, seed=2)))
    assert not (labels == PANCREAS).any()


def test_what_is_not_known_does_not_count():
    logits = torch.randn(2, 9, 16, 16)
    labels = torch.full((2, 16, 16), OTHER, dtype=torch.uint8)
    labels[:, 4:8, 4:8] = PANCREAS
    labels[:, :, 12:] = UNKNOWN
    changed = logits.clone()
    changed[:, :, :, 12:] = 50 * torch.randn(2, 9, 16, 4)
    torch.testing.assert_close(loss(logits, labels), loss(changed, labels))
    assert loss(changed, torch.where(labels == UNKNOWN, OTHER, labels)) > loss(logits, labels) + 0.1


def test_an_organ_that_is_not_known_may_be_any_but_the_pancreas():
    labels = torch.full((1, 16, 16), OTHER, dtype=torch.uint8)
    liver, stomach = torch.zeros(1, 9, 16, 16), torch.zeros(1, 9, 16, 16)
    liver[:, 6], stomach[:, 7] = 8.0, 8.0
    torch.testing.assert_close(loss(liver, labels), loss(stomach, labels))
    assert loss(liver, torch.full_like(labels, 6)) < loss(stomach, torch.full_like(labels, 6)) - 0.05


def test_batches_come_from_all_sources_by_their_weights():
    sources = [Source(0.5, [patient(0)]), Source(0.25, [patient(1)], slab=True), Source(0.25, LabelMaps([body_map()]))]
    x, labels = next(iter(Batches(sources, 12, seed=1)))
    assert x.shape == (12, 5, 128, 176)
    assert x.min() >= -1
    assert x.max() <= 1
    assert set(np.unique(labels)) >= {PANCREAS, OTHER, UNKNOWN, 6}


def test_training_learns_stops_and_goes_on(tmp_path):
    sources = [Source(1.0, [patient(seed) for seed in range(4)])]
    plan = dataclasses.replace(SMALL, steps=20)
    first = Training(plan, sources, tmp_path, "run", CPU)
    first.run(workers=0)
    assert first.step == 20
    again = Training(SMALL, sources, tmp_path, "run", CPU)
    assert again.step == 20
    for key, value in again.mean.state_dict().items():
        torch.testing.assert_close(value, first.mean.state_dict()[key])
    network = again.run(workers=0)
    score = evaluation.score(network, patient(99), CPU)
    assert score.dsc > 0.8
    assert score.whole > 0.5
    assert 0 < score.confidence <= 1


def test_a_package_of_a_checkpoint_runs(tmp_path):
    training = Training(SMALL, [], tmp_path, "run", CPU)
    training.save()
    made = package.write(tmp_path / package.NAME, tmp_path / "run.pt", [], evaluation.Calibration(0.1, 0.8, 0.05, 12))
    assert [network.role for network in made.card.networks] == ["localizer", "segmenter"]
    assert made.card.expected_overlap.of(0.5) == pytest.approx(0.5)
    from pancreasseg.runs.installing import check_package

    check_package(made)


def test_the_calibration_is_the_line_through_held_out_patients():
    scores = [evaluation.PatientScore(str(n), 0.1 + 0.9 * c, 0.5, 1.0, c) for n, c in enumerate((0.5, 0.6, 0.7, 0.9))]
    line = evaluation.calibrate(scores)
    assert (line.offset, line.slope, line.error, line.cases) == (0.1, 0.9, 0.0, 4)


def test_scores_come_back_from_their_table(tmp_path):
    scores = [
        evaluation.PatientScore("PANCREAS_0001", 0.8123, 0.79, 1.05, 0.9),
        evaluation.PatientScore("p", 0.5, 0.4, 2.0, 0.7),
    ]
    evaluation.write(tmp_path / "scores.csv", scores)
    assert evaluation.read(tmp_path / "scores.csv") == scores


@pytest.mark.parametrize(
    "direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 0, 1, 1, 0, 0, 0, -1, 0)]
)
def test_a_whole_ct_becomes_slices_from_foot_to_head(direction):
    rng = np.random.default_rng(0)
    lps = np.zeros((6, 8, 10), np.int16)
    lps[4, 2, 7] = 200  # high, in front, on the left
    labels = (lps == 200).astype(np.uint8) * PANCREAS
    axes = np.array(direction).reshape(3, 3)
    # The same patient stored along other axes.
    order = [int(np.abs(axes[:, n]).argmax()) for n in range(3)]
    turn = [int(axes[order[n], n]) for n in range(3)]
    stored = [a.transpose([2 - order[2 - n] for n in range(3)])[tuple(slice(None, None, turn[2 - n]) for n in range(3))]
              for a in (lps, labels)]  # fmt: skip
    geometry = Geometry(stored[0].shape[::-1], (1.0, 1.0, 1.0), tuple(rng.normal(size=3)), tuple(map(float, direction)))
    case = public.of_volume("p", Volume(np.ascontiguousarray(stored[0]), geometry), stored[1])
    np.testing.assert_array_equal(case.ct, lps)
    np.testing.assert_array_equal(case.pancreas, labels == PANCREAS)


def test_pseudo_labels_leave_doubt_unknown():
    geometry = Geometry((20, 20, 6), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[2:4, 8:12, 8:12], labels[:, :4, :4] = PANCREAS, 6
    sure = np.where(labels == PANCREAS, 0.9, 0.0).astype(np.float32)
    sure[2, 8, 8] = 0.4
    case = public.pseudo_labelled("p", Volume(np.zeros(labels.shape, np.int16), geometry), labels, sure)
    assert case.labels[2, 8, 8] == UNKNOWN
    assert case.labels[2, 9, 9] == PANCREAS
    assert case.labels[2, 9, 13] == UNKNOWN
    assert case.labels[0, 0, 0] == 6
    assert case.labels[5, 19, 19] == OTHER


def test_a_map_finds_its_patient_and_its_place(tmp_path):
    import SimpleITK as sitk

    rng = np.random.default_rng(1)
    organ = np.zeros((40, 60, 80), np.uint8)
    for k in range(10, 30):
        organ[k, 20 : 30 + k // 3, 30 : 40 + rng.integers(0, 12)] = PANCREAS
    organ[:, 5:15, 5:25] = 6
    # Stored as Gibson's maps are: towards the left, front and foot.
    sitk.WriteImage(sitk.GetImageFromArray(organ[::-1, ::-1]), str(tmp_path / "7.nii.gz"))
    heights = np.array([0, 3, 5, 9, 14, 18], np.float32)
    cut = organ[11 + heights.astype(int)][:, 4:, 3:]
    labels = np.where(cut == PANCREAS, PANCREAS, OTHER).astype(np.uint8)
    stranger = SliceCase("other", labels, np.roll(labels, 9, 2)[::-1], heights)
    cases = [SliceCase("his", labels, labels, heights), stranger]
    place = organs.find_place(tmp_path, 7, cases, {"his": 1.0, "other": 1.0})
    assert (place.patient, place.bottom, place.row, place.column) == ("his", 11, 4, 3)
    assert place.dsc == pytest.approx(1.0)
    np.testing.assert_array_equal(organs.on_slices(tmp_path, 7, place, cases[0]) == 6, cut == 6)
    organs.save_places(tmp_path / "places.json", {7: place})
    assert organs.load_places(tmp_path / "places.json") == {7: place}


def test_confidence_forgets_what_cleaning_removed():
    probability = np.zeros((4, 60, 60), np.float32)
    mask = np.zeros(probability.shape, bool)
    mask[1:3, 10:20, 10:20] = True
    probability[mask] = 0.9
    alone = soft_dice(probability, mask, (1.0, 1.0, 3.0))
    probability[:, 40:58, 40:58] = 0.9  # an island that is not in the mask
    assert soft_dice(probability, mask, (1.0, 1.0, 3.0)) == pytest.approx(alone)
    probability[1:3, 21:24, 10:20] = 0.4  # doubt at the border
    assert soft_dice(probability, mask, (1.0, 1.0, 3.0)) < alone
    assert soft_dice(probability, np.zeros_like(mask), (1.0, 1.0, 3.0)) == 0


# Which patients a training sees


@pytest.fixture
def prepared(tmp_path):
    """Ten patients of one hospital, one of them with organs and a map; two of another."""
    for index in range(10):
        case = patient(index)
        if index == 0:
            case.labels[:, 0, 10] = 6
        case.save(tmp_path / "nih")
    patient(20).save(tmp_path / "msd")
    patient(21).save(tmp_path / "msd")
    (tmp_path / "maps").mkdir()
    for name in ("gibson7", "body"):
        np.savez(tmp_path / "maps" / f"{name}.npz", labels=body_map())
    organs.save_places(tmp_path / "places.json", {7: organs.MapPlace("p0", 0, 0, 0, 0.95)})
    return tmp_path


def test_nobody_learns_from_a_held_out_patient_nor_from_a_map_of_it(prepared):
    held = [groups.patients(prepared, fold) for fold in range(groups.FOLDS)]
    assert sorted(name for names in held for name in names) == sorted(f"p{index}" for index in range(10))
    cases, maps = groups.sources(prepared, ["nih"], held[0])
    assert "p0" in held[0]
    assert {case.name for case in cases.cases}.isdisjoint(held[0])
    assert len(maps.cases.maps) == 1
    assert len(groups.sources(prepared, ["nih"], held[1])[1].cases.maps) == 2
    assert maps.weight / (maps.weight + cases.weight) == pytest.approx(groups.ALONE)


def test_folds_learn_nothing_of_maps_that_are_of_the_same_patients(prepared):
    cases, maps = groups.sources(prepared, ["nih"], gibson=False)
    assert len(maps.cases.maps) == 1
    assert {int(value) for case in cases.cases for value in np.unique(case.labels)} == {PANCREAS, OTHER, UNKNOWN}


def test_every_patient_is_scored_once_by_a_network_that_did_not_see_it(prepared, monkeypatch, caplog):
    tiny = Plan(steps=2, rate=1e-2, warm_up=1, batch=2, averaging=0.5, channels=(16, 32))
    monkeypatch.setattr(crossvalidation, "ABROAD", tiny)
    monkeypatch.setattr(crossvalidation, "FOLD", tiny)
    scores = crossvalidation.run(prepared, CPU)
    assert sorted(score.name for score in scores) == sorted(f"p{index}" for index in range(10))
    assert {score.name for score in evaluation.read(prepared / "msd-to-nih-scores.csv")} == {s.name for s in scores}
    for name in ("fold0", "fold3"):
        (prepared / f"{name}.pt").unlink()
    assert crossvalidation.run(prepared, CPU) == scores, "what was scored is not trained again"


def test_folds_can_be_trained_apart_and_looked_at_in_several_pixel_sizes(prepared, monkeypatch):
    tiny = Plan(steps=2, rate=1e-2, warm_up=1, batch=2, averaging=0.5, channels=(16, 32))
    monkeypatch.setattr(crossvalidation, "ABROAD", tiny)
    monkeypatch.setattr(crossvalidation, "FOLD", tiny)
    together = prepared / "folds-scores.csv"
    scores = []
    for fold in (3, 0, 4, 2, 1):
        assert not together.exists()
        scores += crossvalidation.run(prepared, CPU, [fold])
    assert sorted(score.name for score in evaluation.read(together)) == sorted(score.name for score in scores)
    stamps = {path: path.stat().st_mtime_ns for path in prepared.glob("*.pt")}
    crossvalidation.run(prepared, CPU, [2], scales=(0.87, 1.33))
    assert {path: path.stat().st_mtime_ns for path in prepared.glob("*.pt")} == stamps, "nothing is trained again"
    assert {score.name for score in evaluation.read(prepared / "fold2-averaged-scores.csv")} == {"p2", "p7"}
    assert not (prepared / "folds-averaged-scores.csv").exists()


def test_several_looks_are_averaged(monkeypatch):
    network, case = AxialUNet(classes=9, channels=(16, 32)).eval(), patient(3, heights=(0.0, 5.0))
    pixel = evaluation.PIXEL_MM
    looks = []
    for scale in (1.0, 0.87, 1.33):
        monkeypatch.setattr(evaluation, "PIXEL_MM", scale * pixel)
        looks.append(evaluation.probability(network, case, CPU))
    monkeypatch.setattr(evaluation, "PIXEL_MM", pixel)
    assert not np.allclose(looks[0], looks[1], atol=1e-4)
    np.testing.assert_allclose(
        evaluation.probability(network, case, CPU, (0.87, 1.33)), np.mean(looks, axis=0), atol=1e-6
    )

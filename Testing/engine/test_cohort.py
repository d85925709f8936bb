"""Cohorts of phantoms in the layout of NIH Pancreas-CT, from the download to the arrays that networks train on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pancreasseg.core import Box
from pancreasseg.core.errors import Cancelled, InputError, OutputError
from pancreasseg.core.progress import Progress
from pancreasseg.io.nifti import encode_nifti, read_nifti
from pancreasseg.io.read import read_mask, read_volume
from pancreasseg.lab.cohorts import CaseGrid, Cohort, phantoms
from pancreasseg.lab.cohorts.axes import TURNS, AxisTurn, fits
from pancreasseg.lab.cohorts.folds import nih_fold, spread
from pancreasseg.lab.cohorts.grid import resample
from pancreasseg.lab.cohorts.prepare import Preparation, prepare
from pancreasseg.phantom import make_phantom

NUMBERS = (2, 25, 30, 70)
SPACING = (5.0, 5.0, 6.0)


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> Path:
    """Case 2, its two copies, and one case of the second fold."""
    folder = tmp_path_factory.mktemp("download")
    phantoms.write_phantoms(folder, NUMBERS, spacing=SPACING, step=4.0, seed=5)
    return folder


@pytest.fixture(scope="module")
def prepared(download, tmp_path_factory) -> Cohort:
    return prepare("nih", download, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def copy(download, tmp_path) -> Path:
    """A download to spoil."""
    return Path(shutil.copytree(download, tmp_path / "download"))


def label_file(folder: Path, number: int) -> Path:
    return folder / phantoms.LABELS / f"label{number:04d}.nii.gz"


def rewrite(path: Path, change) -> None:
    """Change the array of a label file; its header goes along."""
    image = read_nifti(path)
    array = np.ascontiguousarray(change(image.array))
    geometry = type(image.geometry)(
        array.shape[::-1], image.geometry.spacing, image.geometry.origin, image.geometry.direction
    )
    path.write_bytes(encode_nifti(array.astype(np.uint8), geometry))


def test_labels_with_flipped_headers_come_to_lie_on_the_phantoms_pancreas(download, prepared):
    for number in (2, 30):
        case, phantom = prepared.case(f"{number:04d}"), make_phantom(5 + number, spacing=SPACING, step=4.0)
        volume = prepared.volume(case)
        np.testing.assert_array_equal(volume.array, phantom.volume.array.clip(-1024))
        np.testing.assert_array_equal(prepared.mask(case), phantom.pancreas)
        assert case.box == Box.of_mask(phantom.pancreas)
        assert case.pancreas_ml == pytest.approx(phantom.pancreas.sum() * 0.15)
    # What the header says is another place, so reading it like any mask finds something else.
    with pytest.raises(InputError, match="another place or orientation"):
        prepare("nih", download, prepared.folder.parent / "by-header", Preparation(label_axes="header"))


def test_copies_of_a_scan_stay_in_its_standard_fold(prepared):
    assert {case.id: case.fold for case in prepared.cases} == {"0002": 1, "0025": 1, "0030": 2, "0070": 1}
    training, validation = prepared.fold(1)
    assert [case.id for case in training] == ["0030"]
    assert [case.id for case in validation] == ["0002", "0025", "0070"]
    assert any("0070 is the same scan as case 0002" in remark for remark in prepared.remarks)


def test_standard_folds_are_those_of_the_papers():
    assert [nih_fold(n) for n in (1, 20, 21, 40, 41, 61, 62, 82)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert nih_fold(25) == nih_fold(70) == nih_fold(2) == 1
    with pytest.raises(InputError, match="no case 83"):
        nih_fold(83)


@pytest.mark.parametrize("number", [0, 5, -1])
def test_a_fold_that_is_not_there_is_named(prepared, number):
    with pytest.raises(InputError, match=rf"no fold {number}; this cohort has the folds 1 to 4") as error:
        prepared.fold(number)
    assert error.value.code == "no-such-fold"


def test_a_standard_fold_without_cases_is_named(prepared):
    with pytest.raises(InputError, match="Fold 3 of this cohort holds no case"):
        prepared.fold(3)


def test_labels_of_duplicates_that_the_release_leaves_out_do_no_harm(copy, tmp_path):
    for number in (25, 70):
        shutil.rmtree(copy / phantoms.CTS / f"PANCREAS_{number:04d}")
    cohort = prepare("nih", copy, tmp_path / "out")
    assert [case.id for case in cohort.cases] == ["0002", "0030"]
    assert sum("left aside" in remark for remark in cohort.remarks) == 2


def spoil_missing(folder):
    label_file(folder, 30).unlink()


def spoil_size(folder):
    rewrite(label_file(folder, 30), lambda a: a[:-3])


def spoil_swap(folder):
    rewrite(label_file(folder, 30), lambda a: a.transpose(2, 1, 0))


def spoil_empty(folder):
    rewrite(label_file(folder, 30), lambda a: a * 0)


def spoil_flip(folder):
    rewrite(label_file(folder, 30), lambda a: a[:, ::-1, ::-1])


def spoil_cut(folder):
    path = label_file(folder, 30)
    path.write_bytes(path.read_bytes()[:200])


def spoil_ct(folder):
    file = sorted((folder / phantoms.CTS / "PANCREAS_0030").rglob("*.dcm"))[3]
    file.write_bytes(file.read_bytes()[:2000])


def spoil_no_ct(folder):
    shutil.rmtree(folder / phantoms.CTS / "PANCREAS_0030")


def spoil_air(folder):
    rewrite(label_file(folder, 30), lambda a: np.pad(np.ones((4, 4, 4)), [(0, n - 4) for n in a.shape]))


SPOILT = {
    "label-missing": (spoil_missing, "There is no label"),
    "label-size": (spoil_size, r"x \d+ voxels, the CT"),
    "label-empty": (spoil_empty, "marks no voxel"),
    "label-axes": (spoil_flip, "flip-ij"),
    "file-truncated": (spoil_cut, "cut short"),
    "ct-missing": (spoil_no_ct, "There is no CT"),
    "label-misplaced": (spoil_air, "soft tissue"),
}


@pytest.mark.parametrize("code", SPOILT)
def test_a_spoilt_case_is_named_and_refused_or_left_out_as_asked(code, copy, tmp_path):
    spoil, words = SPOILT[code]
    spoil(copy)
    with pytest.raises(InputError, match=rf"1 of 4 cases cannot be used. 0030: .*{words}") as error:
        prepare("nih", copy, tmp_path / "out")
    assert "--on-error skip" in error.value.hint
    assert not (tmp_path / "out" / "cohort.json").exists()
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [(entry["id"], entry["code"]) for entry in report["left_out"]] == [("0030", code)]
    assert f"| 0030 | {report['left_out'][0]['message']}" in (tmp_path / "out" / "report.md").read_text("utf-8")
    cohort = prepare("nih", copy, tmp_path / "out", Preparation(on_error="skip"))
    assert [case.id for case in Cohort.open(cohort.folder).cases] == ["0002", "0025", "0070"]


def test_a_damaged_slice_names_its_case_which_can_be_left_out(copy, tmp_path):
    spoil_ct(copy)
    with pytest.raises(InputError, match="0030: ") as error:
        prepare("nih", copy, tmp_path / "out")
    assert error.value.code == "cases-unusable"
    cohort = prepare("nih", copy, tmp_path / "out", Preparation(on_error="skip"))
    assert [entry["id"] for entry in cohort.left_out] == ["0030"]
    assert len(cohort.cases) == 3


def test_a_preparation_that_was_stopped_continues_where_it_was(copy, tmp_path, monkeypatch):
    from pancreasseg.lab.cohorts import prepare as module

    read = []

    def counting(pair, *rest):
        read.append(pair.id)
        return check(pair, *rest)

    check = module.check
    monkeypatch.setattr(module, "check", counting)
    progress = Progress(cancelled=lambda: len(read) >= 2)
    with pytest.raises(Cancelled):
        prepare("nih", copy, tmp_path / "out", Preparation(label_axes="stored"), progress)
    assert not (tmp_path / "out" / "cohort.json").exists()
    cohort = prepare("nih", copy, tmp_path / "out", Preparation(label_axes="stored"))
    assert sorted(read) == ["0002", "0025", "0030", "0070"]
    assert [case.id for case in cohort.cases] == sorted(read)


def test_a_case_that_was_damaged_after_it_was_checked_is_named(copy, tmp_path):
    cohort = prepare("nih", copy, tmp_path / "out")
    grid = CaseGrid((9.0, 9.0, 9.0))
    spoil_cut(copy)
    with pytest.raises(InputError, match=r"Case 0030: .*cut short"):
        cohort.fill([grid])
    assert cohort.fill([grid], [case for case in cohort.cases if case.id != "0030"]) == 1  # two were made before


def test_a_full_disk_while_samples_are_made_keeps_those_before(prepared, monkeypatch):
    first, second = prepared.case("0002"), prepared.case("0030")
    grid = CaseGrid((7.0, 7.0, 7.0))
    prepared.sample(first, grid)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match="disk is full"):
        prepared.sample(second, grid)
    monkeypatch.undo()
    assert prepared.fill([grid], [first]) == 0
    assert prepared.fill([grid], [second]) == 1
    assert not list((prepared.folder / "grids" / grid.key).glob("*partial*"))


def test_swapped_axes_are_suspected_where_sizes_differ(copy, tmp_path):
    spoil_swap(copy)
    with pytest.raises(InputError, match="axes seem to be swapped"):
        prepare("nih", copy, tmp_path / "out")


def test_a_cohort_without_any_sound_case_is_refused_even_when_skipping(copy, tmp_path):
    for number in NUMBERS:
        rewrite(label_file(copy, number), lambda a: a * 0)
    with pytest.raises(InputError, match="None of 4 cases can be used"):
        prepare("nih", copy, tmp_path / "out", Preparation(on_error="skip"))


@pytest.mark.parametrize("name", ["flip-j", "flip-k", "swap-ij", "swap-ij-flip-jk"])
def test_how_the_labels_lie_is_seen_from_the_hu(name, copy, tmp_path):
    for number in NUMBERS:
        turn = AxisTurn.named(name)
        back = next(t for t in TURNS if np.array_equal(turn.apply(t.apply(PROBE)), PROBE))
        rewrite(label_file(copy, number), back.apply)
    cohort = prepare("nih", copy, tmp_path / "out")
    assert {case.axes for case in cohort.cases} == {name}
    case = cohort.case("0030")
    np.testing.assert_array_equal(cohort.mask(case), make_phantom(35, spacing=SPACING, step=4.0).pancreas)


PROBE = np.arange(2 * 3 * 5).reshape(2, 3, 5)


def test_turns_have_names_of_their_own_and_unknown_ones_are_refused():
    assert len({turn.name for turn in TURNS}) == 48
    assert all(AxisTurn.named(turn.name) == turn for turn in TURNS)
    assert AxisTurn.named("flip-j").apply(PROBE).tolist() == PROBE[:, ::-1].tolist()
    with pytest.raises(InputError, match="'sideways'"):
        AxisTurn.named("sideways")


def test_unchanged_cases_are_not_read_again_and_changed_ones_are(copy, tmp_path, monkeypatch):
    prepare("nih", copy, tmp_path / "out")
    read = []

    def counting(pair, *rest):
        read.append(pair.id)
        return check(pair, *rest)

    from pancreasseg.lab.cohorts import prepare as module

    check = module.check
    monkeypatch.setattr(module, "check", counting)
    first = prepare("nih", copy, tmp_path / "out", Preparation(label_axes="stored"))
    assert read == []
    rewrite(label_file(copy, 30), lambda a: a * (np.arange(a.shape[2]) != 38))
    second = prepare("nih", copy, tmp_path / "out", Preparation(label_axes="stored"))
    assert read == ["0030"]
    assert second.case("0030").fingerprint != first.case("0030").fingerprint


def test_a_sample_is_made_once_and_mapped_from_the_disk(prepared, monkeypatch):
    case, grid = prepared.case("0030"), CaseGrid((6.0, 6.0, 6.0), region="body")
    made = prepared.sample(case, grid)
    monkeypatch.setattr(Cohort, "volume", lambda self, case: pytest.fail("read again"))
    again = prepared.sample(case, grid)
    assert isinstance(again.hu, np.memmap)
    assert again.hu.dtype == np.int16
    assert again.truth.dtype == np.uint8
    assert again.geometry.spacing == (6.0, 6.0, 6.0)
    np.testing.assert_array_equal(again.hu, made.hu)
    millilitres = again.truth.sum() / 255 * again.geometry.voxel_ml
    assert millilitres == pytest.approx(case.pancreas_ml, rel=0.03)


def test_native_samples_are_the_voxels_of_the_scan(prepared):
    case = prepared.case("0030")
    sample = prepared.sample(case, CaseGrid(region="pancreas", margin_mm=10))
    box = case.box.grow(10, case.geometry)
    assert sample.geometry.same_grid(case.geometry.crop(box))
    np.testing.assert_array_equal(sample.hu, prepared.volume(case).array[box.slices])
    np.testing.assert_array_equal(sample.truth, 255 * prepared.mask(case)[box.slices])


def test_every_grid_has_a_key_of_its_own():
    grids = [CaseGrid(), CaseGrid((1, 1, 1)), CaseGrid((1, 1, 2)), CaseGrid(decimation=4), CaseGrid(region="body")]
    grids += [CaseGrid(region="pancreas"), CaseGrid(region="pancreas", margin_mm=5)]
    assert len({grid.key for grid in grids}) == len(grids)
    for wrong in ({"region": "liver"}, {"decimation": 0}, {"spacing_mm": (1, 1, 1), "decimation": 2}):
        with pytest.raises(ValueError, match=r"grid|spacing"):
            CaseGrid(**wrong)


def test_a_sample_cut_short_is_made_anew(prepared):
    case, grid = prepared.case("0030"), CaseGrid((8.0, 8.0, 8.0))
    good = np.array(prepared.sample(case, grid).hu)
    path = prepared.folder / "grids" / grid.key / "0030.hu.npy"
    path.write_bytes(path.read_bytes()[:500])
    np.testing.assert_array_equal(prepared.sample(case, grid).hu, good)


def test_samples_are_refused_when_the_scan_has_changed_since(copy, tmp_path):
    cohort = prepare("nih", copy, tmp_path / "out")
    rewrite(label_file(copy, 30), lambda a: a * (np.arange(a.shape[2]) != 38))
    with pytest.raises(InputError, match="case 0030 have changed"):
        cohort.sample(cohort.case("0030"), CaseGrid((8.0, 8.0, 8.0)))


def test_all_samples_can_be_made_at_once(download, tmp_path):
    grid = CaseGrid((8.0, 8.0, 8.0))
    cohort = prepare("nih", download, tmp_path / "out", Preparation(grids=(grid,)))
    assert cohort.fill([grid]) == 0
    assert cohort.fill([grid, CaseGrid(decimation=4)], cohort.cases[:2]) == 2


def test_a_cohort_survives_the_way_to_the_disk_and_back(prepared):
    again = Cohort.open(prepared.folder)
    assert again.cases == prepared.cases
    assert again.remarks == prepared.remarks
    assert again.source == prepared.source.resolve()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "no-cohort"),
        ("{", "cohort-damaged"),
        ('{"format": 1}', "cohort-damaged"),
        ('{"format": 9}', "cohort-newer"),
    ],
)
def test_a_folder_that_is_no_cohort_is_named(content, code, tmp_path):
    if content is not None:
        (tmp_path / "cohort.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as error:
        Cohort.open(tmp_path)
    assert error.value.code == code


def test_folds_are_equal_in_size_and_do_not_depend_on_the_order():
    groups = {f"case{n}": f"case{n}" for n in range(22)} | {"copy": "case3"}
    folds = spread(groups, 4)
    assert folds == spread(dict(reversed(groups.items())), 4)
    assert folds["copy"] == folds["case3"]
    counts = np.bincount([folds[f"case{n}"] for n in range(22)])[1:]
    assert counts.min() >= 5
    for count in (1, 23):
        with pytest.raises(InputError, match="folds"):
            spread(groups, count)


def test_phantoms_are_spread_over_the_standard_folds():
    for count in (4, 8, 80):
        folds = np.bincount([nih_fold(number) for number in phantoms.case_numbers(count)], minlength=5)[1:]
        assert folds.max() - folds.min() <= 2
    assert set(phantoms.case_numbers(82)) - set(phantoms.case_numbers(80)) == {25, 70}
    for wrong in (0, 81, 83):
        with pytest.raises(InputError, match="1 to 80"):
            phantoms.case_numbers(wrong)


def test_a_label_fits_its_ct_best_as_it_lies():
    phantom = make_phantom(4, spacing=SPACING, step=4.0)
    found = fits(phantom.volume.array, phantom.volume.geometry, phantom.pancreas)
    assert max(found, key=lambda turn: found[turn].score) == AxisTurn()
    assert found[AxisTurn()].inside > 0.9


@pytest.mark.real_data
def test_a_real_label_fits_its_ct_only_as_it_lies(real_data):
    folder = real_data / "data" / "ircadb17"
    volume = read_volume(folder / "ct.nii.gz")
    mask = read_mask(folder / "obelisk_reference.nii.gz", volume.geometry, 2)
    found = fits(volume.array, volume.geometry, mask)
    order = sorted(found, key=lambda turn: found[turn].score)
    assert order[-1] == AxisTurn()
    assert found[AxisTurn()].score - found[order[-2]].score > 0.1
    sample = resample(volume, mask, CaseGrid((3.0, 3.0, 3.0), region="body"))
    assert sample.truth.sum() / 255 * 0.027 == pytest.approx(mask.sum() * volume.geometry.voxel_ml, rel=0.01)

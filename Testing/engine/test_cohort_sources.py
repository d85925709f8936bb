"""MSD tasks and plain folders as cohorts: pairs found by name, placed by their headers, labels joined."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.helpers.easy_cohort import GEOMETRY, easy_case

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import to_image
from pancreasseg.lab.cohorts import sources
from pancreasseg.lab.cohorts.prepare import Preparation, prepare


def write(path: Path, array: np.ndarray, geometry: Geometry = GEOMETRY) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(to_image(array, geometry), str(path))


@pytest.fixture
def msd(tmp_path) -> Path:
    """Three cases of Task07; a part of every pancreas is tumour."""
    folder = tmp_path / "Task07_Pancreas"
    rows = []
    for n in (1, 4, 5):
        hu, mask = easy_case(n)
        mask[:, :, 24:][mask[:, :, 24:] > 0] = 2
        write(folder / "imagesTr" / f"pancreas_{n:03d}.nii.gz", hu)
        write(folder / "labelsTr" / f"pancreas_{n:03d}.nii.gz", mask)
        name = f"pancreas_{n:03d}.nii.gz"
        rows.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    write_index(folder, rows)
    (folder / "imagesTr" / "._pancreas_001.nii.gz").write_bytes(b"what a Mac leaves behind")
    return folder


def write_index(folder: Path, rows: object, labels: object = None) -> None:
    document = {"training": rows, "labels": labels or {"0": "background", "1": "pancreas", "2": "cancer"}}
    (folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")


def test_pancreas_and_tumour_of_msd_are_one(msd, tmp_path):
    cohort = prepare("msd", msd, tmp_path / "out")
    assert [case.id for case in cohort.cases] == ["pancreas_001", "pancreas_004", "pancreas_005"]
    for case in cohort.cases:
        np.testing.assert_array_equal(cohort.mask(case), easy_case(int(case.id[-3:]))[1])
    assert sorted(case.fold for case in cohort.cases) == [1, 2, 3]


def test_only_one_of_the_labels_when_asked(msd, tmp_path):
    case = prepare("msd", msd, tmp_path / "out", Preparation(label=2)).cases[0]
    whole = prepare("msd", msd, tmp_path / "both").cases[0]
    assert case.pancreas_ml < 0.7 * whole.pancreas_ml


def test_an_msd_case_whose_label_is_gone_is_named(msd, tmp_path):
    (msd / "labelsTr" / "pancreas_004.nii.gz").unlink()
    with pytest.raises(InputError, match=r"1 of 3 cases cannot be used\. pancreas_004: There is no label"):
        prepare("msd", msd, tmp_path / "out")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"training": 3, "labels": {"1": "pancreas"}}'])
def test_a_damaged_index_is_named(msd, content):
    (msd / "dataset.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="does not list training images"):
        sources.find("msd", msd)


def test_an_index_cannot_lead_out_of_its_folder(msd):
    write_index(msd, [{"image": "../../secret.nii.gz", "label": "labelsTr/pancreas_001.nii.gz"}])
    with pytest.raises(InputError, match="outside its folder"):
        sources.find("msd", msd)


def test_newer_indexes_name_labels_the_other_way_round(msd):
    write_index(
        msd, [{"image": "imagesTr/a_0000.nii.gz", "label": "labelsTr/a.nii.gz"}], {"background": 0, "pancreas": 1}
    )
    listing = sources.find("msd", msd)
    assert listing.values == (1,)
    assert listing.pairs[0].id == "a"


@pytest.mark.parametrize("label", ["{}_label.nii.gz", "{}-mask.nrrd", "{}.seg.nrrd"])
def test_pairs_may_lie_side_by_side(label, tmp_path):
    for n in range(2):
        hu, mask = easy_case(n)
        write(tmp_path / "source" / f"p{n}.nii.gz", hu)
        write(tmp_path / "source" / label.format(f"p{n}"), mask)
    cohort = prepare("folder", tmp_path / "source", tmp_path / "out")
    assert [(case.id, case.fold) for case in cohort.cases] in ([("p0", 1), ("p1", 2)], [("p0", 2), ("p1", 1)])


@pytest.fixture
def folder(tmp_path) -> Path:
    for n in range(3):
        for name, array in zip(("images", "labels"), easy_case(n), strict=True):
            write(tmp_path / "source" / name / f"p{n}.nii.gz", array)
    return tmp_path / "source"


def test_a_label_in_another_frame_is_named(folder, tmp_path):
    moved = Geometry(GEOMETRY.size, GEOMETRY.spacing, (12.0, -30.0, 430.0))
    write(folder / "labels" / "p1.nii.gz", easy_case(1)[1], moved)
    with pytest.raises(InputError, match=r"p1: The label states another place .*30.0 mm"):
        prepare("folder", folder, tmp_path / "out")


def test_the_same_voxels_in_another_order_are_the_same_frame(folder, tmp_path):
    mask = easy_case(1)[1]
    turned = sitk.DICOMOrient(to_image(mask, GEOMETRY), "RSP")
    assert turned.GetSize() != GEOMETRY.size
    sitk.WriteImage(turned, str(folder / "labels" / "p1.nii.gz"))
    cohort = prepare("folder", folder, tmp_path / "out")
    np.testing.assert_array_equal(cohort.mask(cohort.case("p1")), mask)


def test_several_labels_have_to_be_chosen_from(folder, tmp_path):
    mask = easy_case(1)[1]
    mask[0, 0, :3] = 7
    write(folder / "labels" / "p1.nii.gz", mask)
    with pytest.raises(InputError, match="p1: The mask holds 2 labels"):
        prepare("folder", folder, tmp_path / "out")
    cohort = prepare("folder", folder, tmp_path / "out", Preparation(label=1))
    assert len(cohort.cases) == 3


def test_a_copied_scan_stays_in_one_fold(folder, tmp_path):
    for name in ("images", "labels"):
        shutil.copy(folder / name / "p1.nii.gz", folder / name / "again.nii.gz")
    cohort = prepare("folder", folder, tmp_path / "out")
    assert cohort.case("again").fold == cohort.case("p1").fold
    assert len({case.fold for case in cohort.cases}) == 3
    assert any("the same CT as case again" in remark for remark in cohort.remarks)


def test_a_ct_that_is_no_ct_is_named(folder, tmp_path):
    bright = np.linspace(300, 400, int(np.prod(GEOMETRY.shape))).reshape(GEOMETRY.shape).astype(np.int16)
    write(folder / "images" / "p2.nii.gz", bright)
    with pytest.raises(InputError, match=r"p2: .*no voxel is below 0"):
        prepare("folder", folder, tmp_path / "out")


def test_more_folds_than_cases_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="do not suffice for 4 folds"):
        prepare("folder", folder, tmp_path / "out", Preparation(folds=4))


def test_a_single_case_can_be_prepared_but_not_trained_on(folder, tmp_path):
    for n in (1, 2):
        for name in ("images", "labels"):
            (folder / name / f"p{n}.nii.gz").unlink()
    cohort = prepare("folder", folder, tmp_path / "out")
    assert cohort.folds == (1,)
    with pytest.raises(InputError, match="none is left to train on"):
        cohort.fold(1)


@pytest.mark.parametrize("kind", sources.KINDS)
def test_folders_without_the_layout_say_what_is_expected(kind, tmp_path):
    with pytest.raises(InputError) as error:
        sources.find(kind, tmp_path)
    assert error.value.hint
    with pytest.raises(InputError, match="There is no folder"):
        sources.find(kind, tmp_path / "nowhere")

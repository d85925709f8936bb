"""``pancreasseg export``: every format read back by another library, margins, and what stands in the way."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from rt_utils import RTStructBuilder
from Testing.helpers.dicom_series import SIZE, a_series_grid, blobs, read_rtstruct, read_seg, write_series

from pancreasseg.cli.main import main
from pancreasseg.core import Geometry
from pancreasseg.export.formats import formats
from pancreasseg.export.margins import grow
from pancreasseg.grids.resample import to_image
from pancreasseg.io.seg_nrrd import encode_seg_nrrd
from pancreasseg.io.write import write_nifti

Export = Callable[..., tuple[int, str, str]]
GEOMETRY = a_series_grid()


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "Größe ct", GEOMETRY)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """What `pancreasseg segment` leaves: it says how it was made."""
    path = tmp_path / "Mask ü.seg.nrrd"
    path.write_bytes(encode_seg_nrrd(blobs(GEOMETRY), GEOMETRY, algorithm="PancreasSeg two-stage tiny 1.0"))
    return path


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str]) -> Export:
    def run(*words: object) -> tuple[int, str, str]:
        small = ("--allow", "too-few-slices", "--allow", "field-of-view-too-small", "--allow", "not-hu")
        code = main(["export", *(str(word) for word in words), *small])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_dicom_ct_allows_every_format_and_all_hold_the_mask(
    export: Export, series: Path, mask: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    code, out, err = export(mask, "--volume", series, "--output", folder)
    assert code == 0, err
    assert {path.name for path in folder.iterdir()} == {each.file for each in formats().values()}
    expected = blobs(GEOMETRY)
    assert np.array_equal(read_seg(folder / "pancreas.seg.dcm", GEOMETRY)[1], expected)
    assert np.array_equal(read_rtstruct(folder / "pancreas.rtstruct.dcm", series, GEOMETRY)["Pancreas"], expected)
    assert np.array_equal(np.asarray(nibabel.load(folder / "pancreas.nii.gz").dataobj).T, expected)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "pancreas.seg.nrrd"))), expected)
    assert (folder / "pancreas.stl").stat().st_size > 1000
    assert "pancreas.rtstruct.dcm" in out


def test_highdicom_and_rt_utils_read_what_was_written_with_margins(
    export: Export, series: Path, mask: Path, tmp_path: Path
) -> None:
    code, _, err = export(
        mask, "--volume", series, "--output", tmp_path, "--format", "dicom-seg", "--format", "rtstruct",
        "--margin", 3, "--margin", "2,0,5", "--ring", 4, "--outside-body",
    )  # fmt: skip
    assert code == 0, err
    names = ["Pancreas", "Pancreas + 3 mm", "Pancreas + 2/0/5 mm", "Ring 4 mm"]
    seg = highdicom.seg.segread(tmp_path / "pancreas.seg.dcm")
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == names
    description = seg.get_segment_description(1)
    assert description.algorithm_type.value == "AUTOMATIC"
    assert description.SegmentAlgorithmName == "PancreasSeg two-stage tiny 1.0"
    masks = read_seg(tmp_path / "pancreas.seg.dcm", GEOMETRY)
    assert np.array_equal(masks[2], grow(blobs(GEOMETRY), GEOMETRY, 3.0))
    assert masks[3].sum() > masks[1].sum()
    assert not (masks[4] & masks[1]).any()
    assert RTStructBuilder.create_from(str(series), str(tmp_path / "pancreas.rtstruct.dcm")).get_roi_names() == names


def test_margins_end_at_the_skin_unless_told_otherwise(
    export: Export, series: Path, mask: Path, tmp_path: Path
) -> None:
    """The body of this series lies 4 pixels inside its border."""
    command = (mask, "--volume", series, "--format", "nifti", "--margin", 8, "--output")
    assert export(*command, tmp_path / "inside")[0] == export(*command, tmp_path / "all", "--outside-body")[0] == 0
    inside, everywhere = (
        np.asarray(nibabel.load(tmp_path / name / "pancreas-Pancreas-plus-8-mm.nii.gz").dataobj)
        for name in ("inside", "all")
    )
    assert inside.sum() < everywhere.sum()


def test_a_ct_that_is_a_file_allows_what_does_not_refer_to_dicom(export: Export, mask: Path, tmp_path: Path) -> None:
    ct = tmp_path / "ct.nii.gz"
    sitk.WriteImage(to_image(np.where(blobs(GEOMETRY), 40, -1000).astype(np.int16), GEOMETRY), str(ct))
    code, _, err = export(mask, "--volume", ct, "--output", tmp_path / "out")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "pancreas.nii.gz", "pancreas.seg.nrrd", "pancreas.stl"
    }  # fmt: skip
    code, out, err = export(mask, "--volume", ct, "--output", tmp_path / "no", "--format", "rtstruct", "--json")
    assert code == 3
    assert json.loads(out)["error"]["code"] == "not-from-dicom"
    assert "was not loaded from DICOM" in err
    assert list((tmp_path / "no").iterdir()) == []


def test_check_says_what_stands_in_the_way_and_writes_nothing(
    export: Export, series: Path, mask: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = export(mask, "--volume", series, "--check")
    assert code == 0
    assert "Nothing stands in the way of DICOM export." in out
    assert sorted(tmp_path.rglob("*")) == before
    shutil.rmtree(series)
    write_series(series, GEOMETRY, StudyInstanceUID="")
    code, _, err = export(mask, "--volume", series, "--check")
    assert code == 3
    assert "study identifier (UID) of the CT is empty" in err


def test_a_series_that_dicom_cannot_refer_to_is_exported_in_the_other_formats(
    export: Export, series: Path, mask: Path, tmp_path: Path
) -> None:
    shutil.rmtree(series)
    write_series(series, GEOMETRY, SeriesInstanceUID="")
    command = (mask, "--volume", series, "--output", tmp_path / "out")
    code, out, err = export(*command)
    assert code == 3
    assert "dicom-seg was not written. The series identifier (UID) of the CT is empty" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "pancreas.nii.gz", "pancreas.seg.nrrd", "pancreas.stl"
    }  # fmt: skip
    assert "pancreas.stl" in out
    told = json.loads(export(*command, "--json")[1])
    assert {entry["format"]: entry["code"] for entry in told["failed"]} == {
        "dicom-seg": "dicom-uids-empty",
        "rtstruct": "dicom-uids-empty",
    }
    assert export(*command[:-1], tmp_path / "dicom", "--format", "rtstruct")[0] == 3
    assert list((tmp_path / "dicom").iterdir()) == []


def test_a_mistake_in_one_format_keeps_no_other_from_being_written(
    export: Export, series: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("highdicom.seg.Segmentation", broken)
    code, _, err = export(mask, "--volume", series, "--output", tmp_path / "out")
    assert code == 70
    assert "dicom-seg was not written" in err
    assert "Doe" not in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {each.file for each in formats().values()} - {
        "pancreas.seg.dcm"
    }
    code, _, err = export(mask, "--volume", series, "--check")
    assert code == 3, "the check knows it beforehand"
    assert "KeyError" in err
    assert export(mask, "--volume", series, "--check", "--format", "rtstruct")[0] == 0


def test_what_is_repaired_is_told(export: Export, series: Path, mask: Path, tmp_path: Path) -> None:
    shutil.rmtree(series)
    write_series(series, GEOMETRY, FrameOfReferenceUID=None)
    code, out, _ = export(mask, "--volume", series, "--output", tmp_path / "out", "--format", "rtstruct")
    assert code == 0
    assert "Warning: The CT has no frame of reference" in out
    code, out, _ = export(mask, "--volume", series, "--output", tmp_path / "out", "--format", "rtstruct", "--json")
    assert json.loads(out)["findings"][-1]["code"] == "dicom-no-frame-of-reference"
    assert json.loads(out)["files"] == ["pancreas.rtstruct.dcm"]


def test_a_mask_of_unknown_origin_is_not_passed_off_as_anything(export: Export, series: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.nii.gz"
    write_nifti(drawn, blobs(GEOMETRY), GEOMETRY)
    command = (drawn, "--volume", series, "--output", tmp_path / "out", "--format", "dicom-seg")
    code, _, err = export(*command)
    assert code == 3
    assert "does not say how the mask was made" in err
    assert "--made automatic, semiautomatic or manual" in err
    assert list((tmp_path / "out").iterdir()) == []
    assert export(*command, "--made", "manual")[0] == 0
    description = highdicom.seg.segread(tmp_path / "out" / "pancreas.seg.dcm").get_segment_description(1)
    assert description.algorithm_type.value == "MANUAL"
    assert export(drawn, "--volume", series, "--output", tmp_path / "stl", "--format", "stl")[0] == 0, "STL has no word"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--margin", "wide"], 2, "neither one number nor three"),
        (["--margin", "1,2"], 2, "neither one number nor three"),
        (["--margin", "-5"], 3, "between 0 and 100 mm"),
        (["--ring", "500"], 3, "between 0 and 100 mm"),
        (["--format", "docx"], 2, "is no format; choose one of"),
        (["--smooth", "99"], 3, "between 0 and 10 mm"),
        (["--label", "liver"], 3, "names no segment 'liver'"),
        (["--margin", "3", "--margin", "3.0,3,3"], 3, "The margin 'Pancreas + 3 mm' is there twice"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_no_file(
    export: Export, series: Path, mask: Path, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    chosen = [] if "--format" in words else ["--format", "stl"]
    told = export(mask, "--volume", series, "--output", tmp_path / "out", *chosen, *words)
    assert told[0] == code
    assert said in told[2]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_empty_mask_and_one_that_lies_elsewhere_are_refused(export: Export, series: Path, tmp_path: Path) -> None:
    empty, elsewhere = tmp_path / "empty.nii.gz", tmp_path / "elsewhere.nii.gz"
    write_nifti(empty, np.zeros(GEOMETRY.shape, np.uint8), GEOMETRY)
    far = Geometry(SIZE, GEOMETRY.spacing, (900.0, 900.0, 900.0), GEOMETRY.direction)
    write_nifti(elsewhere, blobs(far), far)
    code, _, err = export(empty, "--volume", series, "--output", tmp_path / "out", "--format", "nifti")
    assert (code, "has no voxels" in err) == (3, True)
    code, _, err = export(elsewhere, "--volume", series, "--output", tmp_path / "out", "--format", "nifti")
    assert (code, "does not overlap the volume" in err) == (3, True)


def test_a_mask_whose_file_states_two_places_is_told(export: Export, series: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii"
    write_nifti(mask, blobs(GEOMETRY), GEOMETRY)
    content = bytearray(mask.read_bytes())
    struct.pack_into("<f", content, 268, struct.unpack_from("<f", content, 268)[0] + 40)  # the qform's offset along x
    mask.write_bytes(content)
    code, out, _ = export(
        mask, "--volume", series, "--output", tmp_path / "out", "--made", "manual", "--format", "nifti", "--json"
    )
    assert code == 0
    assert "mask-positions-disagree" in [finding["code"] for finding in json.loads(out)["findings"]]


def test_either_an_output_folder_or_a_check_is_asked_for(export: Export, series: Path, mask: Path) -> None:
    assert export(mask, "--volume", series)[0] == 2


def test_the_command_knows_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(each.name in told and each.file in told for each in formats().values())

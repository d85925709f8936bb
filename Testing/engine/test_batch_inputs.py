"""Which cases there are: lists in CSV, and DICOM trees of many patients."""

from __future__ import annotations

from pathlib import Path

import pytest
from Testing.helpers.ct_files import a_series, write_slices

from pancreasseg.batch.case import Case
from pancreasseg.batch.cases import find_cases
from pancreasseg.core.errors import InputError
from pancreasseg.io.read import read_volume


def found(*inputs: Path, **how: bool) -> dict[str, Case]:
    return {case.name: case for case in find_cases(inputs, inputs[0].parent / "out", **how)}


def a_list(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


# Lists


def test_a_list_names_paths_ids_references_and_labels(tmp_path: Path) -> None:
    text = "Path,id,reference,label,series,notes\nct/a.nii.gz,Fall 7,masks/a.nii.gz,11,,nice\n/abs/b.mha,,,,2,\n\n"
    first, second = found(a_list(tmp_path, text)).values()
    assert (first.name, first.path, first.reference) == (
        "Fall 7",
        tmp_path / "ct/a.nii.gz",
        tmp_path / "masks/a.nii.gz",
    )
    assert (first.label, first.series) == (11, None)
    assert (second.name, second.path, second.reference) == ("b", Path("/abs/b.mha"), None)
    assert (second.label, second.series) == (None, 2)
    assert first.folder == tmp_path / "out" / "Fall 7"


@pytest.mark.parametrize("parting", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_lists_of_any_spreadsheet_are_read(tmp_path: Path, parting: str, encoding: str) -> None:
    lines = [["id", "path", "label"], ["Größe", "a, b.nii", "Pancreas"]]
    text = "\r\n".join(parting.join(f'"{cell}"' for cell in line) for line in lines)
    (case,) = found(a_list(tmp_path, text, encoding)).values()
    assert (case.name, case.path.name, case.label) == ("Größe", "a, b.nii", "Pancreas")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column called path"), ("ct;id\na;b\n", "no column called path"), ("path\n", "names no CT"),
        ("path,id\n,x\n", "Line 2 of the list has no path"), ("path,id\na.nii,../x\n", "cannot be the name"),
        ("path,id\na.nii,..\n", "cannot be the name"), ("path,id\na.nii,a\\b\n", "cannot be the name"),
        ("path,id\na.nii,x\nb.nii,X\n", "same name"), ("path\0\n", "no list in CSV"),
        ('path,id\na.nii,"' + "x" * 200_000 + '"\n', "no list in CSV"),
    ],
)  # fmt: skip
def test_lists_that_make_no_sense_are_refused_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        found(a_list(tmp_path, text))


# DICOM trees


def tree(root: Path, **series: dict[str, object]) -> None:
    """Series by folder; "/" in a name is written "__"."""
    for number, (place, values) in enumerate(series.items(), start=1):
        stated = {"SeriesInstanceUID": f"1.2.3.{number}", "SeriesNumber": number, **values}
        slices = a_series(PatientName="Doe^Jane", **stated)
        for position, one in enumerate(slices):
            one.SOPInstanceUID = f"1.2.3.{number}.{position + 1}"
        write_slices(root / place.replace("__", "/"), slices, prefix=f"s{number}-")


def test_each_series_of_a_tree_is_a_case_named_by_folders(tmp_path: Path) -> None:
    tree(tmp_path / "dicom", p1__study__a={}, p1__study__b={}, p2__study__only={}, p3={})
    cases = found(tmp_path / "dicom")
    assert set(cases) == {"p1-study-a", "p1-study-b", "p2", "p3"}
    assert cases["p1-study-b"].path == tmp_path / "dicom/p1/study/b"
    assert cases["p2"].path == tmp_path / "dicom/p2"
    assert all(case.series is None for case in cases.values())


def test_series_in_one_folder_are_told_apart_by_their_numbers_and_read_as_such(tmp_path: Path) -> None:
    for number, kernel in ((1, "SOFT"), (7, "HARD")):
        slices = a_series(SeriesInstanceUID=f"1.2.3.{number}", SeriesNumber=number, ConvolutionKernel=kernel)
        for position, one in enumerate(slices):
            one.SOPInstanceUID = f"1.2.3.{number}.{position + 1}"
        write_slices(tmp_path / "dicom" / "p1", slices, prefix=f"{kernel}-")
    tree(tmp_path / "dicom", p2={})
    cases = found(tmp_path / "dicom")
    assert set(cases) == {"p1-series-1", "p1-series-7", "p2"}
    kernels = {name: read_volume(case.path, series=case.series).source.get("kernel") for name, case in cases.items()}
    assert (kernels["p1-series-1"], kernels["p1-series-7"]) == ("SOFT", "HARD")


def test_identifiers_as_folder_names_and_names_of_patients_stay_out_of_the_names(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498."
    tree(tmp_path / "dicom", **{f"site__p1__{uid}1__{uid}11": {}, f"site__p1__{uid}1__{uid}12": {}, "site__p2": {}})
    names = set(found(tmp_path / "dicom"))
    assert names == {"site-p1-series-1", "site-p1-series-2", "site-p2"}
    assert not any("Doe" in name for name in names)


def test_scouts_and_folders_that_cannot_be_read_stay_one_case(tmp_path: Path) -> None:
    tree(tmp_path / "dicom", p1__a={})
    few = a_series(SeriesInstanceUID="1.2.9")[:2]
    write_slices(tmp_path / "dicom/p1/scout", few)
    (tmp_path / "dicom/p2").mkdir()
    (tmp_path / "dicom/p2/junk").write_bytes(b"junk")
    cases = found(tmp_path / "dicom")
    assert {name: case.path.name for name, case in cases.items()} == {"p1": "p1", "p2": "p2"}


def test_who_names_a_series_gets_one_case_a_folder(tmp_path: Path) -> None:
    tree(tmp_path / "dicom", p1__a={}, p1__b={})
    assert set(found(tmp_path / "dicom", every_series=False)) == {"p1"}

"""Results on disk: exact, readable by others, whole or not there at all."""

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from Testing.helpers.ct_files import DIRECTIONS, SHAPE, a_ct, a_grid, turned, write_image
from Testing.helpers.results import a_mask, a_result

from pancreasseg.core.errors import OutputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.measurement import Code, Measurement
from pancreasseg.io.atomic import atomic_write, prepare_folder
from pancreasseg.io.read import read_volume
from pancreasseg.io.write import (
    as_json,
    json_ready,
    statistics_csv,
    write_nifti,
    write_results,
    write_seg_nrrd,
)

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FILES = ["pancreas.nii.gz", "pancreas.seg.nrrd", "report.png", "result.json", "statistics.csv"]


MEASUREMENTS = (
    Measurement("volume", "Volume", 61.25, "ml", Code("118565006", "SCT", "Volume"), "72 ± 26 ml"),
    Measurement("hd", "Hausdorff distance", math.inf, "mm", Code("hd", "99PANCREASSEG", "Hausdorff, max")),
    Measurement("hu_sd", "Sd of HU", None, "[hnsf'U]", Code("112183", "DCM", "Sd"), "one voxel"),
)
REMARKS = (Finding("spacing-above-5-mm", Severity.WARNING, "Thick slices.", 7.5),)


def write(folder: Path, **options: object) -> dict:
    volume, segmentation = a_result()
    options.setdefault("report", lambda path: path.write_bytes(b"\x89PNG"))
    return write_results(folder, volume, segmentation, MEASUREMENTS, REMARKS, **options)


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# The mask on the input's own grid


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_nifti_mask_lies_exactly_on_the_nifti_it_came_from(tmp_path, direction) -> None:
    source = write_image(tmp_path / "ct.nii.gz", a_ct(), a_grid(direction))
    write_nifti(tmp_path / "mask.nii.gz", a_mask(), read_volume(source).geometry)
    ct, mask = nibabel.load(source), nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T, a_mask())
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.get_sform(coded=False), ct.get_sform(coded=False))
    np.testing.assert_array_equal(mask.header["pixdim"][1:4], ct.header["pixdim"][1:4])
    np.testing.assert_allclose(mask.get_qform(coded=False), ct.affine, rtol=0, atol=3e-5)
    image, original = sitk.ReadImage(str(tmp_path / "mask.nii.gz")), sitk.ReadImage(str(source))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), a_mask())
    assert image.GetOrigin() == original.GetOrigin()
    assert image.GetSpacing() == original.GetSpacing()
    np.testing.assert_allclose(image.GetDirection(), original.GetDirection(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("degrees", [0.001, 45, 90, 179.999, 180])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_qform_says_the_same_as_the_sform_for_every_turn(tmp_path, degrees, mirrored) -> None:
    axes = turned(degrees, (0.2, -1.0, 0.5)) @ np.diag([1, 1, -1 if mirrored else 1])
    write_nifti(tmp_path / "mask.nii.gz", a_mask(), a_grid(axes))
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.get_qform(), mask.get_sform(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(mask.get_sform(), RAS @ a_grid(axes).index_to_world, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_segmentation_file_lies_on_the_grid_in_double_precision(tmp_path, direction) -> None:
    grid = a_grid(direction)
    write_seg_nrrd(tmp_path / "p.seg.nrrd", a_mask(), grid)
    image = sitk.ReadImage(str(tmp_path / "p.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), a_mask())
    assert image.GetOrigin() == grid.origin
    np.testing.assert_allclose(image.GetSpacing(), grid.spacing, rtol=1e-14)
    np.testing.assert_allclose(image.GetDirection(), grid.direction, rtol=0, atol=1e-14)


def test_a_segmentation_file_says_what_it_holds(tmp_path) -> None:
    write_seg_nrrd(tmp_path / "p.seg.nrrd", a_mask(), a_grid(), algorithm="PancreasSeg 1.0 | fast", automatic=False)
    image = sitk.ReadImage(str(tmp_path / "p.seg.nrrd"))
    assert image.GetMetaData("Segment0_Name") == "Pancreas"
    assert image.GetMetaData("Segment0_Extent") == "4 11 5 12 3 7"
    colour = [float(c) * 255 for c in image.GetMetaData("Segment0_Color").split()]
    np.testing.assert_allclose(colour, (249, 180, 111), atol=0.01)
    tags = dict(tag.split(":", 1) for tag in image.GetMetaData("Segment0_Tags").strip("|").split("|"))
    assert tags["DICOM.SegmentAlgorithmType"] == "SEMIAUTOMATIC"
    assert tags["DICOM.SegmentAlgorithmName"] == "PancreasSeg 1.0   fast"
    assert "SCT^15776009^Pancreas" in tags["TerminologyEntry"]


@pytest.mark.parametrize("writer", [write_nifti, write_seg_nrrd])
def test_a_mask_of_another_shape_is_a_mistake(tmp_path, writer) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        writer(tmp_path / "m.nii.gz", np.zeros((2, 2, 2), np.uint8), a_grid())
    assert listing(tmp_path) == []


def test_a_nifti_is_packed_only_where_its_name_says_so(tmp_path) -> None:
    for name in ("m.nii", "m.nii.gz"):
        write_nifti(tmp_path / name, a_mask(), a_grid())
        np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / name).dataobj).T, a_mask())


# Numbers


def test_the_result_file_is_strict_json_with_everything_in_it(tmp_path) -> None:
    document = write(tmp_path, dsc=0.875, extra={"notices": ["smaller tiles"]})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    loaded = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert loaded == document
    assert loaded["dsc"] == 0.875
    assert loaded["measurements"][0]["value"] == 61.25
    assert loaded["measurements"][1]["value"] == "inf"
    assert loaded["measurements"][2]["value"] is None
    assert loaded["findings"] == [
        {"code": "spacing-above-5-mm", "severity": "warning", "sentence": "Thick slices.", "number": 7.5}
    ]
    assert loaded["timings"] == {"localize": 1.5}
    assert loaded["provenance"]["models"][0]["sha256"] == "ab"
    assert loaded["input"]["geometry"]["size"] == list(SHAPE[::-1])
    assert loaded["box"] == [2, 14, 3, 15, 2, 10]
    assert loaded["notices"] == ["smaller tiles"]
    assert sorted(loaded["files"]) == FILES


def test_without_a_reference_there_is_no_dsc(tmp_path) -> None:
    assert "dsc" not in write(tmp_path)


def test_the_table_is_csv_that_reads_back(tmp_path) -> None:
    rows = list(csv.DictReader(io.StringIO(statistics_csv(MEASUREMENTS))))
    assert [row["name"] for row in rows] == ["volume", "hd", "hu_sd"]
    assert [row["value"] for row in rows] == ["61.25", "inf", ""]
    assert rows[1]["code_meaning"] == "Hausdorff, max"
    assert rows[0]["note"] == "72 ± 26 ml"


def test_numbers_of_numpy_become_plain_ones() -> None:
    text = as_json({"a": np.float32(0.5), "b": np.arange(3), "c": (np.bool_(True), -math.inf), "d": None})
    assert json.loads(text) == {"a": 0.5, "b": [0, 1, 2], "c": [True, "-inf"], "d": None}
    assert float(json.loads(text)["c"][1]) == -math.inf


def test_nan_and_things_that_are_no_data_are_mistakes() -> None:
    with pytest.raises(ValueError, match="NaN"):
        json_ready({"a": [math.nan]})
    with pytest.raises(TypeError, match="object"):
        json_ready({"a": object()})


# All files or none


def test_all_files_appear_and_nothing_else(tmp_path) -> None:
    folder = tmp_path / "neuer Ordner" / ("langer Name " * 15).strip() / "Ergebnis ü"
    write(folder)
    assert listing(folder) == FILES


def test_without_a_picture_there_is_no_report(tmp_path) -> None:
    write(tmp_path, report=None)
    assert listing(tmp_path) == [name for name in FILES if name != "report.png"]


def test_earlier_results_are_replaced(tmp_path) -> None:
    write(tmp_path)
    write(tmp_path, dsc=0.5)
    assert json.loads((tmp_path / "result.json").read_text())["dsc"] == 0.5
    assert listing(tmp_path) == FILES


def fails(path: Path) -> None:
    path.write_bytes(b"half a pict")
    raise RuntimeError("no fonts")


def test_when_one_file_fails_none_appears(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="no fonts"):
        write(tmp_path, report=fails)
    assert listing(tmp_path) == []


def test_when_one_file_fails_the_earlier_results_stay(tmp_path) -> None:
    write(tmp_path, dsc=0.5)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    with pytest.raises(RuntimeError, match="no fonts"):
        write(tmp_path, report=fails, dsc=0.75)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_in_the_place_of_a_file_is_refused_and_nothing_changes(tmp_path) -> None:
    (tmp_path / "statistics.csv").mkdir()
    with pytest.raises(OutputError) as caught:
        write(tmp_path)
    assert "statistics.csv" in caught.value.message
    assert listing(tmp_path) == ["statistics.csv"]


@pytest.mark.parametrize("refused_at", range(5))
def test_when_moving_fails_half_way_the_earlier_results_come_back(tmp_path, monkeypatch, refused_at) -> None:
    write(tmp_path, dsc=0.5)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    move, calls = Path.replace, []

    def sometimes(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == refused_at + 1:
            raise PermissionError(13, "Permission denied")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    with pytest.raises(OutputError, match="Permission denied"):
        write(tmp_path, dsc=0.75)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_when_moving_fails_half_way_into_an_empty_folder_it_stays_empty(tmp_path, monkeypatch) -> None:
    move = Path.replace

    def not_the_table(self: Path, target: Path) -> Path:
        if self.name == "statistics.csv":
            raise PermissionError(13, "Permission denied")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", not_the_table)
    with pytest.raises(OutputError):
        write(tmp_path)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("place", ["/proc/nowhere/results", "file/results", "file"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, place) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        prepare_folder(tmp_path / place)
    assert caught.value.message.endswith(").")
    assert caught.value.hint


def test_preparing_a_folder_makes_it_and_leaves_nothing_in_it(tmp_path) -> None:
    assert prepare_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert listing(tmp_path / "a" / "b") == []


def test_a_folder_that_several_processes_prepare_at_once_is_ready_for_all(tmp_path):
    """What one has there for a moment may be gone when another looks at it."""
    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(prepare_folder, tmp_path / "run") for _ in range(400)]
    assert {future.result() for future in done} == {tmp_path / "run"}
    assert not list((tmp_path / "run").iterdir())


def test_what_a_killed_run_left_is_removed_later_but_not_while_it_may_still_run(tmp_path) -> None:
    old, young, other = (tmp_path / n for n in (".pancreasseg-partial-1", ".pancreasseg-partial-2", ".keep"))
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "half").write_text("half")
    for folder in (old, other):
        os.utime(folder, (time.time() - 7200,) * 2)
    prepare_folder(tmp_path)
    assert listing(tmp_path) == [".keep", ".pancreasseg-partial-2"]


def test_an_atomic_file_appears_only_when_it_is_whole(tmp_path) -> None:
    target = tmp_path / "card.json"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="no fonts"), atomic_write(target) as partial:
        fails(partial)
    assert target.read_text() == "old"
    with atomic_write(target) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"
    assert listing(tmp_path) == ["card.json"]


def test_a_very_long_file_name_is_written(tmp_path) -> None:
    target = tmp_path / ("n" * 248 + ".nii.gz")
    write_nifti(target, a_mask(), a_grid())
    assert listing(tmp_path) == [target.name]


# A full disk and a killed process

PROGRAM = """
import resource, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from Testing.helpers.results import a_result
from pancreasseg.io.write import write_results
from pancreasseg.core.errors import OutputError

volume, segmentation = a_result()
noise = np.random.default_rng(0).integers(0, 2, volume.geometry.shape).astype(np.uint8)
segmentation = replace(segmentation, mask=noise)
folder = Path(sys.argv[1])
"""


def run(program: str, folder: Path, **options: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *(p for p in sys.path if p)])}
    code = PROGRAM + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=environment, stdout=subprocess.PIPE, text=True, **options
    )


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path) -> None:
    program = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    try:
        write_results(folder, volume, segmentation, (), ())
    except OutputError as error:
        print(error.code, error.exit_code)
    """
    process = run(program, tmp_path / "results")
    said, _ = process.communicate(timeout=60)
    assert said.split() == ["disk-full", "5"]
    assert listing(tmp_path / "results") == []


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_half_written_result(tmp_path) -> None:
    program = """
    def stuck(path):
        path.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
    write_results(folder, volume, segmentation, (), (), report=stuck)
    """
    process = run(program, tmp_path)
    try:
        assert process.stdout.readline() == "writing\n"
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert [name for name in listing(tmp_path) if not name.startswith(".pancreasseg-partial-")] == []


def test_a_result_for_another_grid_is_a_mistake(tmp_path) -> None:
    volume, segmentation = a_result()
    wrong = replace(segmentation, mask=np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="does not fit"):
        write_results(tmp_path, volume, wrong, (), ())
    assert listing(tmp_path) == []

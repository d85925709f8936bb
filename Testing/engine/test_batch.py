"""Many CTs, each by itself: which they are, when an earlier result stands, and what ends none but its own row."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from Testing.helpers import batch_double

from pancreasseg.batch import apart, table
from pancreasseg.batch.case import Settings
from pancreasseg.batch.inputs import find_cts, printable
from pancreasseg.batch.record import RECORD, forget, identify, stands, write_record
from pancreasseg.cli.main import main
from pancreasseg.core.errors import InputError, OutputError, PancreasSegError
from pancreasseg.core.setup import Setup

SETTINGS = {"pipeline": "two-stage", "series": None}
POSIX = pytest.mark.skipif(os.name != "posix", reason="names and signals of POSIX")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"voxels")


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / table.TABLE).open(newline="", encoding="utf-8") as file:
        return {row["ct"]: row for row in csv.DictReader(file)}


# Which CTs there are


def test_folders_are_looked_into_and_dicom_folders_are_cts(tmp_path: Path) -> None:
    for name in ("PANCREAS_0001/study/series/1.dcm", "PANCREAS_0002/study/series/1.dcm", "one/1-01", "one/1-02"):
        touch(tmp_path / name)
    assert set(find_cts([tmp_path])) == {"PANCREAS_0001", "PANCREAS_0002", "one"}
    assert find_cts([tmp_path / "one"]) == {"one": tmp_path / "one"}


def test_names_that_clash_and_inputs_that_are_missing_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "c.nii", tmp_path / "c.mha")
    with pytest.raises(InputError, match="same name"):
        find_cts([tmp_path])
    with pytest.raises(InputError, match="no file or folder"):
        find_cts([tmp_path / "none"])


@pytest.mark.parametrize("output", ["results", "."])
def test_results_among_the_inputs_are_no_cts(tmp_path: Path, output: str) -> None:
    touch(tmp_path / "p1.nii.gz", tmp_path / "study" / "1.dcm")
    expected = find_cts([tmp_path], tmp_path / "results")
    where = tmp_path / output
    touch(where / table.TABLE, where / "p1" / RECORD, where / "p1" / "pancreas.nii.gz", where / "p2" / RECORD)
    touch(tmp_path / "another run" / table.TABLE, tmp_path / "another run" / "p9" / RECORD)
    assert find_cts([tmp_path], tmp_path / "results") == expected
    assert list(expected) == ["p1", "study"]


def test_results_never_go_into_the_folder_of_the_slices(tmp_path: Path) -> None:
    touch(tmp_path / "study" / "1.dcm", tmp_path / "other" / "1.dcm")
    with pytest.raises(InputError, match="folder of its slices"):
        find_cts([tmp_path], tmp_path)


@POSIX
def test_odd_names_become_one_line_of_unicode(tmp_path: Path) -> None:
    (tmp_path / "a\nb.nii").touch()
    (tmp_path / os.fsdecode(b"pati\xe9nt.nii.gz")).touch()
    found = find_cts([tmp_path])
    assert list(found) == ["a\\nb", "pati\\xe9nt"]
    assert all(path.is_file() for path in found.values())
    assert printable("Größe 膵臓") == "Größe 膵臓"


@POSIX
def test_links_pipes_and_loops_among_the_inputs_do_no_harm(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "17.nii.gz")
    folder = tmp_path / "cts"
    folder.mkdir()
    (folder / "p1.nii.gz").symlink_to(tmp_path / "elsewhere" / "17.nii.gz")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "nowhere.nii.gz").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.nii.gz")
    found = list(find_cts([folder]))
    assert found == ["nowhere", "p1"], "a link has the name that a person gave it, and a row also where the CT is gone"


def test_a_header_beside_its_voxels_is_a_ct(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.nhdr", "a.raw", "b.mhd", "b.zraw")))
    assert list(find_cts([tmp_path])) == ["a", "b"]


# When an earlier result stands


@pytest.fixture
def result(tmp_path: Path) -> Callable[[Path], Path]:
    """Write a whole result of a CT; returns its folder."""

    def make(ct: Path, besides: Path | None = None) -> Path:
        folder = tmp_path / "out" / "p1"
        touch(folder / "result.json", folder / "pancreas.nii.gz")
        write_record(folder, identify(ct, besides), SETTINGS, ["result.json", "pancreas.nii.gz"])
        assert stands(folder, ct, SETTINGS, besides)
        return folder

    return make


def test_a_result_stands_for_the_same_ct_wherever_it_lies(tmp_path: Path, result: Callable[[Path], Path]) -> None:
    touch(tmp_path / "p1.nii.gz")
    folder = result(tmp_path / "p1.nii.gz")
    shutil.copy(tmp_path / "p1.nii.gz", tmp_path / "copy.nii.gz")
    assert stands(folder, tmp_path / "copy.nii.gz", SETTINGS)
    os.utime(tmp_path / "p1.nii.gz", (0, 0))
    assert stands(folder, tmp_path / "p1.nii.gz", SETTINGS)


def test_a_result_does_not_stand_for_another_ct_of_the_same_size_and_time(
    tmp_path: Path, result: Callable[[Path], Path]
) -> None:
    ct = tmp_path / "p1.nii.gz"
    touch(ct)
    folder, seen = result(ct), ct.stat()
    ct.write_bytes(b"VOXELS")
    os.utime(ct, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert ct.stat().st_size == seen.st_size
    assert not stands(folder, ct, SETTINGS)
    ct.unlink()
    assert not stands(folder, ct, SETTINGS)


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "byte"])
def test_a_result_does_not_stand_for_a_series_with_other_files(
    tmp_path: Path, result: Callable[[Path], Path], change: str
) -> None:
    ct = tmp_path / "ct"
    touch(ct / "a" / "1.dcm", ct / "2.dcm")
    folder = result(ct)
    if change == "added":
        touch(ct / "3.dcm")
    elif change == "removed":
        (ct / "2.dcm").unlink()
    elif change == "renamed":
        (ct / "2.dcm").rename(ct / "3.dcm")
    else:
        (ct / "a" / "1.dcm").write_bytes(b"voxelS")
    assert not stands(folder, ct, SETTINGS)


def test_results_and_hidden_files_within_a_series_are_no_part_of_it(
    tmp_path: Path, result: Callable[..., Path]
) -> None:
    ct = tmp_path / "ct"
    touch(ct / "1.dcm")
    folder = result(ct, ct / "out")
    touch(ct / "out" / "ct" / "result.json", ct / ".DS_Store")
    assert stands(folder, ct, SETTINGS, ct / "out")


@pytest.mark.parametrize("header", ["ElementDataFile = data.raw\n", "data file: data.raw\n", "datafile: data.raw\n"])
def test_voxels_in_a_file_of_their_own_belong_to_the_ct(
    tmp_path: Path, result: Callable[[Path], Path], header: str
) -> None:
    ct = tmp_path / "p1.mhd"
    ct.write_text(f"NDims = 3\n{header}")
    touch(tmp_path / "data.raw")
    folder = result(ct)
    (tmp_path / "data.raw").write_bytes(b"VOXELS")
    assert not stands(folder, ct, SETTINGS)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "pancreas.nii.gz").unlink(),
        lambda folder: (folder / "pancreas.nii.gz").write_bytes(b"vox"),
        lambda folder: (folder / "result.json").write_bytes(b"others"),
        lambda folder: (folder / RECORD).unlink(),
        lambda folder: (folder / RECORD).write_text("{"),
        lambda folder: (folder / RECORD).write_text("[]"),
        lambda folder: (folder / RECORD).write_text('{"format": 1}'),
        lambda folder: (folder / RECORD).write_text("[" * 100_000),
        lambda folder: (folder / RECORD).write_text((folder / RECORD).read_text().replace('"results": {', '"r": {')),
    ],
    ids=["file gone", "file cut", "file of another run", "no record", "cut", "list", "empty", "deep", "no results"],
)
def test_a_result_that_is_not_whole_does_not_stand(
    tmp_path: Path, result: Callable[[Path], Path], spoil: Callable[[Path], object]
) -> None:
    touch(tmp_path / "p1.nii.gz")
    folder = result(tmp_path / "p1.nii.gz")
    spoil(folder)
    assert not stands(folder, tmp_path / "p1.nii.gz", SETTINGS)


def test_a_result_does_not_stand_for_other_settings(tmp_path: Path, result: Callable[[Path], Path]) -> None:
    touch(tmp_path / "p1.nii.gz")
    folder = result(tmp_path / "p1.nii.gz")
    assert not stands(folder, tmp_path / "p1.nii.gz", {**SETTINGS, "series": 2})


def test_every_setting_counts() -> None:
    base = Settings(Setup(pipeline="fast")).identity()
    others = [
        Settings(Setup(pipeline="two-stage")), Settings(Setup(device="cpu")), Settings(Setup(precision="f32")),
        Settings(series=2), Settings(series="2"), Settings(allow=("not-hu",)),
    ]  # fmt: skip
    identities = [base, *(other.identity() for other in others)]
    assert all(a != b for n, a in enumerate(identities) for b in identities[:n])
    assert Settings(allow=("b", "a", "a")).identity() == Settings(allow=("a", "b")).identity()


def test_masks_changed_by_hand_are_moved_aside_before_anything_is_written_over_them(
    tmp_path: Path, result: Callable[[Path], Path]
) -> None:
    touch(tmp_path / "p1.nii.gz")
    for number in (1, 2):
        folder = result(tmp_path / "p1.nii.gz")
        assert forget(folder) == []
        assert not (folder / RECORD).exists()
        folder = result(tmp_path / "p1.nii.gz")
        (folder / "pancreas.nii.gz").write_bytes(b"painted")
        assert forget(folder) == [f"edited-{number}/pancreas.nii.gz"]
        assert (folder / f"edited-{number}" / "pancreas.nii.gz").read_bytes() == b"painted"


# What ends none but its own row


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command on CTs of these names, without a model."""
    monkeypatch.setattr(apart, "serve", batch_double.serve)

    def run(*names: str) -> int:
        shutil.rmtree(tmp_path / "cts", ignore_errors=True)
        touch(*(tmp_path / "cts" / f"{name}.nii.gz" for name in names))
        return main(["batch", str(tmp_path / "cts"), "--output", str(tmp_path / "out")])

    return run


@POSIX
def test_a_crash_an_exit_and_an_unforeseen_error_end_no_ct_but_their_own(
    batch: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert batch("a", "b crash", "c exit", "d odd", "e huge", "f once", "g") == 3
    found = rows(tmp_path / "out")
    assert {name: row["state"] for name, row in found.items()} == {
        "a": "done", "b crash": "failed", "c exit": "failed", "d odd": "failed", "e huge": "failed",
        "f once": "done", "g": "done",
    }  # fmt: skip
    assert {name: row["code"] for name, row in found.items() if row["code"]} == {
        "b crash": "process-ended", "c exit": "process-ended", "d odd": "unexpected", "e huge": "out-of-memory"
    }  # fmt: skip
    assert "signal 11" in found["b crash"]["message"]
    assert "exit code 3" in found["c exit"]["message"]
    said = capfd.readouterr()
    assert "Doe" not in said.err + said.out
    assert batch("a", "g", "h") == 0
    assert {name: row["kept"] for name, row in rows(tmp_path / "out").items()} == {"a": "yes", "g": "yes", "h": "no"}
    assert "1 of 3: a: kept" in capfd.readouterr().err


def test_a_full_disk_ends_the_run(batch: Callable[..., int], tmp_path: Path) -> None:
    assert batch("a", "b full", "c") == 5
    assert list(rows(tmp_path / "out")) == ["a"]


def test_a_table_that_is_open_elsewhere_costs_no_ct(
    batch: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = table.write_table, []

    def busy(path: Path, rows: list) -> None:
        tries.append(len(rows))
        if len(rows) == 1:
            raise OutputError("cannot-write", "cohort.csv is open in another program.")
        real(path, rows)

    monkeypatch.setattr("pancreasseg.batch.loop.write_table", busy)
    assert batch("a", "b") == 0
    assert tries == [1, 2]
    assert batch("a") == 5
    assert (tmp_path / "out" / "a" / "result.json").is_file()


def test_a_ct_that_hangs_is_given_up_and_the_next_one_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "serve", batch_double.serve)
    touch(tmp_path / "hang.nii.gz", tmp_path / "b.nii.gz")
    hanging, good = (
        apart.Case(name, tmp_path / f"{name}.nii.gz", tmp_path / "out" / name, tmp_path / "out")
        for name in ("hang", "b")
    )
    (tmp_path / "out").mkdir()
    with apart.Apart(Settings(), time_limit=0.5) as runner:
        with pytest.raises(PancreasSegError, match="given up") as failure:
            runner.run(hanging)
        assert failure.value.code == "time-limit"
    with apart.Apart(Settings(), time_limit=600) as runner:
        assert runner.run(good)["files"] == ["result.json"]


def test_models_that_cannot_be_loaded_end_the_run_with_their_own_code(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    with (
        apart.Apart(Settings(Setup(pipeline="no such pipeline"))) as runner,
        pytest.raises(apart.ModelsNotLoaded) as failure,
    ):
        runner.run(apart.Case("a", tmp_path / "a.nii.gz", tmp_path / "out" / "a", tmp_path / "out"))
    assert failure.value.error.code == "unknown-pipeline"


def test_a_child_that_never_comes_up_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "serve", batch_double.serve_nothing)
    with apart.Apart(Settings()) as runner, pytest.raises(PancreasSegError, match="ended unexpectedly") as failure:
        runner.run(apart.Case("a", tmp_path / "a.nii.gz", tmp_path / "out" / "a", tmp_path / "out"))
    assert failure.value.code == "process-ended"

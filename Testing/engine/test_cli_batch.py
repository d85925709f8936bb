"""``pancreasseg batch``: many CTs, one table, and no CT that stops the others."""

import csv
import json
from pathlib import Path

import pytest
import SimpleITK as sitk
from Testing.engine.bright_model import a_patient, write_bright_model

from pancreasseg.cli import batch
from pancreasseg.cli.main import main
from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import to_image


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_bright_model(folder)
    return folder


@pytest.fixture
def cts(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two CTs and a damaged one between them."""
    monkeypatch.setenv("PANCREASSEG_HOME", str(home))
    folder = tmp_path / "cts"
    folder.mkdir()
    volume, _ = a_patient()
    for name in ("a Müller.nii.gz", "c.mha"):
        sitk.WriteImage(to_image(volume.array, volume.geometry), str(folder / name))
    (folder / "b.nii.gz").write_bytes(b"no CT")
    (folder / "notes.txt").write_text("left alone")
    return folder


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / batch.TABLE).open(newline="", encoding="utf-8") as file:
        return {row["ct"]: row for row in csv.DictReader(file)}


def test_a_damaged_ct_is_named_in_the_table_and_the_others_are_segmented(cts, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["batch", str(cts), "--output", str(output), "--json"]) == 3
    rows = table(output)
    assert {name: row["state"] for name, row in rows.items()} == {"a Müller": "done", "b": "failed", "c": "done"}
    assert "cut short" in rows["b"]["message"]
    assert rows["b"]["code"]
    assert rows["b"]["volume (ml)"] == ""
    assert not (output / "b").exists()
    result = json.loads((output / "c" / "result.json").read_text())
    expected = next(m["value"] for m in result["measurements"] if m["name"] == "volume")
    assert float(rows["c"]["volume (ml)"]) == pytest.approx(expected)
    assert rows["a Müller"]["volume (ml)"] == rows["c"]["volume (ml)"]
    assert (output / "a Müller" / "pancreas.seg.nrrd").is_file()
    said = json.loads(capsys.readouterr().out)
    assert [row["ct"] for row in said["cts"]] == ["a Müller", "b", "c"]


def test_a_batch_that_was_stopped_goes_on_where_it_was(cts, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    (cts / "b.nii.gz").unlink()
    assert main(["batch", str(cts / "a Müller.nii.gz"), "--output", str(output)]) == 0
    seen = []
    real = batch._segment
    monkeypatch.setattr(batch, "_segment", lambda *args: seen.append(args[3]) or real(*args))
    assert main(["batch", str(cts), "--output", str(output)]) == 0
    assert seen == ["c"]
    assert set(table(output)) == {"a Müller", "c"}
    assert "CTs" in capsys.readouterr().out
    # Another pipeline makes other results.
    assert main(["batch", str(cts), "--output", str(output), "--pipeline", "fast"]) == 0
    assert seen == ["c", "a Müller", "c"]


def test_folders_are_looked_into_and_dicom_folders_are_cts(tmp_path):
    for name in ("PANCREAS_0001/study/series/1.dcm", "PANCREAS_0002/study/series/1.dcm", "one/1-01", "one/1-02"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(batch.find_cts([tmp_path])) == {"PANCREAS_0001", "PANCREAS_0002", "one"}
    assert batch.find_cts([tmp_path / "one"]) == {"one": tmp_path / "one"}


def test_ct_names_that_clash_and_inputs_that_are_missing_are_refused(cts, tmp_path):
    (cts / "c.nii").touch()
    with pytest.raises(InputError, match="same name"):
        batch.find_cts([cts])
    assert main(["batch", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 3
    assert not (tmp_path / "out").exists()

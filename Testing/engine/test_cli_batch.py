"""``pancreasseg batch``: many CTs, one table, and no CT that stops the others."""

import csv
import json
from pathlib import Path

import pytest
import SimpleITK as sitk
from Testing.helpers.bright_model import a_patient

from pancreasseg.batch.apart import Apart
from pancreasseg.batch.table import TABLE
from pancreasseg.cli.main import main
from pancreasseg.grids.resample import to_image


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
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
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
    real = Apart.run
    monkeypatch.setattr(Apart, "run", lambda self, case, *how: seen.append(case.name) or real(self, case, *how))
    assert main(["batch", str(cts), "--output", str(output)]) == 0
    assert seen == ["c"]
    assert {name: row["kept"] for name, row in table(output).items()} == {"a Müller": "yes", "c": "no"}
    assert "done (kept)" in capsys.readouterr().out
    # A box drawn by hand under the same name is no result of the batch's.
    box = ["--box", "30", "50", "22", "40", "15", "18"]
    assert main(["segment", str(cts / "c.mha"), "--output", str(output / "c"), *box]) == 0
    boxed = (output / "c" / "pancreas.nii.gz").read_bytes()
    assert main(["batch", str(cts), "--output", str(output)]) == 0
    assert seen == ["c", "c"]
    assert (output / "c" / "pancreas.nii.gz").read_bytes() != boxed
    assert (output / "c" / "edited-1" / "pancreas.nii.gz").read_bytes() == boxed

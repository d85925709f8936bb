"""Cases with a reference and exports on the way, in one process; what is kept, and what is made anew."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk
from Testing.helpers.bright_model import a_patient

from pancreasseg.batch.table import PARQUET, TABLE
from pancreasseg.cli.main import main
from pancreasseg.grids.resample import to_image


@pytest.fixture
def cts(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of a CT with a good reference, and of one whose reference is empty."""
    monkeypatch.setenv("PANCREASSEG_HOME", str(home))
    volume, organ = a_patient()
    sitk.WriteImage(to_image(volume.array, volume.geometry), str(tmp_path / "ct.nii.gz"))
    sitk.WriteImage(to_image(organ * 11, volume.geometry), str(tmp_path / "organs.nii.gz"))
    sitk.WriteImage(to_image(np.zeros_like(organ), volume.geometry), str(tmp_path / "empty.nii.gz"))
    (tmp_path / "list.csv").write_text(
        "path,id,reference,label\nct.nii.gz,good,organs.nii.gz,11\nct.nii.gz,empty,empty.nii.gz,1\n"
    )
    return tmp_path / "list.csv"


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return {row["ct"]: row for row in csv.DictReader(file)}


def test_references_and_exports_of_a_list_reach_table_page_and_folders_and_are_kept(cts: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["batch", str(cts), "--output", str(output), "--json"]
    assert main([*command, "--format", "nrrd"]) == 0
    table = rows(output)
    assert float(table["good"]["dsc"]) > 0.95
    assert table["empty"]["dsc"] == "0.0"
    assert table["empty"]["hd95 (mm)"] == "inf"
    assert table["good"]["exported"] == "nrrd"
    columns = pq.read_table(output / PARQUET).to_pydict()
    assert columns["ct"] == ["good", "empty"]
    assert columns["hd95 (mm)"][1] == float("inf")
    assert columns["dsc"][0] == float(table["good"]["dsc"])
    assert "Bland" in (output / "report.html").read_text(encoding="utf-8")
    (exported,) = (output / "good" / "export").iterdir()
    before = (output / "good" / "result.json").stat().st_mtime_ns, exported.stat().st_mtime_ns

    # Another format is added to the kept result; one that needs DICOM is refused in the row, and costs nothing.
    assert main([*command, "--format", "nrrd,stl,rtstruct"]) == 3
    table = rows(output)
    assert {row["kept"] for row in table.values()} == {"yes"}
    assert table["good"]["exported"] == "nrrd stl"
    assert "DICOM series" in table["good"]["not exported"]
    assert ((output / "good" / "result.json").stat().st_mtime_ns, exported.stat().st_mtime_ns) == before

    # Another reference: made anew, and an export that was changed by hand is moved aside first.
    exported.write_bytes(b"changed by hand")
    (tmp_path / "empty.nii.gz").write_bytes((tmp_path / "organs.nii.gz").read_bytes())
    cts.write_text(cts.read_text().replace("organs.nii.gz,11", "empty.nii.gz,11"))
    assert main([*command, "--format", "stl"]) == 0
    table = rows(output)
    assert {name: row["kept"] for name, row in table.items()} == {"good": "yes", "empty": "no"}
    cts.write_text("path,id\nct.nii.gz,good\n")
    assert main([*command, "--format", "stl"]) == 0
    assert rows(output)["good"]["kept"] == "no"
    assert (output / "good" / "edited-1" / "export" / exported.name).read_bytes() == b"changed by hand"
    assert [path.suffix for path in (output / "good" / "export").iterdir()] == [".stl"]


def test_a_reference_that_cannot_be_read_costs_the_comparison_and_not_the_result(cts: Path, tmp_path: Path) -> None:
    cts.write_text("path,id,reference\nct.nii.gz,good,nowhere.nii.gz\nnowhere.nii.gz,gone,\n")
    assert main(["batch", str(cts), "--output", str(tmp_path / "out")]) == 3
    table = rows(tmp_path / "out")
    assert table["good"]["state"] == "done"
    assert "reference-unusable" in table["good"]["findings"].split()
    assert table["gone"]["state"] == "failed"
    document = json.loads((tmp_path / "out" / "good" / "result.json").read_text())
    assert "dsc" not in document

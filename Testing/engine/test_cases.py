"""Every case of the folder ``cases`` in PANCREASSEG_TEST_DATA: inputs that public bug reports tell of.

Each is made by its own script, and what is right is checked here, case by case, as its ``expected.txt`` says it. Cases
06, 09, 11, 13, 15, 16 and 25 are about reading (`pancreasseg.io`), the others about export, batch and the command line.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from pancreasseg.cli.main import main
from pancreasseg.io.dicom_slices import lenient

pytestmark = pytest.mark.real_data
_FOLDER = Path(os.environ.get("PANCREASSEG_TEST_DATA", ""), "cases")


@dataclass
class Told:
    """What one run of the command line said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.out)
        return said

    @property
    def remarks(self) -> list[str]:
        """Codes of what is more than information."""
        return [finding["code"] for finding in self.json["findings"] if finding["severity"] != "info"]


@dataclass
class Bench:
    """The input of a case, an output folder, and the command line."""

    input: Path
    output: Path
    capture: pytest.CaptureFixture[str]

    def run(self, command: str, *words: object) -> Told:
        """``input`` and ``out`` stand for the folders of the case."""
        code = main([*self._words(command), *map(str, words)])
        said = self.capture.readouterr()
        assert "Traceback" not in said.err
        assert "1.2.826" not in said.err, "no identifier reaches standard error"
        return Told(code, said.out, said.err)

    def apart(self, command: str, redirected: str = "") -> int:
        """The same in a process of its own, with redirections of a shell."""
        words = " ".join(f'"{word}"' for word in [sys.executable, "-m", "pancreasseg", *self._words(command)])
        done = subprocess.run(
            ["bash", "-c", f"{words} {redirected}"], capture_output=True, text=True, check=False, timeout=300
        )
        assert "Traceback" not in done.stderr
        assert "1.2.826" not in done.stderr
        return done.returncode

    def table(self) -> dict[str, dict[str, str]]:
        with (self.output / "cohort.csv").open(newline="", encoding="utf-8") as file:
            return {row["ct"]: row for row in csv.DictReader(file)}

    def _words(self, command: str) -> list[str]:
        places = {"input": str(self.input), "out": str(self.output)}
        return ["/".join([places.get(first, first), *rest]) for first, *rest in (w.split("/") for w in command.split())]


def _header(folder: Path) -> pydicom.Dataset:
    return pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)


def _charset_with_code_extensions(bench: Bench) -> None:
    export = "export input/mask.nii.gz --volume input/ct --made manual"
    assert bench.run(f"{export} --check").code == 0
    assert bench.run(f"{export} --output out").code == 0
    ct = _header(bench.input / "ct")
    for name in ("pancreas.seg.dcm", "pancreas.rtstruct.dcm"):
        assert str(pydicom.dcmread(bench.output / name).PatientName) == str(ct.PatientName)


def _dates_and_sex(bench: Bench) -> None:
    export = "export input/mask.nii.gz --volume input/ct --made manual --json"
    assert "dicom-values-repaired" in bench.run(f"{export} --check").remarks
    assert bench.run(f"{export} --output out --format dicom-seg --format rtstruct").code == 0
    for name in ("pancreas.seg.dcm", "pancreas.rtstruct.dcm"):
        data = pydicom.dcmread(bench.output / name)
        assert data.PatientSex == data.PatientBirthDate == ""


def _no_slice_thickness(bench: Bench) -> None:
    export = "export input/mask.nii.gz --volume input/ct --made manual --json"
    told = bench.run(f"{export} --check")
    assert told.code == 0
    assert "dicom-no-slice-thickness" in [finding["code"] for finding in told.json["findings"]]
    assert bench.run(f"{export} --output out").code == 0
    shared = pydicom.dcmread(bench.output / "pancreas.seg.dcm").SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].SliceThickness == 5.0


def _values_with_backslash(bench: Bench) -> None:
    with lenient():
        for series in ("ct", "ct-two-names"):
            assert bench.run(f"export input/mask.nii.gz --volume input/{series} --made manual --output out").code == 0
            ct = _header(bench.input / series)
            for name in ("pancreas.seg.dcm", "pancreas.rtstruct.dcm"):
                data = pydicom.dcmread(bench.output / name)
                for keyword in ("PatientID", "PatientName", "StudyDescription"):
                    assert data.get(keyword) == ct.get(keyword)


def _offset_with_padding(bench: Bench) -> None:
    for ct in ("ct.nii.gz", "ct"):
        told = bench.run(f"measure input/mask.nii.gz --volume input/{ct} --json")
        assert told.code == 3
        assert told.json["error"]["code"] == "not-hu"


def _another_ct_under_one_name(bench: Bench) -> None:
    def slices() -> int:
        result = json.loads((bench.output / "p1" / "result.json").read_text(encoding="utf-8"))
        return int(result["input"]["geometry"]["size"][2])

    assert bench.run("batch input/first --output out").code == 0
    assert slices() == 24
    again = bench.run("batch input/first --output out")
    assert (again.code, bench.table()["p1"]["kept"]) == (0, "yes")
    assert "p1: kept" in again.err
    assert bench.run("batch input/second --output out").code == 0
    assert (slices(), bench.table()["p1"]["kept"]) == (20, "no")
    assert bench.run("batch input/broken --output out").code == 3
    assert bench.table()["p1"]["state"] == "failed"


def _name_that_is_not_utf8(bench: Bench) -> None:
    assert bench.run("batch input --output out").code == 0
    assert {name: row["state"] for name, row in bench.table().items()} == {"ok": "done", "pati\\xe9nt": "done"}


def _two_grids_in_one_file(bench: Bench) -> None:
    told = bench.run("localize input/ct.nii.gz --json")
    assert told.code == 3 or "positions-disagree" in told.remarks


def _two_phases_in_one_series(bench: Bench) -> None:
    told = bench.run("localize input/ct --json")
    assert told.code == 3 or "dicom-interleaved" in told.remarks


def _mask_outside(bench: Bench) -> None:
    for name in ("mask-no-origin", "mask-mirrored"):
        for command in (
            f"measure input/{name}.nii.gz --volume input/ct.nii.gz",
            f"export input/{name}.nii.gz --volume input/ct.nii.gz --made manual --output out",
        ):
            told = bench.run(f"{command} --json")
            assert told.code == 3 or [code for code in told.remarks if "mask" in code], command


def _one_of_two_series(bench: Bench) -> None:
    measure = "measure input/mask.nii.gz --volume input/ct"
    assert "Choose one" in bench.run(measure).err
    for series in ("1", "2", "thin"):
        assert bench.run(f"{measure} --series {series} --json").code == 0
    assert bench.run(f"{measure} --series 3").code == 3


def _enhanced_in_other_units(bench: Bench) -> None:
    for folder in ("ct", "single"):
        told = bench.run(f"localize input/{folder} --json")
        assert (told.code, told.json["error"]["code"]) == (3, "not-hu")
    assert bench.run("localize input/rle --json").code == 0


def _without_preamble(bench: Bench) -> None:
    for folder in ("starts-0008-0016", "meta-no-preamble"):
        assert bench.run(f"localize input/{folder}").code == 0


def _closed_streams(bench: Bench) -> None:
    for number, (redirected, codes) in enumerate({"2>&-": {0}, "--json >/dev/full": {0, 5}, ">&-": {0}}.items()):
        assert bench.apart(f"segment input/ct.nii.gz --output out/{number}", redirected) in codes
        assert (bench.output / str(number) / "result.json").is_file()


def _pipe_and_links(bench: Bench) -> None:
    assert bench.apart("localize input/ct") == 0
    told = bench.run("localize input/links")
    assert told.code == 0 or "link" in told.err


def _another_series(bench: Bench) -> None:
    for series, kept in ((1, "no"), (2, "no"), (2, "yes")):
        assert bench.run(f"batch input/ct --series {series} --output out").code == 0
        row = bench.table()["ct"]
        assert (row["state"], row["kept"]) == ("done", kept)
        record = json.loads((bench.output / "ct" / "batch.json").read_text(encoding="utf-8"))
        assert record["settings"]["series"] == series


CASES: dict[str, Callable[[Bench], None]] = {
    "01-seg-charset-empty-first": _charset_with_code_extensions,
    "02-seg-dates-and-sex": _dates_and_sex,
    "03-seg-no-slice-thickness": _no_slice_thickness,
    "05-rtstruct-values-with-backslash": _values_with_backslash,
    "06-hu-offset-with-padding": _offset_with_padding,
    "07-batch-keeps-old-result": _another_ct_under_one_name,
    "08-batch-name-not-utf8": _name_that_is_not_utf8,
    "09-sform-and-qform-disagree": _two_grids_in_one_file,
    "11-two-phases-half-a-step-apart": _two_phases_in_one_series,
    "13-mask-mostly-outside-the-ct": _mask_outside,
    "14-measure-has-no-series": _one_of_two_series,
    "15-enhanced-not-hu": _enhanced_in_other_units,
    "16-dicom-without-preamble": _without_preamble,
    "20-closed-streams": _closed_streams,
    "25-fifo-and-links-in-folder": _pipe_and_links,
    "29-batch-other-series": _another_series,
}


def _all_cases() -> list[str]:
    there = [path.name for path in _FOLDER.iterdir() if (path / "make.py").is_file()] if _FOLDER.is_dir() else []
    return sorted({*CASES, *there})


@pytest.mark.skipif(os.name != "posix", reason="the cases need names, pipes and links of POSIX")
@pytest.mark.parametrize("name", _all_cases())
def test_a_case_is_as_it_should_be(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = _FOLDER / name / "make.py"
    if not script.is_file():
        pytest.skip("PANCREASSEG_TEST_DATA names no folder with this case")
    if name not in CASES:
        pytest.skip("nobody has written down here what is right for this case")
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    subprocess.run([sys.executable, str(script), str(tmp_path / "input")], check=True, capture_output=True, timeout=120)
    CASES[name](Bench(tmp_path / "input", tmp_path / "out", capsys))

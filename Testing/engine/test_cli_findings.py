"""What is odd about a CT and its masks is shown by every command that reads them."""

import json

import numpy as np
import pytest
from Testing.helpers.ct_files import SHAPE, a_ct, write_image

from pancreasseg.cli.main import main
from pancreasseg.core import Geometry
from pancreasseg.io.read import read_volume


@pytest.fixture
def files(tmp_path):
    """A CT with slices 7.5 mm apart, a mask, and one that ends above the CT."""
    thick = Geometry(SHAPE[::-1], (2.0, 2.5, 7.5), (-31.5, 12.25, 100.75))
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:10, 6:14, 5:12] = 1
    higher = Geometry(thick.size, thick.spacing, (-31.5, 12.25, 100.75 + 4 * 7.5))
    return {
        "ct": str(write_image(tmp_path / "ct.nii.gz", a_ct(), thick)),
        "mask": str(write_image(tmp_path / "mask.nii.gz", mask, thick)),
        "higher": str(write_image(tmp_path / "higher.nii.gz", mask, higher)),
        "out": str(tmp_path / "out"),
    }


def codes(capsys) -> list[str]:
    return [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]]


def test_measure_shows_the_findings_of_the_ct(files, capsys) -> None:
    assert main(["measure", files["mask"], "--volume", files["ct"]]) == 0
    assert "7.5 mm apart" in capsys.readouterr().out
    assert main(["measure", files["mask"], "--volume", files["ct"], "--json"]) == 0
    assert codes(capsys).count("spacing-above-5-mm") == 1


@pytest.mark.parametrize("command", ["measure", "export"])
def test_a_mask_on_something_else_than_a_pancreas_is_told(files, tmp_path, capsys, command) -> None:
    air = write_image(
        tmp_path / "air.nii.gz", np.where(a_ct() > -500, -1000, a_ct()), read_volume(files["ct"]).geometry
    )
    more = ["--format", "nifti", "--output", files["out"]] if command == "export" else []
    volume = str(air)
    assert main([command, files["mask"], "--volume", volume, "--allow", "air-only", "--json", *more]) == 0
    assert "mean-hu-implausible" in codes(capsys)


def test_an_empty_mask_is_told(files, tmp_path, capsys) -> None:
    empty = write_image(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8), read_volume(files["ct"]).geometry)
    assert main(["measure", str(empty), "--volume", files["ct"], "--json"]) == 0
    assert "mask-empty" in codes(capsys)


@pytest.mark.parametrize("option", ["--series", "--label", "--reference-label"])
def test_a_number_of_thousands_of_digits_is_a_name_that_nothing_has(files, capsys, option) -> None:
    command = ["measure", files["mask"], "--volume", files["ct"], "--reference", files["mask"], option, "9" * 5000]
    assert main(command) in (0, 3)  # a file has no series to choose from
    assert len(capsys.readouterr().err) < 500


@pytest.mark.parametrize("name", ["x" * 300, "nul\0.nii.gz"])
@pytest.mark.parametrize("command", ["segment", "localize", "measure", "export", "batch"])
def test_a_path_that_no_file_can_have_is_refused(files, capsys, command, name) -> None:
    words = ["--volume", name] if command in ("measure", "export") else []
    given = files["mask"] if words else name
    more = ["--output", files["out"]] if command in ("segment", "export", "batch") else []
    assert main([command, given, *words, *more]) == 3
    assert "should not have" not in capsys.readouterr().err


def test_measure_tells_how_much_of_mask_and_reference_lies_outside(files, capsys) -> None:
    command = ["measure", files["higher"], "--volume", files["ct"], "--reference", files["higher"], "--json"]
    assert main(command) == 0
    shown = codes(capsys)
    assert "mask-outside" in shown
    assert "reference-outside" in shown


def test_export_shows_them_too(files, capsys) -> None:
    command = ["export", files["higher"], "--volume", files["ct"], "--format", "nifti", "--output", files["out"]]
    assert main([*command, "--json"]) == 0
    assert {"spacing-above-5-mm", "mask-outside"} <= set(codes(capsys))

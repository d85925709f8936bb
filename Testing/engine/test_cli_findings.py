"""What is odd about a CT and its masks is shown by every command that reads them."""

import json

import numpy as np
import pytest
from Testing.helpers.ct_files import SHAPE, a_ct, write_image

from pancreasseg.cli.main import main
from pancreasseg.core import Geometry


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

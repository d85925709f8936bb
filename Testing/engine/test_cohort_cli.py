"""``pancreasseg data`` from the command line."""

import json

from Testing.helpers.easy_cohort import easy_cohort

from pancreasseg.cli.main import main
from pancreasseg.lab.cohorts import Cohort


def test_command_line_makes_phantoms_and_prepares_them(tmp_path, capsys):
    source, out = str(tmp_path / "source"), str(tmp_path / "out")
    assert main(["data", "phantoms", "--cases", "2", "--output", source, "--spacing", "6", "6", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == ["0001", "0082"]
    assert main(["data", "prepare", "nih", source, "--output", out, "--spacing", "8"]) == 0
    text = capsys.readouterr().out
    assert "2 cases" in text
    assert "report.md" in text
    assert len(Cohort.open(out).cases) == 2
    assert main(["data", "prepare", "nih", source, "--output", out, "--spacing", "thick"]) == 3
    assert "'thick' is no voxel size" in capsys.readouterr().err


def test_a_fold_that_is_not_there_is_refused_by_every_command_that_takes_one(tmp_path, capsys):
    cohort = str(easy_cohort(tmp_path).folder)
    for command in (
        ["train", "unet-single", "--fold", "3"],
        ["reproduce", "unet-single", "--folds", "1", "3"],
        ["evaluate", "pancreas-ct", "--fold", "3"],
    ):
        assert main([*command, "--data", cohort, "--output", str(tmp_path / "out")]) == 3
        assert "There is no fold 3; this cohort has the folds 1 to 2." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

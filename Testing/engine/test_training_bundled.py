"""The bundled package, and the commands that train one on phantoms alone and measure it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.lab.cohorts import Sample
from pancreasseg.lab.training import bundled, evaluate
from pancreasseg.lab.training import cases as making
from pancreasseg.lab.training.cases import COARSE, FINE
from pancreasseg.lab.training.recipes.recipe import Part
from pancreasseg.models.package import ModelPackage

PACKAGE = Path(__file__).parents[2] / "PancreasSeg" / "Resources" / "Models" / "pancreas-ct"


def test_the_bundled_package_is_whole_small_and_says_what_it_is_not_for() -> None:
    package = ModelPackage(PACKAGE)
    package.verify()
    assert package.card.weights.size < 10_000_000
    assert [network.role for network in package.card.networks] == ["localizer", "segmenter"]
    assert not package.card.synthetic
    assert package.card.licence == "CC BY-SA 4.0"
    assert any("unenhanced" in text for text in package.card.not_for)
    assert {figure.metric for figure in package.card.figures} == {"DSC", "DSC, median", "DSC, lowest"}
    assert package.card.expected_overlap.cases > 50


def test_the_bundled_package_segments_an_unseen_phantom(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(evaluate, "SCANS", {"coarse": (2.0, 2.0, 3.0)})
    scores = tmp_path / "scores.csv"
    assert evaluate.main([str(PACKAGE), "--patients", "1", "--pipeline", "fast", "--csv", str(scores)]) == 0
    with scores.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["dsc"]) > 0.8
    assert float(row["recall"]) > 0.95
    assert "1 patients: mean DSC 0." in capsys.readouterr().out


def ball(seed: int) -> Sample:
    z, y, x = np.indices((20, 20, 20)) - 9.5
    inside = np.sqrt(z**2 + y**2 + x**2) < 5
    hu = np.where(inside, 100, -100) + np.random.default_rng(seed).normal(0, 10, inside.shape)
    return Sample(hu.astype(np.int16), (255 * inside).astype(np.uint8), Geometry((20, 20, 20)))


def test_the_command_trains_both_networks_and_exports_them_with_their_documents(monkeypatch, tmp_path: Path) -> None:
    cases, output = tmp_path / "cases", tmp_path / "output"
    monkeypatch.setattr(making, "MAKERS", {COARSE: ball, FINE: ball})
    for grid in (COARSE, FINE):
        for seed in range(3):
            making.make(cases, grid, seed)
    real = bundled.parts

    def toys(*steps: int) -> list[Part]:
        return [
            replace(part, arguments={"channels": [4, 8]}, sampling=replace(part.sampling, size=(16, 16, 16)))
            for part in real(*steps)
        ]

    monkeypatch.setattr(bundled, "parts", toys)
    monkeypatch.setattr(bundled, "HELD_OUT", frozenset({2}))
    common = ["--output", str(output), "--cases", str(cases), "--localizer-steps", "3", "--segmenter-steps", "4"]
    assert bundled.main([*common, "--patients", "0"]) == 0
    scores = tmp_path / "scores.csv"
    scores.write_text("seed,dsc\n1,0.9\n2,0.8\n")
    package, documents = tmp_path / "package", tmp_path / "documents"
    made = ["--export", str(package), "--scores", str(scores), "--documents", str(documents)]
    assert bundled.main([*common, *made]) == 0
    card = ModelPackage(package).card
    assert [(f.metric, f.value) for f in card.figures] == [("DSC", 0.85), ("DSC, lowest", 0.8)]
    assert card.training["cases"] == 2
    recipe = json.loads((documents / "recipe.json").read_text())
    assert (recipe["localizer"]["steps"], recipe["segmenter"]["steps"]) == (3, 4)
    assert recipe["localizer"]["operating_point"] == bundled.OPERATING_POINTS["localizer"]
    assert "Not for patients" in (documents / "card.md").read_text()
    for name in ("localizer-training.csv", "segmenter-training.csv", "evaluation.csv", "training.png"):
        assert (documents / name).stat().st_size > 0


def test_training_without_cases_stops_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training cases"):
        bundled.main(["--output", str(tmp_path), "--patients", "0", "--only", "localizer"])

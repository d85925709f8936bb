"""The way from trained weights to a package."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pancreasseg import networks
from pancreasseg.inference.load import load_networks
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.export import export, figures
from pancreasseg.models.package import ModelPackage


def test_the_exported_package_computes_what_was_trained(tmp_path: Path) -> None:
    part = recipes.get("unet-single").part("segmenter")
    part = replace(part, arguments={"channels": [4, 8]}, mean=0.5, deviation=0.5)
    torch.manual_seed(0)
    trained = networks.build(part.network, **part.network_arguments)
    card = {
        "name": "toy", "version": "1", "title": "Toy", "description": "", "pipeline": "single-stage",
        "networks": [part.card()], "contrast_phase": "portal-venous", "intended_use": "tests",
        "not_for": ["patients"], "training": {}, "figures": [], "licence": "Apache-2.0", "citation": "",
    }  # fmt: skip
    export(tmp_path / "toy", card, {part.role: trained.state_dict()})
    package = ModelPackage(tmp_path / "toy")
    entry = package.card.network("segmenter")
    (network,) = load_networks(package, entry)
    assert entry.preprocessing.normalise(np.array([-500.0, -100.0, 70.0, 240.0])).tolist() == pytest.approx(
        [-1, -1, 0, 1], abs=1e-6
    )
    values = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(values), trained.eval()(values), atol=0.03, rtol=0.03)


def test_figures_are_means_with_their_spread_and_the_lowest() -> None:
    rows = figures({"DSC": np.array([0.8, 0.9]), "coarse DSC": np.array([])}, "two balls", 2, "python balls")
    assert [(row["metric"], row["value"], row["sd"]) for row in rows] == [
        ("DSC", 0.85, 0.0707),
        ("DSC, lowest", 0.8, None),
    ]
    (single, _) = figures({"DSC": np.array([0.8])}, "a ball", 1, "")
    assert single["sd"] is None

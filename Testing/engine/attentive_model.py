"""A model package whose network has attention gates, and which calls every voxel above 120 HU pancreas."""

from pathlib import Path

import torch
from Testing.engine.bright_model import THRESHOLD_HU
from torch import nn

from pancreasseg import networks
from pancreasseg.models.package import ModelPackage, write_package

ARGUMENTS = {"channels": [2, 3, 4, 4], "heads": 2}
NAMES = tuple(f"level-{level}-{kind}" for level in (1, 2) for kind in ("mean", "head-1", "head-2"))


def write_attentive_model(home: Path, name: str = "attentive") -> ModelPackage:
    """The package in a store's folder ``home``: a sliding window at 2 mm; random gates, the same ones every time."""
    card = {
        "name": name,
        "version": "1.0.0",
        "title": "Bright voxels, with attention gates",
        "description": "Calls every bright voxel pancreas, whatever its gates look at.",
        "pipeline": "single-stage",
        "networks": [
            {
                "role": "segmenter",
                "network": "attention-unet",
                "arguments": ARGUMENTS,
                "members": ["segmenter"],
                "classes": ["background", "pancreas"],
                "pancreas": 1,
                "preprocessing": {
                    "orientation": "LPS",
                    "array_axes": "kji",
                    "spacing_mm": [2.0, 2.0, 2.0],
                    "size": None,
                    "window_hu": [0, 200],
                    "scale": 1 / 200,
                    "shift": 0,
                    "patch": [48, 48, 48],
                },
            }
        ],
        "contrast_phase": "any",
        "intended_use": "tests",
        "not_for": ["patients"],
        "training": {"data": "none", "licence": "none", "cases": 0},
        "figures": [],
        "licence": "Apache-2.0",
        "citation": "",
    }
    tensors = {f"segmenter.{key}": value for key, value in _network().state_dict().items()}
    return write_package(home / "models" / name, card, tensors)


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = networks.build("attention-unet", **ARGUMENTS)
    slope = 40.0  # the logit of pancreas against background
    with torch.no_grad():
        for block in (network.encoder[0], network.decoder[0]):
            for layer in block:  # the first channel is the CT itself
                layer.conv.weight[0] = 0
                layer.conv.weight[0, 0, 1, 1, 1] = 1
        network.heads[0].weight.zero_()
        network.heads[0].weight[1, 0] = slope
        network.heads[0].bias[1] = -slope * THRESHOLD_HU / 200
        network.fuse.weight.zero_()
        for number in range(2):
            network.fuse.weight[number, number] = 1
    return network.eval()

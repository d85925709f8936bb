"""Small model packages for tests."""

import copy
from pathlib import Path
from typing import Any

import torch

from pancreasseg import networks
from pancreasseg.models.package import ModelPackage, write_package

ARGUMENTS = {"channels": [2, 3], "norm": "batch"}

CARD: dict[str, Any] = {
    "name": "tiny-model",
    "version": "1.0.0",
    "title": "Tiny",
    "description": "",
    "pipeline": "single-stage",
    "networks": [
        {
            "role": "segmenter",
            "network": "unet3d",
            "arguments": ARGUMENTS,
            "members": ["one", "two"],
            "classes": ["background", "pancreas"],
            "pancreas": 1,
            "preprocessing": {
                "orientation": "LPS",
                "array_axes": "kji",
                "spacing_mm": [2, 2, 2],
                "size": None,
                "window_hu": [-100, 240],
                "scale": 0.01,
                "shift": -0.5,
                "patch": [32, 32, 16],
            },
        }
    ],
    "contrast_phase": "portal-venous",
    "intended_use": "tests",
    "not_for": ["patients"],
    "training": {"data": "none", "licence": "none", "cases": 0},
    "figures": [{"metric": "DSC", "value": 0.5, "sd": None, "data": "none", "cases": None}],
    "licence": "Apache-2.0",
    "citation": "",
}


def card(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CARD), **changes}


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        f"{member}.{key}": value
        for member in ("one", "two")
        for key, value in networks.build("unet3d", **ARGUMENTS).state_dict().items()
    }


def write_tiny(folder: Path, seed: int = 0, **changes: Any) -> ModelPackage:
    return write_package(folder, card(**changes), tensors(seed))

"""Small model packages for tests."""

import copy
from pathlib import Path
from typing import Any

import torch
from Testing.helpers.model_cards import card_of, network_entry, preprocessing

from pancreasseg import networks
from pancreasseg.models.package import ModelPackage, write_package

ARGUMENTS = {"channels": [2, 3], "norm": "batch"}

CARD = card_of(
    network_entry(
        "segmenter",
        arguments=ARGUMENTS,
        members=["one", "two"],
        preprocessing=preprocessing(window_hu=[-100, 240], scale=0.01, shift=-0.5, patch=[32, 32, 16]),
    ),
    name="tiny-model",
    title="Tiny",
    pipeline="single-stage",
    contrast_phase="portal-venous",
    figures=[{"metric": "DSC", "value": 0.5, "sd": None, "data": "none", "cases": None}],
)


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

"""A model package whose network has attention gates, and which calls every voxel above 120 HU pancreas."""

from pathlib import Path

import numpy as np
import torch
from Testing.helpers.bright_model import THRESHOLD_HU, a_patient
from Testing.helpers.model_cards import card_of, network_entry
from torch import nn

from pancreasseg import networks
from pancreasseg.core import Geometry, Volume
from pancreasseg.models.package import ModelPackage, write_package

ARGUMENTS = {"channels": [2, 3, 4, 4], "heads": 2}
NAMES = tuple(f"level-{level}-{kind}" for level in (1, 2) for kind in ("mean", "head-1", "head-2"))


def a_small_patient(spacing: tuple[float, float, float] = (2.0, 2.0, 4.0)) -> Volume:
    """The middle of `bright_model.a_patient`: the network sees it in one patch."""
    volume, _ = a_patient(spacing)
    return Volume(np.ascontiguousarray(volume.array[9:29, 8:52, 18:66]), Geometry((48, 44, 20), spacing))


def write_attentive_model(home: Path, name: str = "attentive") -> ModelPackage:
    """The package in a store's folder ``home``: a sliding window at 2 mm; random gates, the same ones every time."""
    card = card_of(
        network_entry("segmenter", network="attention-unet", arguments=ARGUMENTS),
        name=name,
        title="Bright voxels, with attention gates",
        description="Calls every bright voxel pancreas, whatever its gates look at.",
        pipeline="single-stage",
    )
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

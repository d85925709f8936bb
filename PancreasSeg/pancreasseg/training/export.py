"""From trained weights to the bundled model package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pancreasseg.models.package import ModelPackage, write_package
from pancreasseg.training.trainer import Recipe, Trainer


def network_entry(recipe: Recipe) -> dict[str, Any]:
    """The entry of a trained network in ``model.json``."""
    return {
        "role": recipe.role,
        "network": recipe.network,
        "arguments": recipe.arguments,
        "members": [recipe.role],
        "classes": ["background", "pancreas"],
        "pancreas": 1,
        "preprocessing": {
            "orientation": "LPS",
            "array_axes": "kji",
            "spacing_mm": [recipe.spacing_mm] * 3,
            "size": None,
            "window_hu": list(recipe.window_hu),
            "scale": recipe.scale,
            "shift": recipe.shift,
            "patch": list(recipe.patch),
        },
    }


def export(folder: Path, card: dict[str, Any], trainers: Sequence[Trainer]) -> ModelPackage:
    """Write a package with the averaged weights of several networks, in half precision.

    Args:
        folder: of the package; replaced when there is one.
        card: everything but ``networks``, ``format`` and ``weights``.
        trainers: one a network.
    """
    networks = [network_entry(trainer.recipe) for trainer in trainers]
    tensors = {
        f"{trainer.recipe.role}.{key}": value.to(torch.float16) if value.is_floating_point() else value
        for trainer in trainers
        for key, value in trainer.average.state_dict().items()
    }
    return write_package(folder, {**card, "networks": networks}, tensors)

"""From trained weights to a model package, and to the page of facts that is kept about it."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
        for key, value in at_operating_point(trainer).items()
    }
    return write_package(folder, {**card, "networks": networks}, tensors)


def at_operating_point(trainer: Trainer) -> dict[str, Tensor]:
    """The averaged weights, with the head's bias moved so that the recipe's operating point comes out as one half."""
    weights = {key: value.clone() for key, value in trainer.average.state_dict().items()}
    point = trainer.recipe.operating_point
    weights["heads.0.bias"][1] += math.log((1 - point) / point)
    return weights


def figures(scores: Path, data: str, command: str) -> list[dict[str, Any]]:
    """Figures for a card from the scores that ``pancreasseg.training.evaluate --csv`` wrote."""
    with scores.open(newline="", encoding="utf-8") as file:
        dsc = np.array([float(row["dsc"]) for row in csv.DictReader(file)])
    cases = len(dsc)
    spread = round(float(dsc.std(ddof=1)), 4) if cases > 1 else None
    return [
        {
            "metric": metric, "value": round(float(value), 4), "sd": sd, "data": data, "cases": cases, "note": command,
        }
        for metric, value, sd in (("DSC", dsc.mean(), spread), ("DSC, lowest", dsc.min(), None))
    ]  # fmt: skip


def document(folder: Path, trainers: Sequence[Trainer], package: ModelPackage, scores: Path | None) -> None:
    """Keep what is known about shipped weights: recipe, logs, learning curves, scores and the card as text."""
    folder.mkdir(parents=True, exist_ok=True)
    recipes = {trainer.recipe.role: recipe_facts(trainer) for trainer in trainers}
    (folder / "recipe.json").write_text(json.dumps(recipes, indent=2) + "\n", encoding="utf-8")
    for trainer in trainers:
        shutil.copyfile(trainer.log, folder / f"{trainer.recipe.role}-training.csv")
    if scores is not None:
        shutil.copyfile(scores, folder / "evaluation.csv")
    draw_curves(folder / "training.png", trainers)
    (folder / "card.md").write_text(card_text(package), encoding="utf-8")


def recipe_facts(trainer: Trainer) -> dict[str, Any]:
    """The settings of a recipe and how far it was trained, for JSON."""
    recipe = trainer.recipe
    return {
        "network": recipe.network,
        "arguments": recipe.arguments,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "spacing_mm": recipe.spacing_mm,
        "window_hu": list(recipe.window_hu),
        "steps": trainer.step,
        "cases_a_step": 1,
        "loss": "soft Dice + cross entropy",
        "optimiser": "AdamW",
        "learning_rate": recipe.learning_rate,
        "schedule": f"{recipe.warm_up} steps of warm-up, then cosine to zero over {recipe.steps} steps",
        "weight_decay": recipe.weight_decay,
        "averaging": recipe.averaging,
        "seed": recipe.seed,
        "operating_point": recipe.operating_point,
        "precision": "bf16" if trainer.bf16 else "f32",
    }


def draw_curves(path: Path, trainers: Sequence[Trainer]) -> None:
    """Loss and validation DSC over the steps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(trainers), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, trainer in zip(figure.subplots(1, len(trainers), squeeze=False)[0], trainers, strict=True):
        with trainer.log.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        steps = [int(row["step"]) for row in rows]
        axes.plot(steps, [float(row["loss"]) for row in rows], color="tab:gray", marker=".", label="training loss")
        axes.plot(steps, [float(row["validation_dsc"]) for row in rows], marker=".", label="validation DSC")
        axes.set_ylim(0, 1.4)
        axes.set_xlabel("step")
        axes.set_title(trainer.recipe.role)
        axes.legend()
    figure.savefig(path, dpi=90)


def card_text(package: ModelPackage) -> str:
    """A card as a page of Markdown."""
    card = package.card
    lines = [
        f"# {card.title} ({card.name} {card.version})",
        "",
        card.description,
        "",
        f"**Intended use.** {card.intended_use}",
        "",
        "**Not for**",
        "",
        *(f"- {text}" for text in card.not_for),
        "",
        "**Training**",
        "",
        *(f"- {key}: {value}" for key, value in card.training.items()),
        "",
        "**Figures**",
        "",
        "| metric | value | sd | cases | data | measured with |",
        "|---|---|---|---|---|---|",
        *(
            f"| {f.metric} | {f.value} | {'' if f.sd is None else f.sd} | {f.cases} | {f.data} | `{f.note}` |"
            for f in card.figures
        ),
        "",
        f"Licence {card.licence}. Weights: {card.weights.size} bytes, SHA256 `{card.weights.sha256}`.",
    ]
    return "\n".join(lines) + "\n"

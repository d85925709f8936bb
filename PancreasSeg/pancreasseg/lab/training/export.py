"""From trained weights to a model package, its figures and curves, and the page of facts that is kept about it."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pancreasseg.io.atomic import atomic_write
from pancreasseg.models.package import ModelPackage, write_package

if TYPE_CHECKING:
    from pancreasseg.lab.training.loop import Loop
    from pancreasseg.lab.training.part import PartLoop


def export(folder: Path, card: Mapping[str, Any], networks: Mapping[str, Mapping[str, Tensor]]) -> ModelPackage:
    """Write a package with the weights of several networks, in half precision.

    Args:
        folder: of the package; replaced when there is one.
        card: everything but ``format`` and ``weights``.
        networks: weights by member.

    Raises:
        ModelError: the card is not valid.
        OutputError: the folder cannot be written.
    """
    tensors = {
        f"{member}.{key}": value.to(torch.float16) if value.is_floating_point() else value
        for member, weights in networks.items()
        for key, value in weights.items()
    }
    return write_package(folder, card, tensors)


def at_operating_point(weights: Mapping[str, Tensor], point: float) -> dict[str, Tensor]:
    """Weights of a 3D U-Net for two classes, with the bias moved so that this probability comes out as one half."""
    moved = {key: value.clone() for key, value in weights.items()}
    moved["heads.0.bias"][1] += math.log((1 - point) / point)
    return moved


def figures(columns: Mapping[str, np.ndarray], data: str, cases: int, command: str) -> list[dict[str, Any]]:
    """What was measured, as a card's figures: means with their sd, and the lowest DSC.

    Args:
        columns: values of the cases by metric, "DSC" among them; empty ones are left out.
        data: what was measured on.
        cases: how many there were.
        command: that measured it.
    """
    rows = []
    for metric, values in columns.items():
        if len(values):
            spread = round(float(values.std(ddof=1)), 4) if len(values) > 1 else None
            rows.append((metric, float(values.mean()), spread))
    rows.append(("DSC, lowest", float(columns["DSC"].min()), None))
    return [
        {"metric": metric, "value": round(value, 4), "sd": sd, "data": data, "cases": cases, "note": command}
        for metric, value, sd in rows
    ]


def draw_curves(path: Path, loops: Sequence[Loop]) -> None:
    """Loss and watched DSC over the steps of every network, as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(loops), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, loop in zip(figure.subplots(1, len(loops), squeeze=False)[0], loops, strict=True):
        with loop.log.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        steps = [int(row["step"]) for row in rows]
        axes.plot(steps, [float(row["loss"]) for row in rows], color="tab:gray", marker=".", label="training loss")
        axes.plot(steps, [float(row["score"]) for row in rows], marker=".", label="DSC of watched cases")
        axes.set_xlabel("step")
        axes.set_title(loop.name)
        axes.legend()
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=90, format="png")


def document(
    folder: Path,
    loops: Sequence[PartLoop],
    package: ModelPackage,
    scores: Path | None,
    operating_points: Mapping[str, float],
) -> None:
    """Keep what is known about shipped weights: settings, logs, learning curves, scores and the card as text."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {loop.name: {**settings(loop), "operating_point": operating_points[loop.name]} for loop in loops}
    (folder / "recipe.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for loop in loops:
        shutil.copyfile(loop.log, folder / f"{loop.name}-training.csv")
    if scores is not None:
        shutil.copyfile(scores, folder / "evaluation.csv")
    draw_curves(folder / "training.png", loops)
    (folder / "card.md").write_text(card_text(package), encoding="utf-8")


def settings(loop: PartLoop) -> dict[str, Any]:
    """The settings of a network and how far it was trained, for JSON."""
    return {
        **asdict(loop.part),
        "parameters": sum(p.numel() for p in loop.network.parameters()),
        "steps": loop.step,
        "precision": loop.hardware.precision,
    }


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

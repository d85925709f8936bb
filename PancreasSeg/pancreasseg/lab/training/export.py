"""From trained weights to a model package, its figures and curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pancreasseg.io.atomic import atomic_write
from pancreasseg.models.package import ModelPackage, write_package

if TYPE_CHECKING:
    from pancreasseg.lab.training.loop import Loop


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

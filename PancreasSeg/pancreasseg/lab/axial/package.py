"""From a checkpoint to the package that ships: one network in two roles, and what is to be said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pancreasseg.lab.axial.cases import CLASSES, PANCREAS, WINDOW_HU
from pancreasseg.lab.axial.evaluation import Calibration
from pancreasseg.lab.training.export import export
from pancreasseg.models.package import ModelPackage

NAME = "pancreas-ct"
MEMBER = "axial"
#: Pixels and slices of the two looks (mm): the whole body coarsely, then the box.
LOCALIZER_MM, SEGMENTER_MM = (2.0, 2.0, 6.0), (1.5, 1.5, 2.5)
NEIGHBOURS_MM = (-10.0, -5.0, 0.0, 5.0, 10.0)
CONTEXT_MM = 30.0
#: Settings of the pipeline "fast"; why each is as it is says Resources/models/pancreas-ct/README.md.
OPTIONS: dict[str, Any] = {"threshold": 0.5, "margin_mm": 25.0, "join_mm": 10.0}

TERMS = {
    "NIH Pancreas-CT, single slices of 61 patients": (
        "CC BY 3.0; Roth et al. 2016, The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2016.tNB1kqBU"
    ),
    "Medical Segmentation Decathlon, Task07 pancreas, slabs of 48 patients": (
        "CC BY-SA 4.0; Antonelli et al. 2022, Nature Communications 13:4128"
    ),
    "multi-organ label maps of 9 of the NIH patients": (
        "CC BY 4.0; Gibson et al. 2018, IEEE TMI 37:1822, doi:10.5281/zenodo.1169361"
    ),
    "two label maps of whole bodies": (
        "CC BY 4.0; Wasserthal et al. 2023, Radiology: AI 5:e230024, doi:10.5281/zenodo.6802613"
    ),
    "one CT of Pancreatic-CT-CBCT-SEG, organs labelled by OBELISK-Net": (
        "CC BY 4.0; Hong et al. 2021, The Cancer Imaging Archive, doi:10.7937/TCIA.ESHQ-4D90; weights MIT, Heinrich "
        "et al. 2019"
    ),
    "10 phantoms": "made by PancreasSeg",
}


def network(role: str, spacing: tuple[float, float, float], channels: list[int]) -> dict[str, Any]:
    """The card's entry of one of the two roles."""
    middle, half = (WINDOW_HU[1] + WINDOW_HU[0]) / 2, (WINDOW_HU[1] - WINDOW_HU[0]) / 2
    return {
        "role": role,
        "network": "axial-unet",
        "arguments": {"slices": len(NEIGHBOURS_MM), "classes": len(CLASSES), "channels": channels},
        "members": [MEMBER],
        "classes": list(CLASSES),
        "pancreas": PANCREAS,
        "preprocessing": {
            "orientation": "LPS",
            "array_axes": "kji",
            "spacing_mm": list(spacing),
            "size": None,
            "window_hu": list(WINDOW_HU),
            "scale": 1 / half,
            "shift": -middle / half,
            "patch": None,
            "own_slices": True,
            "neighbours_mm": list(NEIGHBOURS_MM),
            "context_mm": CONTEXT_MM,
        },
    }


def card(
    channels: list[int], figures: list[dict[str, Any]], steps: int, calibration: Calibration | None
) -> dict[str, Any]:
    """All of the card but its weights.

    Args:
        channels: widths of the network.
        figures: what was measured, as the card's entries.
        steps: of all trainings that led to the weights.
        calibration: of the expected overlap.
    """
    return {
        "name": NAME,
        "version": "2.0.0",
        "title": "Portal-venous CT, comes with PancreasSeg",
        "description": (
            "One small network that looks at slices and their neighbours: first at the whole body, then inside the "
            "box. It also tells seven other organs apart. It learned from single manually outlined slices and slabs "
            "of 109 patients."
        ),
        "pipeline": "fast",
        "options": OPTIONS,
        "synthetic": False,
        "contrast_phase": "portal-venous",
        "intended_use": (
            "Research: a first draft of the pancreas in abdominal CT, to be checked on every slice and corrected by a "
            "person."
        ),
        "not_for": [
            "diagnosis or treatment without a person's check",
            "unenhanced CT: not trained and not measured",
            "children, and after operations on the pancreas",
            "finding or measuring tumours: they are outlined as part of the organ",
        ],
        "training": {
            "data": "; ".join(TERMS),
            "licence": "; ".join(f"{data}: {terms}" for data, terms in TERMS.items()),
            "cases": 109,
            "recipe": f"python -m pancreasseg.lab.axial, {steps} steps of 8 crops; Resources/models/{NAME}",
        },
        "figures": figures,
        **({} if calibration is None else {"expected_overlap": vars(calibration)}),
        "networks": [
            network("localizer", LOCALIZER_MM, channels),
            network("segmenter", SEGMENTER_MM, channels),
        ],
        "licence": "CC BY-SA 4.0",
        "citation": "PancreasSeg; trained on NIH Pancreas-CT and the Medical Segmentation Decathlon",
    }


def write(
    folder: Path,
    checkpoint: Path,
    figures: list[dict[str, Any]],
    calibration: Calibration | None = None,
    steps: int | None = None,
) -> ModelPackage:
    """Write the package of a checkpoint's averaged weights, in half precision.

    Args:
        folder: of the package; replaced when there is one.
        checkpoint: what `Training.save` wrote.
        figures: for the card.
        calibration: of the expected overlap.
        steps: of all trainings; those of the checkpoint when not given.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    text = card(list(state["plan"]["channels"]), figures, steps or int(state["step"]), calibration)
    return export(folder, text, {MEMBER: state["mean"]})

"""ONNX and TorchScript files as model packages, with a small card that a person fills in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core.errors import ModelError
from pancreasseg.grids.conventions import Conventions
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.nnunet.results import read_json
from pancreasseg.models.package import ModelPackage, write_package

#: Endings, and the network that computes such a file.
KINDS = {".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".torchscript": "torchscript"}
#: What a person has to say about a network in a file. There may also be `OPTIONAL`.
EXAMPLE = {
    "name": "my-model",
    "classes": ["background", "pancreas"],
    "pancreas": "pancreas",
    "spacing_mm": [1.5, 1.5, 1.5],
    "orientation": "LPS",
    "window_hu": [-120, 240],
    "patch": [96, 96, 96],
}
#: role: "segmenter" or "localizer". parts: classes that belong to the pancreas. intensities: "z-score" where the CT's
#: own mean and deviation take the place of a window. scale, shift: where values are not window to 0..1.
OPTIONAL = (
    "role",
    "parts",
    "intensities",
    "scale",
    "shift",
    "version",
    "title",
    "contrast_phase",
    "training",
    "licence",
    "citation",
)
INTENSITIES = ("window", "z-score")
SIZE_LIMIT = 4 << 30
_ROW, _ROWS = 1024, 4096
#: As protobuf writes the key under which ONNX names another file.
_ELSEWHERE = b"\x0a\x08location"


def beside(path: Path) -> Path:
    """Where the card of a network in a file is looked for."""
    return path.with_suffix(".json")


def write_foreign(path: Path, folder: Path, choices: Choices) -> ModelPackage:
    """Write the package of an ONNX or TorchScript file.

    Args:
        path: the file.
        folder: of the package; made, or replaced.
        choices: among them the card; by default a JSON file of the same name beside it.

    Raises:
        ModelError: no card, one that lacks something, or a file that is no network.
        OutputError: the package cannot be written.
    """
    stated = choices.card or (beside(path) if beside(path).is_file() else None)
    if stated is None:
        raise ModelError(
            "no-card",
            f"{path.name} does not say what it was trained on, so a small card has to.",
            f"Write it as {beside(path).name} beside the file: {', '.join(EXAMPLE)}; there may also be "
            f"{', '.join(OPTIONAL)}. An example: {json.dumps(EXAMPLE)}",
        )
    if path.stat().st_size > SIZE_LIMIT:
        raise ModelError("bad-network-file", f"{path.name} is larger than any network.")
    given = read_json(stated)
    data = path.read_bytes()
    kind = KINDS[path.suffix.lower()]
    if kind == "onnx" and _ELSEWHERE in data:
        raise ModelError(
            "bad-network-file",
            f"{path.name} keeps its weights in other files, which are not opened.",
            "Export it as one file (save_as_external_data=False).",
        )
    rows = -(-len(data) // _ROW)
    shape = [-(-rows // _ROWS), min(rows, _ROWS), _ROW]
    packed = np.zeros(shape, dtype=np.uint8)
    packed.reshape(-1)[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    try:
        role = choices.role or given.get("role", "segmenter")
        card = _card(given, choices, kind, role, {"shape": shape, "length": str(len(data))})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            "bad-card", f"The card {stated.name} cannot be used: {what}.", f"It states {', '.join(EXAMPLE)}."
        ) from error
    return write_package(folder, card, {f"{role}.model": packed})


def _card(given: Mapping[str, Any], choices: Choices, kind: str, role: str, file: Mapping[str, Any]) -> dict[str, Any]:
    classes = [str(name) for name in given["classes"]]
    pancreas = classes.index(choices.pancreas or given["pancreas"])
    parts = given.get("parts", ()) if choices.parts is None else choices.parts
    network = {
        "role": role,
        "network": kind,
        "arguments": {**file, "classes": len(classes)},
        "members": [role],
        "classes": classes,
        "pancreas": pancreas,
        "organ": [pancreas, *(classes.index(name) for name in parts)],
        "preprocessing": {
            "orientation": choices.orientation or given["orientation"],
            "array_axes": "kji",
            "spacing_mm": list(given["spacing_mm"]),
            "size": None,
            "patch": list(given["patch"]),
            **_values(given),
        },
        "conventions": Conventions(order=1, intensities=_intensities(given)).as_dict(),
    }
    return {
        "name": choices.name or given["name"],
        "version": str(given.get("version", "1")),
        "title": str(given.get("title", given["name"])),
        "description": "TorchScript: carries code, which runs with the model." if kind == "torchscript" else "ONNX.",
        "pipeline": "fast",
        "networks": [network],
        "contrast_phase": given.get("contrast_phase", "any"),
        "intended_use": "Research: a first draft, to be checked and corrected by a person.",
        "not_for": ["diagnosis or treatment without a person's check"],
        "training": {"data": str(given.get("training", "not stated"))},
        "figures": [],
        "licence": str(given.get("licence", "not stated: ask the people who trained it")),
        "citation": str(given.get("citation", "")),
    }


def _intensities(given: Mapping[str, Any]) -> str:
    stated = given.get("intensities", INTENSITIES[0])
    if stated not in INTENSITIES:
        raise ValueError(f"intensities are {' or '.join(INTENSITIES)}")
    return str(stated)


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The way from HU to the network's values: a window to 0..1 unless scale and shift say otherwise."""
    if _intensities(given) != "window":
        return {"window_hu": None, "scale": 1.0, "shift": 0.0}
    low, high = (float(value) for value in given["window_hu"])
    scale = float(given.get("scale", 1 / (high - low) if high > low else 1.0))
    return {"window_hu": [low, high], "scale": scale, "shift": float(given.get("shift", -low * scale))}

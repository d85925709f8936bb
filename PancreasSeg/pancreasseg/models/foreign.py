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
#: What a person has to say about a network in a file; see `EXAMPLE`.
EXAMPLE = {
    "name": "my-model",
    "classes": ["background", "pancreas"],
    "pancreas": "pancreas",
    "spacing_mm": [1.5, 1.5, 1.5],
    "orientation": "LPS",
    "window_hu": [-120, 240],
    "patch": [96, 96, 96],
}
SIZE_LIMIT = 4 << 30
_ROW, _ROWS = 1024, 4096
#: As protobuf writes the key under which ONNX names another file.
_ELSEWHERE = b"\x0a\x08location"


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
    beside = path.with_suffix(".json")
    stated = choices.card or (beside if beside.is_file() else None)
    if stated is None:
        raise ModelError(
            "no-card",
            f"{path.name} does not say what it was trained on, so a small card has to.",
            f"Write it as {beside.name} beside the file: {', '.join(EXAMPLE)}, and scale and shift if values are not "
            f"window to 0..1. An example: {json.dumps(EXAMPLE)}",
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
    role = choices.role or "segmenter"
    try:
        card = _card(given, choices, kind, role, {"shape": shape, "length": str(len(data))})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            "bad-card", f"The card {stated.name} cannot be used: {what}.", f"It states {', '.join(EXAMPLE)}."
        ) from error
    return write_package(folder, card, {f"{role}.model": packed})


def _card(given: Mapping[str, Any], choices: Choices, kind: str, role: str, file: Mapping[str, Any]) -> dict[str, Any]:
    classes = [str(name) for name in given["classes"]]
    low, high = (float(value) for value in given["window_hu"])
    scale = float(given.get("scale", 1 / (high - low) if high > low else 1.0))
    network = {
        "role": role,
        "network": kind,
        "arguments": {**file, "classes": len(classes)},
        "members": [role],
        "classes": classes,
        "pancreas": classes.index(choices.pancreas or given["pancreas"]),
        "preprocessing": {
            "orientation": choices.orientation or given["orientation"],
            "array_axes": "kji",
            "spacing_mm": list(given["spacing_mm"]),
            "size": None,
            "window_hu": [low, high],
            "scale": scale,
            "shift": float(given.get("shift", -low * scale)),
            "patch": list(given["patch"]),
        },
        "conventions": Conventions(order=1).as_dict(),
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

"""From published checkpoints (``.pth``) to model packages.

A ``.pth`` file is a pickle. Only files whose SHA256 stands in the catalogue are opened, and those with PyTorch's
``weights_only`` loader, which runs no code from the file.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import ModelError
from pancreasseg.models import archive, catalogue
from pancreasseg.models.package import ModelPackage, write_package

SUFFIX = archive.CHECKPOINT


def recognise(paths: Iterable[Path]) -> dict[str, bytes]:
    """Read published checkpoints.

    Returns:
        The contents by published file name.

    Raises:
        ModelError: a file that the catalogue does not know, or knows with other contents.
    """
    found = {}
    for path in paths:
        data = path.read_bytes()
        published = catalogue.by_digest(hashlib.sha256(data).hexdigest())
        if published is None:
            raise _unknown(path, data)
        found[published.name] = data
    return found


def complete_entries(names: Iterable[str]) -> list[catalogue.Entry]:
    """The models of the catalogue that can be made from these published files, single networks and ensembles."""
    there = set(names)
    return [e for e in catalogue.entries().values() if {file.name for file in e.files.values()} <= there]


def convert(entry: catalogue.Entry, contents: dict[str, bytes], folder: Path) -> ModelPackage:
    """Write the package of a catalogue entry.

    Args:
        entry: the model.
        contents: verified checkpoints by published file name, as `recognise` returns them.
        folder: of the package; made, or replaced.

    Raises:
        ModelError: a checkpoint that does not fit its network.
        OutputError: the folder cannot be written.
    """
    from pancreasseg import networks

    facts = entry.card["networks"][0]
    tensors = {}
    for member, file in entry.files.items():
        # Through the network: old checkpoints lack counters that PyTorch adds on loading.
        network = networks.build(facts["network"], **facts["arguments"])
        try:
            network.load_state_dict(_read_checkpoint(file.name, contents[file.name]))
        except RuntimeError as error:
            raise ModelError("bad-checkpoint", f"{file.name} does not fit the network {facts['network']}.") from error
        for key, value in network.state_dict().items():
            tensors[f"{member}.{key}"] = value
    return write_package(folder, entry.card, tensors)


def _read_checkpoint(name: str, data: bytes) -> dict[str, Any]:
    import torch

    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError("bad-checkpoint", f"{name} is not a checkpoint that PyTorch can read.") from error
    return state  # with the metadata that PyTorch needs for old versions


def _unknown(path: Path, data: bytes) -> ModelError:
    published = catalogue.by_name(path.name)
    if published is None:
        return ModelError(
            "unknown-checkpoint",
            f"{path.name} is none of the published checkpoints that the catalogue knows.",
            "Other weights are installed as a package: a folder or zip with model.json and weights.safetensors.",
        )
    return ModelError(
        "wrong-hash",
        f"{path.name} is not the published file: it has {len(data)} of {published.size} bytes or was changed "
        "(SHA256 differs).",
        f"Fetch it again from {published.url}",
    )

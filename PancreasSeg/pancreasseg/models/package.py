"""A model package: a folder with ``model.json`` and ``weights.safetensors``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from pancreasseg.core.errors import ModelError
from pancreasseg.models.card import Card
from pancreasseg.models.files import plain_write_errors, replace_folder, sha256_of, staging

CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
#: A card is a page of text; anything larger is not one.
CARD_LIMIT = 1 << 20


@lru_cache(maxsize=32)
def _card(text: bytes) -> Card:
    """A card, checked once for each text: the panel asks for its models whenever anything changes."""
    return Card.from_json(text)


class ModelPackage:
    """A package on disk with its card read and checked; its weights are checked when they are read.

    Args:
        folder: with ``model.json`` and the weights.
        bundled: true for the read-only ones that come with the software.

    Raises:
        ModelError: no package there, or a card that is not valid.
    """

    def __init__(self, folder: Path, *, bundled: bool = False) -> None:
        self.folder = folder
        self.bundled = bundled
        path = folder / CARD_FILE
        try:
            if path.stat().st_size > CARD_LIMIT:
                raise ModelError("bad-card", f"The model card {path} is too large to be one.")
            text = path.read_bytes()
        except OSError as error:
            raise ModelError(
                "no-package",
                f"{folder} holds no model package: {CARD_FILE} cannot be read.",
                "Choose the folder that holds model.json and weights.safetensors.",
            ) from error
        self.card = _card(text)

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / self.card.weights.file

    def verify(self) -> None:
        """Compare the weights with the card: size, SHA256, a whole safetensors file with tensors of every member.

        Raises:
            ModelError: missing, cut short, changed, or of another model.
        """
        self._check_size()
        self._check_digest(sha256_of(self.weights))
        try:
            with safe_open(self.weights, framework="numpy") as file:
                prefixes = {key.split(".", 1)[0] for key in file.keys()}  # noqa: SIM118  (no mapping)
        except SafetensorError as error:
            raise broken_weights(self.card.name) from error
        absent = sorted({member for card in self.card.networks for member in card.members} - prefixes)
        if absent:
            raise ModelError(
                "weights-do-not-fit",
                f'The weights of the model "{self.card.name}" hold nothing for its member {absent[0]}.',
                "The card and the weights belong to different models; install the model again.",
            )

    def read_weights(self) -> bytes:
        """The weights file, verified: what is returned is what was hashed.

        Raises:
            ModelError: missing, cut short or changed.
        """
        self._check_size()
        data = self.weights.read_bytes()
        self._check_digest(hashlib.sha256(data).hexdigest())
        return data

    def _check_size(self) -> None:
        expected = self.card.weights.size
        try:
            found = self.weights.stat().st_size
        except OSError as error:
            raise ModelError(
                "weights-missing",
                f'The weights of the model "{self.card.name}" are missing: there is no {self.weights}.',
                "Install the model again.",
            ) from error
        if found != expected:
            raise ModelError(
                "weights-size",
                f'The weights of the model "{self.card.name}" have {found} bytes, but the card says {expected}.',
                "The file was cut short or replaced; install the model again.",
            )

    def _check_digest(self, digest: str) -> None:
        if digest != self.card.weights.sha256:
            raise ModelError(
                "wrong-hash",
                f'The weights of the model "{self.card.name}" are not those that the card describes (SHA256 differs).',
                "The file was damaged or changed; install the model again.",
            )


def broken_weights(name: str) -> ModelError:
    """The weights have the right hash and are still no safetensors file."""
    return ModelError(
        "bad-weights",
        f'The weights of the model "{name}" are not a whole safetensors file.',
        "Install the model again.",
    )


def write_package(folder: Path, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> ModelPackage:
    """Write a package; it appears whole or not at all, and replaces an older one only once it is verified.

    Args:
        folder: of the package; made, or replaced.
        card: as in ``model.json``; ``format`` and ``weights`` are filled in.
        tensors: torch tensors or numpy arrays by "<member>.<state-dict key>".

    Raises:
        ModelError: the card is not valid.
        OutputError: the folder cannot be written.
    """
    data = _serialise(tensors)
    weights = {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    complete = {"format": 1, **card, "weights": weights}
    Card.from_dict(complete)
    with staging(folder.parent) as stage:
        fresh = stage / folder.name
        with plain_write_errors(folder):
            fresh.mkdir()
            (fresh / WEIGHTS_FILE).write_bytes(data)
            text = json.dumps(complete, indent=2, ensure_ascii=False)
            (fresh / CARD_FILE).write_text(text + "\n", encoding="utf-8")
        ModelPackage(fresh).verify()
        replace_folder(fresh, folder)
    return ModelPackage(folder)


def _serialise(tensors: Mapping[str, Any]) -> bytes:
    if all(isinstance(value, np.ndarray) for value in tensors.values()):
        from safetensors.numpy import save as save_arrays

        return bytes(save_arrays({k: np.array(v, order="C") for k, v in tensors.items()}))
    from safetensors.torch import save as save_tensors

    return bytes(save_tensors({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}))

"""A model package: a folder with ``model.json`` and ``weights.safetensors``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from pancreasseg.core.errors import InputError, ModelError
from pancreasseg.io.atomic import output_errors, staged
from pancreasseg.io.voxels import open_regular
from pancreasseg.models.card import Card

CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
#: A card is a page of text; anything larger is not one.
CARD_LIMIT = 1 << 20

#: Statistics of a batch norm over HU come to 1e8; single precision ends at 3e38.
LARGEST_WEIGHT = 1e12

_REPLACED = "model-replaced"
#: Nobody replaces a package more often than this while it is read once.
_ATTEMPTS = 20
_T = TypeVar("_T")


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
        self._text = _card_text(folder)
        self.card = _card(self._text)

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / self.card.weights.file

    def verify(self) -> None:
        """Compare the weights with the card: size, SHA256, a whole safetensors file with tensors of every member.

        Raises:
            ModelError: missing, cut short, changed, of another model, or with values that are no weights.
        """
        self._check_size()
        try:
            self._check_digest(sha256_of(self.weights))
            with safe_open(self.weights, framework="numpy") as file:
                keys = list(file.keys())
                absurd = next((key for key in keys if not _is_sound(file, key)), None)
        except SafetensorError as error:
            raise broken_weights(self.card.name) from error
        except OSError as error:
            raise self._missing() from error
        if absurd is not None:
            raise absurd_weights(self.card.name, absurd)
        prefixes = {key.split(".", 1)[0] for key in keys}
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
        try:
            data = self.weights.read_bytes()
        except OSError as error:
            raise self._missing() from error
        self._check_digest(hashlib.sha256(data).hexdigest())
        return data

    def _check_size(self) -> None:
        expected = self.card.weights.size
        try:
            found = self.weights.stat().st_size
        except OSError as error:
            raise self._missing() from error
        if found != expected:
            raise self._unless_replaced(
                "weights-size",
                f'The weights of the model "{self.card.name}" have {found} bytes, but the card says {expected}.',
                "The file was cut short or replaced; install the model again.",
            )

    def _check_digest(self, digest: str) -> None:
        if digest != self.card.weights.sha256:
            raise self._unless_replaced(
                "wrong-hash",
                f'The weights of the model "{self.card.name}" are not those that the card describes (SHA256 differs).',
                "The file was damaged or changed; install the model again.",
            )

    def _missing(self) -> ModelError:
        return self._unless_replaced(
            "weights-missing",
            f'The weights of the model "{self.card.name}" are missing: there is no {self.weights}.',
            "Install the model again.",
        )

    def _unless_replaced(self, code: str, message: str, hint: str) -> ModelError:
        """The error, or another one where the folder has another card by now: the old weights had to go as well."""
        try:
            if _card_text(self.folder) == self._text:
                return ModelError(code, message, hint)
        except ModelError:
            pass
        return ModelError(
            _REPLACED, f'The model "{self.card.name}" was replaced or removed while it was being read.', "Try again."
        )


def while_replaced(attempt: Callable[[], _T]) -> _T:
    """Do what reads packages, and do it anew as long as one of them is replaced by another process meanwhile.

    Args:
        attempt: finds its packages in the store by itself, each time.
    """
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except ModelError as error:
            if error.code != _REPLACED:
                raise
    return attempt()


def sha256_of(path: Path) -> str:
    """SHA256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def broken_weights(name: str) -> ModelError:
    """The weights have the right hash and are still no safetensors file."""
    return ModelError(
        "bad-weights",
        f'The weights of the model "{name}" are not a whole safetensors file.',
        "Install the model again.",
    )


def absurd_weights(name: str, tensor: str) -> ModelError:
    """The weights hold NaN, infinity, or numbers with which nothing can be computed."""
    return ModelError(
        "bad-weights",
        f'The weights of the model "{name}" are unusable: {tensor[:100]!r} holds values that are no finite numbers or '
        "absurdly large ones.",
        "Its training has failed, or the file was changed; ask the people who made the model.",
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
    with staged(folder.parent) as stage:
        fresh = stage.new / folder.name
        with output_errors(folder):
            fresh.mkdir()
            (fresh / WEIGHTS_FILE).write_bytes(data)
            text = json.dumps(complete, indent=2, ensure_ascii=False)
            (fresh / CARD_FILE).write_text(text + "\n", encoding="utf-8")
        ModelPackage(fresh).verify()
        stage.commit([folder.name])
    return ModelPackage(folder)


def _is_sound(file: Any, key: str) -> bool:
    """Whether a tensor of an open safetensors file has only values that weights have.

    bfloat16 and smaller types, which numpy lacks, are looked at when the network is loaded.
    """
    if file.get_slice(key).get_dtype() not in ("F16", "F32", "F64"):
        return True
    values = file.get_tensor(key)
    return not values.size or bool(max(float(values.max()), -float(values.min())) <= LARGEST_WEIGHT)  # nor is NaN


def _card_text(folder: Path) -> bytes:
    path = folder / CARD_FILE
    try:
        if path.stat().st_size > CARD_LIMIT:
            raise ModelError("bad-card", f"The model card {path} is too large to be one.")
        with open_regular(path) as file:
            return file.read(CARD_LIMIT)
    except (OSError, InputError) as error:
        raise ModelError(
            "no-package",
            f"{folder} holds no model package: {CARD_FILE} cannot be read.",
            "Choose the folder that holds model.json and weights.safetensors.",
        ) from error


def _serialise(tensors: Mapping[str, Any]) -> bytes:
    if all(isinstance(value, np.ndarray) for value in tensors.values()):
        from safetensors.numpy import save as save_arrays

        return bytes(save_arrays({k: np.array(v, order="C") for k, v in tensors.items()}))
    from safetensors.torch import save as save_tensors

    return bytes(save_tensors({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}))

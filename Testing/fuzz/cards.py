"""Fuzz targets for model packages: cards, weights and zips with something odd in them, from a good small package."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from Testing.fuzz.trees import text_of
from Testing.helpers.model_cards import card_of, network_entry

from pancreasseg.core.errors import ModelError
from pancreasseg.models.package import CARD_FILE, WEIGHTS_FILE, ModelPackage, write_package
from pancreasseg.models.store import Store

Target = Callable[[np.random.Generator, Path], str]


@cache
def _good() -> tuple[bytes, bytes]:
    """The card and the weights of a package that is in order; its networks are never built."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        card = card_of(
            network_entry("localizer", arguments={"channels": [2, 3]}),
            network_entry("segmenter", arguments={"channels": [2, 3], "norm": "batch"}),
            figures=[{"metric": "DSC", "value": 0.5, "sd": 0.1, "data": "none", "cases": 3}],
            options={"margin_mm": 10.0},
        )
        arrays = {f"{role}.w": np.arange(24, dtype=np.float32).reshape(2, 3, 4) for role in ("localizer", "segmenter")}
        package = write_package(Path(folder) / "for-tests", card, arrays)
        return (package.folder / CARD_FILE).read_bytes(), package.weights.read_bytes()


def fuzz_card(random: np.random.Generator, folder: Path) -> str:
    """A store with an odd card and a good one: all that looks into it goes on, and what is accepted can be shown."""
    card, weights = _good()
    odd = text_of(random, json.loads(card))
    for name, text in (("odd", odd), ("for-tests", card)):
        place = folder / "models" / name
        place.mkdir(parents=True)
        (place / CARD_FILE).write_bytes(text)
        (place / WEIGHTS_FILE).write_bytes(weights)
    store = Store(folder, bundled=folder / "none")
    assert "for-tests" in [package.card.name for package in store.packages()]
    assert store.best().card.name == "for-tests"
    damaged = store.damaged()
    try:
        accepted = ModelPackage(folder / "models" / "odd")
    except ModelError as error:
        return _said(error, damaged["odd"].code)
    place.rename(folder / "aside")
    (folder / "models" / "odd").rename(folder / "models" / accepted.card.name)
    json.dumps(store.info(accepted.card.name), allow_nan=False, ensure_ascii=False).encode("utf-8")
    return "accepted"


def fuzz_weights(random: np.random.Generator, folder: Path) -> str:
    """Odd weights whose hash is right."""
    card, weights = (bytearray(part) for part in _good())
    for _ in range(int(random.integers(1, 5))):
        end = len(weights) if random.random() < 0.3 else 300
        place = int(random.integers(0, min(end, len(weights))))
        match int(random.integers(0, 4)):
            case 0:
                del weights[place : place + int(random.integers(1, 30))]
            case 1:
                weights[place : place + 4] = np.array([np.nan, np.inf, 3e38, -np.inf], np.float32)[
                    int(random.integers(0, 4))
                ].tobytes()
            case _:
                weights[place : place + 1] = random.bytes(1)
    document = json.loads(card)
    document["weights"].update(sha256=hashlib.sha256(weights).hexdigest(), size=len(weights))
    (folder / CARD_FILE).write_text(json.dumps(document))
    (folder / WEIGHTS_FILE).write_bytes(weights)
    return _installed(folder, folder / "home")


def fuzz_zip(random: np.random.Generator, folder: Path) -> str:
    """A zip of a package with changed bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if random.random() < 0.5 else zipfile.ZIP_STORED) as archive:
        for name, content in zip((CARD_FILE, WEIGHTS_FILE), _good(), strict=True):
            archive.writestr(f"for-tests/{name}", content)
    content = bytearray(buffer.getvalue())
    for _ in range(int(random.integers(1, 6))):
        # Most of what a zip says of itself stands at its end.
        place = (
            len(content) - 1 - int(random.integers(0, 250)) if random.random() < 0.7 else random.integers(len(content))
        )
        content[int(place) % len(content)] = int(random.integers(0, 256))
    if random.random() < 0.1:
        del content[int(random.integers(0, len(content))) :]
    path = folder / "package.zip"
    path.write_bytes(content or b"PK")
    outcome = _installed(path, folder / "home")
    assert sorted(p.name for p in folder.iterdir()) in (["home", "package.zip"], ["package.zip"])
    return outcome


def _installed(source: Path, home: Path) -> str:
    """What became of an installation; a store that refuses has nothing in it."""
    store = Store(home, bundled=home / "none")
    try:
        (package,) = store.install(source)
    except ModelError as error:
        refusal = _said(error, error.code)
    else:
        package.verify()
        return "accepted"
    assert store.packages() == []
    assert store.damaged() == {}
    return refusal


def _said(error: ModelError, code: str) -> str:
    """The code of a refusal whose sentence can be shown anywhere."""
    str(error).encode("utf-8")
    if error.code != code or "\x1b" in str(error):
        raise ValueError(f"{error!r} is no clean refusal")
    return code


TARGETS: dict[str, Target] = {"fuzz_card": fuzz_card, "fuzz_weights": fuzz_weights, "fuzz_zip": fuzz_zip}

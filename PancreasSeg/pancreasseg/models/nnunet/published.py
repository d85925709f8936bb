"""Published result folders, known by the name of their data set: what they are, and what their own code does."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("published.json")


def about(dataset: str) -> Mapping[str, Any]:
    """What is known of the model of a data set: entries of its card, its role, orientation and conventions.

    Empty for data sets that nobody published. Releases add to the end of a name.
    """
    return next((facts for name, facts in _models().items() if dataset.startswith(name)), {})


def totalsegmentator_folder() -> Path | None:
    """Where TotalSegmentator keeps its weights on this computer; None where there is no such folder."""
    given, home = os.environ.get("TOTALSEG_WEIGHTS_PATH"), os.environ.get("TOTALSEG_HOME_DIR")
    own = Path(home) if home else Path.home() / ".totalsegmentator"
    folder = Path(given) if given else own / "nnunet" / "results"
    return folder if folder.is_dir() else None


def on_this_computer() -> dict[str, Path]:
    """Published models that TotalSegmentator has fetched already: the folder of each by the name of its package."""
    folder = totalsegmentator_folder()
    found = {}
    with contextlib.suppress(OSError):  # somebody else's folder, perhaps
        for path in sorted(folder.glob("Dataset*")) if folder is not None else ():
            facts = about(path.name)
            if facts and any(path.glob("*/fold_*/checkpoint_final.pth")):  # and not what a cut download has left
                found[str(facts["name"])] = path
    return found


@cache
def archives() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By the name of the package: the card's facts, and the address, SHA256 and size of the zip that is published.

    SHA256 and size are empty and 0 where nobody states them: what is fetched first is then trusted, and recorded.
    """
    published = json.loads(_FILE.read_text(encoding="utf-8"))["archives"]
    return {str(_models()[name]["name"]): (_models()[name], file) for name, file in published.items()}


@cache
def _models() -> dict[str, dict[str, Any]]:
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    return {name: {**data["shared"], **own} for name, own in data["models"].items()}

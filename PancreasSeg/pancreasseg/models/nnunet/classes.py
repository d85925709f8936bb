"""Which output of an nnU-Net model is the pancreas, and what else belongs to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pancreasseg.core.errors import ModelError

#: More than any model has.
LIMIT = 1000
#: Names of what is part of the organ or grows in it; only where nothing in the name speaks of another organ.
_PARTS = re.compile(r"(tumou?r|lesion|cancer|pdac|mass|cyst|duct|head|body|tail|neck|uncinate( process)?)s?")
_WHOLE = re.compile(r"(whole |entire )?pancreas")


@dataclass(frozen=True)
class Classes:
    """The outputs of a network.

    Attributes:
        names: background first.
        pancreas: index of the pancreas in ``names``.
        organ: indices of all that belongs to it, the pancreas first.
        regions: whether the outputs are regions that overlap, each judged by its own sigmoid, without a background.
    """

    names: tuple[str, ...]
    pancreas: int
    organ: tuple[int, ...]
    regions: bool

    @property
    def outputs(self) -> int:
        """Channels of the network's last layer."""
        return len(self.names) - 1 if self.regions else len(self.names)


def read_classes(dataset: Any, pancreas: str | None = None, parts: Sequence[str] | None = None) -> Classes:
    """The classes in ``dataset.json``.

    Args:
        dataset: the parsed file.
        pancreas: name of the class that is the pancreas; found by its name by default.
        parts: names of the classes that belong to it; by default those called after a part of the pancreas or a tumour,
            unless their name speaks of another organ.

    Raises:
        ModelError: no labels, none that is the pancreas, or none of a given name.
    """
    labels = dataset.get("labels") if isinstance(dataset, Mapping) else None
    if not isinstance(labels, Mapping) or not 2 <= len(labels) <= LIMIT or labels.get("background") not in (0, "0"):
        raise _bad("dataset.json does not say what its labels mean, beginning with the background")
    regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    found = [(name, value) for name, value in labels.items() if name not in ("background", "ignore")]
    if not regions:
        found = _in_order(found)
    names = ("background", *(str(name) for name, _ in found))
    index = _index(names, pancreas) if pancreas is not None else _found(names)
    if parts is None:
        belonging = [i for i, name in enumerate(names) if _belongs(name)]
    else:
        belonging = [_index(names, name) for name in parts]
    return Classes(names, index, (index, *(i for i in belonging if i != index)), regions)


def _in_order(found: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Classes by their label; the network has one output for each, so none may be left out."""
    try:
        numbered = sorted(((name, int(value)) for name, value in found), key=lambda item: item[1])
    except (TypeError, ValueError) as error:
        raise _bad("a label in dataset.json is no number") from error
    values = [value for _, value in numbered]
    if min(values, default=0) < 1 or len(set(values)) < len(values):
        raise _bad("two labels in dataset.json have one number")
    return list(numbered)


def _found(names: Sequence[str]) -> int:
    plain = [_plain(name) for name in names]
    exact = [i for i, name in enumerate(plain) if _WHOLE.fullmatch(name)]
    near = [i for i, name in enumerate(plain) if "pancrea" in name]
    if exact or len(near) == 1 or (near and all(_belongs(names[i]) for i in near)):
        return (exact or near)[0]
    listed = ", ".join(names[1:20]) + (" ..." if len(names) > 20 else "")
    if near:
        raise _bad(f"several of its classes may be the pancreas ({listed})", "Say which one is, with --pancreas NAME.")
    raise _bad(f"none of its classes is the pancreas ({listed})", "If one is called otherwise, say --pancreas NAME.")


def _index(names: Sequence[str], wanted: str) -> int:
    for index, name in enumerate(names):
        if index and _plain(name) == _plain(wanted):
            return index
    raise _bad(f'it has no class "{wanted}", only {", ".join(names[1:20])}')


def _belongs(name: str) -> bool:
    plain = _plain(name)
    rest = re.sub(r"\b(of |in )?(the )?pancrea(s|tic)\b", " ", plain).strip()
    return _PARTS.fullmatch(rest) is not None or rest == ""


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.lower())).strip()


def _bad(what: str, hint: str = "") -> ModelError:
    return ModelError(
        "no-pancreas-class" if "classes" in what or "class" in what else "bad-dataset-json",
        f"This nnU-Net model cannot be used: {what}.",
        hint or "Choose a model that was trained to find the pancreas.",
    )

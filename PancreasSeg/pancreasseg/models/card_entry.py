"""The entries of a ``model.json``, each with its place in the card, and what no card needs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pancreasseg.core.errors import ModelError

#: Beyond these no network, grid or card makes sense; what claims so is a mistake, or made to exhaust the computer.
_DEPTH, _LARGEST, _LONGEST = 16, 1e15, 200
_SIDE, _VOXELS = 1024, 1 << 27

_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # but for line ends and tabs


def bad_card(where: str, what: str) -> ModelError:
    """The error of a card in which an entry is wrong."""
    return ModelError(
        "bad-card",
        f"The model card cannot be used: {where[-_LONGEST:]}: {what[:_LONGEST]}.",
        "Install the model again, or ask the people who made it.",
    )


def check_plain(data: Any) -> None:
    """Refuse what no card needs and much code stumbles over: deep nesting, endless numbers, texts that are none."""
    left: list[tuple[Any, str, int]] = [(data, "", 0)]
    while left:
        value, where, depth = left.pop()
        if depth > _DEPTH:
            raise bad_card(where, "it is nested too deeply")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or not _is_plain_text(key):
                    raise bad_card(where or "model.json", "a name in it is no plain text")
            left += [(entry, f"{where}.{key}" if where else key, depth + 1) for key, entry in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(entry, f"{where}[{number}]", depth + 1) for number, entry in enumerate(value)]
        elif isinstance(value, str):
            if not _is_plain_text(value):
                raise bad_card(where, "it holds characters that are no text")
        elif isinstance(value, (int, float)) and not -_LARGEST <= value <= _LARGEST:
            raise bad_card(where, "it is not a finite number of a sensible size")


def _is_plain_text(text: str) -> bool:
    """No halves of characters, which cannot be written to a file, and no control characters, which steer terminals."""
    return _NO_TEXT.search(text) is None


class CardEntry:
    """A JSON object together with where it stands in the card, for sentences that name the place."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise bad_card(where or "model.json", "an object {...} is expected")
        self._data = data
        self._where = where

    def place(self, key: str) -> str:
        """Where an entry stands in the card, for sentences."""
        return f"{self._where}.{key}" if self._where else key

    def get(self, key: str, kind: type | tuple[type, ...], *, optional: bool = False) -> Any:
        """An entry of this kind; None where it is optional and not there."""
        value = self._data.get(key)
        if value is None and optional:
            return None
        if key not in self._data:
            raise bad_card(self.place(key), "it is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise bad_card(self.place(key), f"{json.dumps(value)[:60]} is not what belongs here")
        return value

    def text(self, key: str, *, empty: bool = False) -> str:
        """A text, which is not empty unless it may be."""
        value = str(self.get(key, str))
        if not value.strip() and not empty:
            raise bad_card(self.place(key), "it is empty")
        return value

    def short(self, key: str) -> str:
        """A text of one line."""
        value = self.text(key)
        if len(value) > _LONGEST or "\n" in value:
            raise bad_card(self.place(key), f"it is longer than a line of {_LONGEST} characters")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of these texts."""
        value = self.text(key)
        if value not in allowed:
            raise bad_card(self.place(key), f'"{value[:60]}" is none of {", ".join(allowed)}')
        return value

    def integer(self, key: str, low: int = 0, high: float = _LARGEST) -> int:
        """A whole number in this range."""
        value = int(self.get(key, int))
        if not low <= value <= high:
            raise bad_card(self.place(key), f"{value} is {f'below {low}' if value < low else f'above {high:.0f}'}")
        return value

    def number(self, key: str, smallest: float = 0.0, largest: float = _LARGEST) -> float:
        """A number; ``smallest`` and ``largest`` hold for its absolute value."""
        value = float(self.get(key, (int, float)))
        if not smallest <= abs(value) <= largest:  # nor is NaN
            raise bad_card(self.place(key), f"{value:g} is no number that makes sense here")
        return value

    def numbers(self, key: str, count: int, *, positive: bool = False) -> tuple[float, ...] | None:
        """So many finite numbers; None where there are none."""
        values = self.get(key, list, optional=True)
        if values is None:
            return None
        good = len(values) == count and all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and (v > 0 or not positive)
            for v in values
        )
        if not good:
            raise bad_card(self.place(key), f"{count} {'positive ' if positive else ''}numbers are expected")
        return tuple(float(v) for v in values)

    def sizes(self, key: str) -> tuple[int, int, int] | None:
        """Voxels along three axes, few enough for a network; None where there are none."""
        values = self.numbers(key, 3, positive=True)
        if values is None:
            return None
        if any(v != int(v) for v in values):
            raise bad_card(self.place(key), "whole numbers are expected")
        if max(values) > _SIDE or math.prod(values) > _VOXELS:
            raise bad_card(self.place(key), f"no network sees {' x '.join(f'{v:.0f}' for v in values)} voxels at once")
        i, j, k = (int(v) for v in values)
        return (i, j, k)

    def texts(self, key: str, *, empty: bool = False) -> tuple[str, ...]:
        """A list of texts."""
        values = self.get(key, list)
        if not all(isinstance(v, str) and v for v in values) or not (values or empty):
            raise bad_card(self.place(key), "a list of texts is expected")
        return tuple(values)

    def entry(self, key: str) -> CardEntry:
        """An object in this one."""
        return CardEntry(self.get(key, Mapping), self.place(key))

    def entries(self, key: str, *, empty: bool = False) -> Iterator[CardEntry]:
        """The objects of a list."""
        values = self.get(key, list)
        if not values and not empty:
            raise bad_card(self.place(key), "it is empty")
        for index, value in enumerate(values):
            yield CardEntry(value, f"{self.place(key)}[{index}]")

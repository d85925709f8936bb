"""JSON documents with something odd in them."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

#: Values that programs have stumbled over.
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 5, 0.5, -0.0, 1e-9, 1e308, -1e308, 2**31, 2**63, 10**6, 10**400, float("nan"),
    float("inf"), float("-inf"), "", " ", "a", "x" * 5000, "\0", "\x1b[2J", "\ud800", "../x", "/etc/passwd", "ü 膵臓",
    "nan", "1e999", [], [[]], {}, {"a": {}}, [None] * 3, [1, 2], [1, 2, 3], [0, 0, 0], [-1, 3], [1e-9] * 3, [2000] * 3,
    [10**400] * 3, ["a"] * 3, {"file": "../x"}, {"file": 3}, [[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]],
)  # fmt: skip


def changed(random: np.random.Generator, document: Any) -> Any:
    """A copy in which one to three entries are gone, doubled, moved or odd."""
    document = copy.deepcopy(document)
    for _ in range(int(random.integers(1, 4))):
        places = list(_places(document))
        if not places:
            return document
        holder, key = places[int(random.integers(0, len(places)))]
        match int(random.integers(0, 8)):
            case 0:
                del holder[key]
            case 1:
                other, there = places[int(random.integers(0, len(places)))]
                holder[key] = copy.deepcopy(other[there])
            case 2 if isinstance(holder, dict):
                holder[str(_ODD[int(random.integers(0, len(_ODD)))])[:50]] = copy.deepcopy(holder[key])
            case _:
                holder[key] = copy.deepcopy(_ODD[int(random.integers(0, len(_ODD)))])
    return document


def text_of(random: np.random.Generator, document: Any) -> bytes:
    """The document with something odd in it as JSON, now and then with odd bytes too."""
    text = json.dumps(changed(random, document)).encode("ascii")
    if random.random() < 0.2:
        place = int(random.integers(0, len(text)))
        odd = (b"[" * 20_000, b"\xff", b"", b"{", b'"', b"9" * 5000, b"\\ud800", b"NaN")[int(random.integers(0, 8))]
        text = text[:place] + odd + text[place + int(random.integers(0, 20)) :]
    return text


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        found = [(document, key) for key in document]
    elif isinstance(document, list):
        found = [(document, number) for number in range(len(document))]
    return found + [place for holder, key in found for place in _places(holder[key])]

"""Fuzz targets that misbehave, to see that the fuzzer notices."""

import ctypes
import time
from pathlib import Path

import numpy as np


def refuse(random: np.random.Generator, folder: Path) -> str:
    assert not list(folder.iterdir())
    (folder / "input").write_bytes(random.bytes(3))
    return "accepted" if (folder / "input").read_bytes()[0] % 2 else "not-good"


def _sometimes(random: np.random.Generator, act: object) -> str:
    if random.random() < 0.5:
        act()  # type: ignore[operator]
    return "read"


TARGETS = {
    "good": refuse,
    "raises": lambda random, folder: _sometimes(random, lambda: 1 / 0),
    "dies": lambda random, folder: _sometimes(random, lambda: ctypes.string_at(0)),
    "hangs": lambda random, folder: _sometimes(random, lambda: time.sleep(60)),
    "swallows memory": lambda random, folder: _sometimes(random, lambda: bytes(4 << 30)),
    "says nothing": lambda random, folder: None,
}

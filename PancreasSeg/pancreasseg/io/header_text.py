"""Text headers (NRRD, MetaImage) read line by line, with bounds on whatever a stranger may have written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pancreasseg.io.refusals import damaged

MAX_LINE = 65_536  # Slicer writes whole terminologies and conversion parameters into one
MAX_LINES = 20_000
_MAX_NUMBERS = 64


def header_lines(file: BinaryIO) -> Iterator[str]:
    """Lines without their ends, until the file ends.

    Raises:
        InputError: a line or the header is longer than any that a program writes.
    """
    for _ in range(MAX_LINES):
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            raise damaged("its header has a line without end")
        yield line.decode("utf-8", errors="replace").rstrip("\r\n")
    raise damaged("its header has no end")


def whole_numbers(text: str) -> list[int]:
    """Integers separated by blanks.

    Raises:
        InputError: something else is written there.
    """
    try:
        return [int(word) for word in _words(text)]
    except ValueError as error:
        raise damaged("its header states no whole numbers where it should") from error


def whole_number(text: str) -> int:
    """One integer.

    Raises:
        InputError: something else is written there.
    """
    numbers = whole_numbers(text)
    if len(numbers) != 1:
        raise damaged("its header does not state one whole number where it should")
    return numbers[0]


def real_numbers(text: str) -> np.ndarray:
    """float64 numbers separated by blanks; NaN stands for what is not known.

    Raises:
        InputError: something else is written there.
    """
    try:
        return np.array([float(word) for word in _words(text)])
    except ValueError as error:
        raise damaged("its header states no numbers where it should") from error


def _words(text: str) -> list[str]:
    words = text.split()
    if len(words) > _MAX_NUMBERS or any(len(word) > _MAX_NUMBERS for word in words):
        raise damaged("its header states more numbers than an image has")
    return words

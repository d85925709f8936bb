"""Text that comes from elsewhere."""

from __future__ import annotations

_MOST_DIGITS = 9


def number_or_name(text: str) -> int | str:
    """What names something by its number or by its name: the number where it is one that anything could have."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text


def printable(text: str, limit: int = 200) -> str:
    """One line of foreign text without what steers a terminal or turns the writing direction, and not endless."""
    line = "".join(character if character.isprintable() else " " for character in text[: limit + 1])
    return line if len(line) <= limit else f"{line[:limit]}..."

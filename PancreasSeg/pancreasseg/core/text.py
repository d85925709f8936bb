"""Text that comes from elsewhere."""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """One line of foreign text without what steers a terminal or turns the writing direction, and not endless."""
    line = "".join(character if character.isprintable() else " " for character in text[: limit + 1])
    return line if len(line) <= limit else f"{line[:limit]}..."

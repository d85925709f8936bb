"""The worked recipes of CONTRIBUTING.md, as tests follow them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"<!-- (file|after|run)(?:: (.*?))? -->\n```python\n(.*?)```\n", re.DOTALL)


@dataclass
class Recipe:
    """One recipe.

    Attributes:
        title: its heading.
        files: what is written, by path below the project.
        lines: what is added: file, the line that it comes after, and the lines themselves.
        runs: what must pass then.
    """

    title: str
    files: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def follow(self, project: Path) -> None:
        """Do what it says in a copy of the project."""
        for path, text in self.files.items():
            assert not (project / path).exists(), f"{path} is there already"
            (project / path).write_text(text, encoding="utf-8")
        for path, after, text in self.lines:
            before = (project / path).read_text(encoding="utf-8").split("\n")
            assert before.count(after) == 1, f"{path} has the line {after!r} {before.count(after)} times"
            place = before.index(after) + 1
            (project / path).write_text("\n".join([*before[:place], *text.rstrip("\n").split("\n"), *before[place:]]))


def recipes() -> dict[str, Recipe]:
    """All of them by title."""
    found = {}
    for section in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        recipe = Recipe(section.partition("\n")[0])
        for kind, where, text in _BLOCK.findall(section):
            if kind == "file":
                recipe.files[where] = text
            elif kind == "after":
                path, _, line = where.partition(": ")
                recipe.lines.append((path, line, text))
            else:
                recipe.runs.append(text)
        found[recipe.title] = recipe
    return found

"""Kills a piece of work at every change that it makes to the file system, one after the other, always at the same.

A killed process makes no further change. So from the chosen change on every change is refused with an exception that
nobody catches, those of the clean-up as well: what is on the disk afterwards is what a kill would have left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LIMIT = 1000


class Killed(BaseException):
    """The process is dead."""


class _Death:
    """Counts changes down; audit hooks cannot be taken away, so one stays and is idle."""

    left: int | None = None
    installed = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.left is None:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if writes or event in _CHANGES:
            self.left -= 1
            if self.left <= 0:
                raise Killed


_death = _Death()


def killed_everywhere(work: Callable[[], object]) -> Iterator[int]:
    """Do the work again and again; it dies before its first change, its second, and so on.

    Yields the number of the change after each death; whoever iterates looks at what is there and restores it. Ends when
    the work came to its end.
    """
    if not _death.installed:
        sys.addaudithook(_death)
        _death.installed = True
    for number in range(1, _LIMIT):
        _death.left = number
        try:
            work()
        except Killed:
            pass
        else:
            return
        finally:
            _death.left = None
        yield number
    raise AssertionError("the work does not end")


def contents(folder: Path) -> dict[str, bytes]:
    """The visible files under a folder, by their path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }

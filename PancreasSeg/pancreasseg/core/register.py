"""Registers: a thing is declared once, in the module that makes it, and found by what the modules of a room declare."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol


class Declared(Protocol):
    """What can stand in a register."""

    @property
    def name(self) -> str:
        """Unique in its register."""

    @property
    def place(self) -> int:
        """Where it stands in lists; the lowest first."""


@functools.cache
def declared(room: str, attribute: str) -> Mapping[str, Any]:
    """Everything that the modules of a room declare, by name and in the order of its places.

    A module that has nothing to declare may lie in the room all the same. The modules are imported, so none of them may
    import torch, or a package that Slicer does not bring along, before it builds something.

    Args:
        room: name of the package.
        attribute: of its modules: a tuple of `Declared`.

    Raises:
        ValueError: two things of one name.
    """
    modules = (import_module(f"{room}.{found.name}") for found in pkgutil.iter_modules(import_module(room).__path__))
    things: list[Declared] = [thing for module in modules for thing in getattr(module, attribute, ())]
    things.sort(key=lambda thing: (thing.place, thing.name))
    if len({thing.name for thing in things}) < len(things):
        raise ValueError(f"{room} declares a name twice: {', '.join(thing.name for thing in things)}")
    return MappingProxyType({thing.name: thing for thing in things})

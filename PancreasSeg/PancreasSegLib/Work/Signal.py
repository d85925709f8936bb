"""Something that happens, and who hears of it. Plain Python, so that what works without Qt can tell as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Signal(Generic[T]):
    """Calls every listener, in the order in which they came; calling the signal emits it.

    The type says what is told: ``Signal[Update]`` tells of an `Update`, ``Signal[None]`` only that something happened.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[..., object]] = []

    def subscribe(self, listener: Callable[..., object]) -> None:
        """Call a listener whenever this happens."""
        self._listeners.append(listener)

    def __call__(self, *told: T) -> None:
        """It has happened: tell all listeners."""
        for listener in self._listeners:
            listener(*told)

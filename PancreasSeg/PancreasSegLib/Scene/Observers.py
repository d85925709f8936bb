"""Observations of VTK objects that are given up whole."""

from __future__ import annotations

from collections.abc import Callable

import vtk


class Observers:
    """Pairs of an observed object and the observer's tag.

    Slicer's `VTKObservationMixin` keys them by the object and never drops the key, so every CT that was ever observed
    stays in memory until Slicer ends. Here nothing is held once `clear` was called.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[vtk.vtkObject, int]] = []

    def add(self, observed: vtk.vtkObject, event: str | int, method: Callable, priority: float = 0.0) -> None:
        """Call a method on an event of a VTK object; those of higher priority come first."""
        self._pairs.append((observed, observed.AddObserver(event, method, priority)))

    def clear(self) -> None:
        """End all of them."""
        while self._pairs:
            observed, tag = self._pairs.pop()
            observed.RemoveObserver(tag)

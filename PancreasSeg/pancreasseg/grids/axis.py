"""Spline resampling along one axis as a matrix: it is linear, so a few rows give the same as all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core.lazy import Library

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Library("scipy.ndimage")

#: Weights below this are left out: a voxel's reach under a cubic spline falls by a factor of four with every step.
NEGLIGIBLE = 1e-8


@dataclass(frozen=True)
class Axis:
    """From ``old`` voxels of a CT along one axis to ``new`` voxels of a network's grid.

    Attributes:
        old: voxels of the CT.
        new: voxels of the grid.
        order: of the spline; 0 takes the nearest voxel.
        faces: true when both share their outer voxel faces, false when they share the centres of their first and last
            voxels.
    """

    old: int
    new: int
    order: int
    faces: bool

    @property
    def step(self) -> float:
        """Voxels of the CT from one voxel of the grid to the next."""
        if self.faces or self.new == 1:
            return self.old / self.new
        return (self.old - 1) / (self.new - 1) if self.old > 1 else 1.0

    @property
    def first(self) -> float:
        """Place of the grid's first voxel among those of the CT."""
        return (self.step - 1) / 2 if self.faces else 0.0

    @property
    def moves(self) -> bool:
        """Whether there is anything to do."""
        return self.old != self.new

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, int, int]:
        """Some of the grid's voxels.

        Args:
            start: first voxel of the grid.
            stop: one after the last.

        Returns:
            The matrix (stop - start, last - first), float64, and the range of the CT's voxels that it takes.
        """
        matrix = _matrix(self)[start:stop]
        used = np.flatnonzero(np.abs(matrix).max(axis=0) > NEGLIGIBLE)
        first, last = int(used[0]), int(used[-1]) + 1
        return matrix[:, first:last], first, last


@lru_cache(maxsize=16)
def _matrix(axis: Axis) -> np.ndarray:
    """All weights, (new, old), float64: what becomes of a single 1 in every place."""
    if not axis.moves:
        return np.eye(axis.old)
    places = axis.first + axis.step * np.arange(axis.new)
    columns = [ndimage.map_coordinates(one, places[None], order=axis.order, mode="nearest") for one in np.eye(axis.old)]
    return np.stack(columns, axis=1)

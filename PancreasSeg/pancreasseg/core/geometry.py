"""Where a voxel grid lies in space. World coordinates are LPS mm, as in SimpleITK and DICOM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Vector = tuple[float, float, float]
Index = tuple[int, int, int]


class Region(Protocol):
    """Voxels of a grid, as a `Box` gives them: the first one and how many, along i, j, k."""

    @property
    def start(self) -> Index:
        """Index of the first voxel."""

    @property
    def size(self) -> Index:
        """Voxels along each axis."""


def lps_ras(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Turn LPS into RAS or RAS into LPS: the one place in the project where this happens.

    Args:
        values: array whose first axis holds x, y, z (and w): a point (3,), points (3, N), or a matrix (3, 3) or
            (4, 4) whose rows lead to world coordinates.

    Returns:
        float64, the same with the first two rows negated; exact to the bit, and never a negative zero.
    """
    turned = np.array(values, dtype=float)
    turned[:2] = 0.0 - turned[:2]
    return turned


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume.

    Tuples follow the index axes i, j, k (column, row, slice); arrays on this grid have shape (K, J, I).

    Attributes:
        size: voxels along i, j, k.
        spacing: mm between voxel centres along i, j, k.
        origin: LPS mm of the centre of voxel (0, 0, 0).
        direction: 3x3 matrix, row by row; column c is the LPS direction of index axis c.
    """

    size: tuple[int, int, int]
    spacing: Vector = (1.0, 1.0, 1.0)
    origin: Vector = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (K, J, I)."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def extent_mm(self) -> Vector:
        """Outer size of the grid in mm along i, j, k."""
        i, j, k = (n * s for n, s in zip(self.size, self.spacing, strict=True))
        return (i, j, k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    @property
    def axes(self) -> np.ndarray:
        """3x3 direction matrix; column c is the LPS direction of index axis c."""
        return np.asarray(self.direction, dtype=float).reshape(3, 3)

    @property
    def index_to_world(self) -> np.ndarray:
        """4x4 matrix from (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    def to_world(self, index: Sequence[float] | np.ndarray) -> np.ndarray:
        """LPS mm of a continuous index (i, j, k); also for an array of shape (..., 3)."""
        return np.asarray(index, dtype=float) @ self.index_to_world[:3, :3].T + np.asarray(self.origin)

    def to_index(self, point: Sequence[float] | np.ndarray) -> np.ndarray:
        """Continuous index (i, j, k) of an LPS mm point; also for an array of shape (..., 3)."""
        inverse = np.linalg.inv(self.index_to_world[:3, :3])
        return (np.asarray(point, dtype=float) - np.asarray(self.origin)) @ inverse.T

    def crop(self, box: Region) -> Geometry:
        """The grid of the voxels inside ``box``."""
        x, y, z = self.to_world(box.start)
        return Geometry(box.size, self.spacing, (float(x), float(y), float(z)), self.direction)

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """True when both grids have the same voxels: equal size, and corners within ``tolerance_mm``."""
        if self.size != other.size:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.size])).reshape(3, -1).T
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= tolerance_mm)

    def as_dict(self) -> dict[str, list[float] | list[int]]:
        """For JSON: size, spacing, origin, direction."""
        return {
            "size": list(self.size),
            "spacing": list(self.spacing),
            "origin": list(self.origin),
            "direction": list(self.direction),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Sequence[float]]) -> Geometry:
        """The inverse of `as_dict`."""
        i, j, k = (int(n) for n in data["size"])
        sx, sy, sz = (float(s) for s in data["spacing"])
        ox, oy, oz = (float(o) for o in data["origin"])
        return cls((i, j, k), (sx, sy, sz), (ox, oy, oz), tuple(float(d) for d in data["direction"]))

"""Implicit shapes in mm: the vocabulary of the phantom's anatomy.

A shape answers with a signed distance (mm, negative inside) that is exact enough near its surface; farther than
`FAR` mm outside it may answer `FAR`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

FAR = 8.0
_EXTENT = 420.0  # noise repeats beyond this distance from the patient's origin


@dataclass(frozen=True)
class Frame:
    """An axis-aligned grid in the patient's frame: coordinates in mm along x, y, z. Arrays on it are (K, J, I)."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    step: float

    @classmethod
    def covering(cls, low: np.ndarray, high: np.ndarray, step: float) -> Frame:
        """Grid points at multiples of ``step`` around the block from ``low`` to ``high``."""
        axes = [
            np.arange(np.floor(a / step) - 1, np.ceil(b / step) + 2, dtype=np.float32) * np.float32(step)
            for a, b in zip(low, high, strict=True)
        ]
        return cls(axes[0], axes[1], axes[2], step)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I)."""
        return (self.z.size, self.y.size, self.x.size)

    def window(self, low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> tuple[slice, ...]:
        """Index (K, J, I) of the grid points between two corners; may be empty."""
        window = []
        for axis, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            first = float(axis[0]) if axis.size else 0.0
            start = min(max(math.ceil((float(a) - first) / self.step), 0), axis.size)
            stop = min(max(math.floor((float(b) - first) / self.step) + 1, start), axis.size)
            window.append(slice(start, stop))
        return tuple(window)

    def crop(self, window: tuple[slice, ...]) -> Frame:
        """The frame of a window."""
        k, j, i = window
        return Frame(self.x[i], self.y[j], self.z[k], self.step)


class Noise:
    """Smooth noise in space with unit standard deviation, the same on every grid.

    White values on a cubic lattice, spread by cubic B-splines; on an axis-aligned grid that is three small matrix
    products.

    Args:
        seed: anything `numpy.random.default_rng` takes.
        wavelength: lattice spacing in mm; blobs are about that large.
    """

    def __init__(self, seed: Sequence[int], wavelength: float) -> None:
        self.wavelength = wavelength
        self._cells = max(int(np.ceil(2 * _EXTENT / wavelength)), 8)
        self._lattice = np.random.default_rng(seed).standard_normal((min(self._cells, 64),) * 3, dtype=np.float32)

    def _weights(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First lattice index and the four weights of every coordinate."""
        position = (np.asarray(coordinates, dtype=np.float64) + _EXTENT) / self.wavelength
        first = np.floor(position).astype(int)
        t = position - first
        weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1) / 6
        # Unit variance on average: the mean of the sum of squared weights along one axis is 151/315.
        return first, (weights / np.sqrt(151 / 315)).astype(np.float32)

    def on(self, frame: Frame) -> np.ndarray:
        """Values on a frame, float32 (K, J, I)."""
        matrices = []
        for axis in (frame.z, frame.y, frame.x):
            first, weights = self._weights(axis)
            matrix: np.ndarray = np.zeros((axis.size, self._lattice.shape[0]), dtype=np.float32)
            rows = np.arange(axis.size)
            for n in range(4):
                np.add.at(matrix, (rows, (first + n) % self._lattice.shape[0]), weights[:, n])
            matrices.append(matrix)
        along_z, along_y, along_x = matrices
        field_ = np.tensordot(along_z, self._lattice, axes=(1, 0))
        field_ = np.matmul(along_y, field_)
        return np.asarray(np.matmul(field_, along_x.T))

    def at(self, points: np.ndarray) -> np.ndarray:
        """Values at points of shape (n, 3)."""
        values: np.ndarray = np.zeros(len(points), dtype=np.float32)
        (ix, wx), (iy, wy), (iz, wz) = (self._weights(points[:, axis]) for axis in range(3))
        n = self._lattice.shape[0]
        for a in range(4):
            for b in range(4):
                for c in range(4):
                    cell = self._lattice[(iz + a) % n, (iy + b) % n, (ix + c) % n]
                    values += wz[:, a] * wy[:, b] * wx[:, c] * cell
        return values


@dataclass(frozen=True)
class Rough:
    """Bumps on a surface: ``amplitude`` mm (one standard deviation) at ``noise``'s wavelength."""

    noise: Noise
    amplitude: float


@dataclass(frozen=True)
class Balls:
    """The union of ellipsoids; a chain of them makes a tube.

    Attributes:
        centres: (n, 3) mm.
        axes: (n, 3) semi-axes in mm along x, y, z.
        blend: mm over which neighbours melt into each other; 0 for a plain union.
        rough: bumps on the surface.
    """

    centres: np.ndarray
    axes: np.ndarray
    blend: float = 0.0
    rough: tuple[Rough, ...] = field(default=())

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Two corners around everything nearer than `FAR`."""
        reach = FAR + self.blend + 3 * sum(r.amplitude for r in self.rough)
        return (self.centres - self.axes).min(axis=0) - reach, (self.centres + self.axes).max(axis=0) + reach

    def distance(self, frame: Frame) -> np.ndarray:
        """Signed distance on a frame, float32 (K, J, I)."""
        result: np.ndarray = np.full(frame.shape, FAR + self.blend, dtype=np.float32)
        reach = FAR + 2 * self.blend
        for centre, axes in zip(self.centres, self.axes, strict=True):
            window = frame.window(centre - axes - reach, centre + axes + reach)
            near = frame.crop(window)
            if 0 in near.shape:
                continue
            part = _ellipsoid(near, centre, axes)
            here = result[window]
            if self.blend > 0:
                overlap = np.maximum(self.blend - np.abs(here - part), 0.0)
                np.minimum(here, part, out=here)
                here -= overlap * overlap / np.float32(4 * self.blend)
            else:
                np.minimum(here, part, out=here)
        for rough in self.rough:
            result += rough.noise.on(frame) * np.float32(rough.amplitude)
        return result


def _ellipsoid(frame: Frame, centre: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Signed distance to an ellipsoid, exact for a sphere and to first order near any surface."""
    offsets = [c - np.float32(m) for c, m in zip((frame.z, frame.y, frame.x), centre[::-1], strict=True)]
    semi = [np.float32(a) for a in axes[::-1]]
    if np.ptp(axes) < 1e-3:
        square = _outer_sum([o * o for o in offsets])
        return np.asarray(np.sqrt(square, out=square)) - semi[0]
    inside = np.sqrt(_outer_sum([(o / a) ** 2 for o, a in zip(offsets, semi, strict=True)]))
    slope = np.sqrt(_outer_sum([(o / (a * a)) ** 2 for o, a in zip(offsets, semi, strict=True)])) + np.float32(1e-6)
    return np.asarray(np.maximum(inside * (inside - 1) / slope, -min(semi)))


def _outer_sum(terms: list[np.ndarray]) -> np.ndarray:
    k, j, i = terms
    return np.asarray(k[:, None, None] + j[None, :, None] + i[None, None, :])


def curve(points: Sequence[Sequence[float]] | np.ndarray, spacing: float = 2.0) -> np.ndarray:
    """A smooth curve through control points (Catmull-Rom), about ``spacing`` apart.

    Args:
        points: (n, d) control points, the first three columns x, y, z in mm; more columns (radii) are carried along.
        spacing: mm between the points of the result.

    Returns:
        (m, d) array.
    """
    control = np.asarray(points, dtype=float)
    padded = np.vstack([2 * control[0] - control[1], control, 2 * control[-1] - control[-2]])
    pieces = []
    for p0, p1, p2, p3 in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        count = max(2, int(np.ceil(np.linalg.norm(p2[:3] - p1[:3]) / spacing)))
        t = (np.arange(count) / count)[:, None]
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        )
    return np.vstack([*pieces, control[-1:]])

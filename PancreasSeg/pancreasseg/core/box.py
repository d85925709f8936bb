"""An axis-aligned region in a volume's own voxel grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pancreasseg.core.errors import InputError
from pancreasseg.core.geometry import Geometry, Index


@dataclass(frozen=True)
class Box:
    """Voxels ``start <= (i, j, k) < stop``; both tuples follow the index axes i, j, k.

    Build boxes that come from a person with `checked`, which refuses what cannot be segmented.
    """

    start: Index
    stop: Index

    @property
    def size(self) -> Index:
        """Voxels along i, j, k."""
        i, j, k = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return (i, j, k)

    @property
    def shape(self) -> Index:
        """Array shape (K, J, I) of the region."""
        i, j, k = self.size
        return (k, j, i)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index for an array of shape (K, J, I)."""
        i, j, k = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return (k, j, i)

    @property
    def voxels(self) -> int:
        """Number of voxels; 0 for an empty or inverted box."""
        return int(np.prod([max(n, 0) for n in self.size]))

    def extent_mm(self, geometry: Geometry) -> tuple[float, float, float]:
        """Outer size in mm along i, j, k."""
        i, j, k = (n * s for n, s in zip(self.size, geometry.spacing, strict=True))
        return (i, j, k)

    def bounds(self) -> tuple[int, int, int, int, int, int]:
        """(I0, I1, J0, J1, K0, K1), as the command line and the worker write it."""
        (i0, j0, k0), (i1, j1, k1) = self.start, self.stop
        return (i0, i1, j0, j1, k0, k1)

    @classmethod
    def from_bounds(cls, bounds: Sequence[int]) -> Box:
        """The inverse of `bounds`."""
        i0, i1, j0, j1, k0, k1 = (int(b) for b in bounds)
        return cls((i0, j0, k0), (i1, j1, k1))

    @classmethod
    def between(cls, start: Iterable[int], stop: Iterable[int]) -> Box:
        """From the first voxel and the one behind the last, each as three whole numbers along i, j, k."""
        i0, j0, k0 = (int(n) for n in start)
        i1, j1, k1 = (int(n) for n in stop)
        return cls((i0, j0, k0), (i1, j1, k1))

    @classmethod
    def whole(cls, geometry: Geometry) -> Box:
        """The whole volume."""
        return cls((0, 0, 0), geometry.size)

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> Box | None:
        """The smallest box around the non-zero voxels of a (K, J, I) array; None when there are none."""
        ranges = []
        part = mask
        for axis in range(3):
            occupied = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
            if occupied.size == 0:
                return None
            ranges.append((int(occupied[0]), int(occupied[-1]) + 1))
            # The next axes are looked at only where this one holds something: one pass over the array, not three.
            part = part[(slice(None),) * axis + (slice(*ranges[-1]),)]
        (k0, k1), (j0, j1), (i0, i1) = ranges
        return cls((i0, j0, k0), (i1, j1, k1))

    @classmethod
    def checked(cls, bounds: Sequence[int], geometry: Geometry) -> Box:
        """A box as a person gave it, clipped to the volume.

        Raises:
            InputError: inverted or empty box, or a box that does not meet the volume.
        """
        box = cls.from_bounds(bounds)
        if min(box.size) <= 0:
            raise InputError(
                "box-inverted",
                f"The box {list(box.bounds())} has no voxels: on some axis its end is not above its start.",
                "Give the box as I0 I1 J0 J1 K0 K1 with each first number below the second.",
            )
        clipped = box.clip(geometry)
        if min(clipped.size) <= 0:
            i, j, k = geometry.size
            raise InputError(
                "box-outside-volume",
                f"The box {list(box.bounds())} lies outside the volume of {i} x {j} x {k} voxels.",
                "Move the box over the pancreas, or leave it out to have it placed automatically.",
            )
        return clipped

    def clip(self, geometry: Geometry) -> Box:
        """The part inside the volume; may be empty. Its indices are never negative, so `slices` cannot wrap round."""
        i0, j0, k0 = (min(max(a, 0), n) for a, n in zip(self.start, geometry.size, strict=True))
        i1, j1, k1 = (min(max(b, 0), n) for b, n in zip(self.stop, geometry.size, strict=True))
        return Box((i0, j0, k0), (i1, j1, k1))

    def grow(self, margin_mm: float | Sequence[float], geometry: Geometry) -> Box:
        """Enlarged by ``margin_mm`` on every side (one number, or one along each of i, j, k), clipped."""
        margins = np.broadcast_to(np.asarray(margin_mm, dtype=float), (3,))
        voxels = np.ceil(margins / np.asarray(geometry.spacing) - 1e-6).astype(int)
        return self.pad([int(v) for v in voxels], [int(v) for v in voxels]).clip(geometry)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Box:
        """Enlarged by whole voxels along i, j, k at the low and the high faces; not clipped."""
        i0, j0, k0 = (a - n for a, n in zip(self.start, before, strict=True))
        i1, j1, k1 = (b + n for b, n in zip(self.stop, after, strict=True))
        return Box((i0, j0, k0), (i1, j1, k1))

    def intersect(self, other: Box) -> Box:
        """The common part; empty (voxels == 0) when there is none."""
        i0, j0, k0 = start = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        i1, j1, k1 = (max(a, min(b, c)) for a, b, c in zip(start, self.stop, other.stop, strict=True))
        return Box((i0, j0, k0), (i1, j1, k1))

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        i0, j0, k0 = (min(a, b) for a, b in zip(self.start, other.start, strict=True))
        i1, j1, k1 = (max(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Box((i0, j0, k0), (i1, j1, k1))

    def relative_to(self, outer: Box) -> Box:
        """The same region in the index frame of ``outer``'s crop."""
        i0, j0, k0 = (a - o for a, o in zip(self.start, outer.start, strict=True))
        i1, j1, k1 = (b - o for b, o in zip(self.stop, outer.start, strict=True))
        return Box((i0, j0, k0), (i1, j1, k1))

    def out_of(self, outer: Box) -> Box:
        """The inverse of `relative_to`: a box given in the index frame of ``outer``'s crop, in the volume's frame."""
        i0, j0, k0 = (a + o for a, o in zip(self.start, outer.start, strict=True))
        i1, j1, k1 = (b + o for b, o in zip(self.stop, outer.start, strict=True))
        return Box((i0, j0, k0), (i1, j1, k1))

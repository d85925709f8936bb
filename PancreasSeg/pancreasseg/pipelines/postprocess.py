"""From a thresholded mask to one organ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.lazy import Library
from pancreasseg.grids.body import map_box
from pancreasseg.grids.morphology import dilated, filled

if TYPE_CHECKING:
    import SimpleITK as sitk
else:
    sitk = Library("SimpleITK")

#: Pieces of a result with at most this gap (mm) are one pancreas: networks often lose the thin neck.
JOIN_MM = 20.0
#: Pieces smaller than this part of the largest are specks, never part of the organ.
LARGE_PIECE = 0.1


#: Margin of the reported box around the found pancreas, where no localizer proposed one.
MARGIN_MM = 10.0


@dataclass(frozen=True)
class Organ:
    """The cleaned mask and what the cleaning removed.

    Attributes:
        mask: bool (K, J, I).
        second_largest: voxels of the largest component that was removed, as a part of the one that was kept.
    """

    mask: np.ndarray
    second_largest: float


def clean(mask: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0), join_mm: float = 0.0) -> Organ:
    """Keep the largest component (26-neighbourhood) and fill its holes (6-neighbourhood background).

    A mask often breaks at the thin neck of the pancreas, and the largest component alone would lose the body and tail.
    With ``join_mm``, large pieces whose gap is at most that count as one; specks stay out.

    Works inside the mask's own bounding box, so a large array costs no more than the organ.

    Args:
        mask: (K, J, I).
        spacing: mm along i, j, k; only used for ``join_mm``.
        join_mm: widest gap between pieces of one organ.
    """
    box = Box.of_mask(mask)
    if box is None:
        return Organ(np.zeros(mask.shape, dtype=bool), 0.0)
    image = sitk.GetImageFromArray(mask[box.slices].astype(np.uint8))
    labels = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(image, True)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = labels == 1
    if join_mm > 0:
        large = np.flatnonzero(sizes >= LARGE_PIECE * sizes[1])
        if large.size > 1:
            kept = _joined(labels, large, [join_mm / 2 / s for s in spacing])
    removed = int(np.delete(sizes, np.unique(labels[kept])).max(initial=0))
    result = np.zeros(mask.shape, dtype=bool)
    result[box.slices] = filled(kept)
    return Organ(result, removed / int(np.count_nonzero(kept)))


def surroundings(mask: np.ndarray, grid: Geometry, geometry: Geometry, box: Box, join_mm: float = 0.0) -> Box:
    """The box around the organ in a mask (K, J, I) on ``grid``, with `MARGIN_MM`, in the voxels of ``geometry``.

    It stays inside ``box``, and is all of it when there is no organ.
    """
    found = Box.of_mask(clean(mask, grid.spacing, join_mm).mask)
    return box if found is None else map_box(found, grid, geometry).grow(MARGIN_MM, geometry).intersect(box)


def _joined(labels: np.ndarray, large: np.ndarray, reach: Sequence[float]) -> np.ndarray:
    """Of the pieces numbered in ``large``, the group with most voxels; ``reach`` is half of the gap, in voxels."""
    pieces = np.isin(labels, large)
    radius = [int(np.ceil(r)) for r in reach]
    padded = np.pad(pieces, [(r, r) for r in reversed(radius)])
    swollen = sitk.GetImageFromArray(dilated(padded, radius).astype(np.uint8))
    groups = sitk.GetArrayFromImage(sitk.ConnectedComponent(swollen, True))
    inner = groups[tuple(slice(r, r + n) for r, n in zip(reversed(radius), labels.shape, strict=True))]
    counts = np.bincount(inner[pieces])
    return np.asarray(pieces & (inner == counts.argmax()))


def smooth(mask: np.ndarray, spacing: Sequence[float], radius_mm: float) -> np.ndarray:
    """Close gaps and notches of a mask, then take away spurs; axes with larger voxels are left alone.

    Args:
        mask: (K, J, I).
        spacing: mm along i, j, k.
        radius_mm: of the ellipsoid that closes and opens.

    Returns:
        bool (K, J, I).
    """
    radius = [int(radius_mm / s + 1e-6) for s in spacing]
    box = Box.of_mask(mask)
    if box is None or not any(radius):
        return mask.astype(bool)
    # Room on every side: what touches the border must neither be eaten from there nor stick to it.
    room = [(r, r) for r in reversed(radius)]
    image = sitk.GetImageFromArray(np.pad(mask[box.slices].astype(np.uint8), room))
    image = sitk.BinaryMorphologicalClosing(image, radius, sitk.sitkBall)
    image = sitk.BinaryMorphologicalOpening(image, radius, sitk.sitkBall)
    inner = tuple(slice(r, r + n) for (r, _), n in zip(room, box.shape, strict=True))
    result = np.zeros(mask.shape, dtype=bool)
    result[box.slices] = sitk.GetArrayFromImage(image)[inner] > 0
    return result


def touched_faces(mask: np.ndarray, box: Box, geometry: Geometry) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Faces of ``box`` that the mask inside it touches and that could still grow.

    Args:
        mask: (K, J, I) on the box.
        box: the region that was segmented.
        geometry: of the volume; a face on its border cannot grow and does not count.

    Returns:
        Two triples along i, j, k of 0 or 1: the low faces and the high faces.
    """
    low, high = [], []
    for axis in range(3):
        along = 2 - axis
        first, last = np.take(mask, 0, axis=along), np.take(mask, -1, axis=along)
        low.append(int(first.any() and box.start[axis] > 0))
        high.append(int(last.any() and box.stop[axis] < geometry.size[axis]))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])

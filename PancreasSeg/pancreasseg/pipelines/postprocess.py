"""From a thresholded mask to one organ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from pancreasseg.volume import Box, Geometry


@dataclass(frozen=True)
class Organ:
    """The cleaned mask and what the cleaning removed.

    Attributes:
        mask: bool (K, J, I).
        second_largest: voxels of the largest component that was removed, as a part of the one that was kept.
    """

    mask: np.ndarray
    second_largest: float


def clean(mask: np.ndarray) -> Organ:
    """Keep the largest component (26-neighbourhood) and fill its holes (6-neighbourhood background).

    Works inside the mask's own bounding box, so a large array costs no more than the organ.
    """
    box = Box.of_mask(mask)
    if box is None:
        return Organ(np.zeros(mask.shape, dtype=bool), 0.0)
    image = sitk.GetImageFromArray(mask[box.slices].astype(np.uint8))
    labels = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(image, True)))
    sizes = np.bincount(labels.ravel(), minlength=3)
    result = np.zeros(mask.shape, dtype=bool)
    result[box.slices] = ndimage.binary_fill_holes(labels == 1)
    return Organ(result, float(sizes[2] / sizes[1]))


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

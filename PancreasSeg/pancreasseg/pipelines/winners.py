"""From class probabilities on a network's grid to labels in a CT's own voxels."""

from __future__ import annotations

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.grids.body import map_box
from pancreasseg.grids.resample import from_grid


def winners(
    mean: np.ndarray, grid: Geometry, geometry: Geometry, region: Box, only: int | None = None
) -> tuple[np.ndarray, Box]:
    """The class with the largest probability in every voxel of a volume, probabilities interpolated linearly.

    A class can win only where it has at least 1 / classes, and interpolation never exceeds its neighbours: so each
    class is brought to the native grid only around the voxels where it has that, which saves most of the work.

    Args:
        mean: probabilities (classes, K, J, I) on ``grid``; class 0 is the background.
        grid: the network's.
        geometry: the volume's.
        region: voxels of the volume that are asked for.
        only: resolve only the surroundings of this class.

    Returns:
        uint8 labels on the returned box, which lies in ``region``; everything outside of it is background.
    """
    classes = len(mean)
    boxes: dict[int, Box] = {}
    for index in range(1, classes):
        box = reach(mean[index] >= 1.0 / classes, grid, geometry, region)
        if box is not None:
            boxes[index] = box
    if only is not None:
        around = boxes.get(only)
        boxes = {} if around is None else {c: box.intersect(around) for c, box in boxes.items()}
        boxes = {c: box for c, box in boxes.items() if min(box.size) > 0}
    if not boxes:
        return np.zeros(region.shape, dtype=np.uint8), region
    union = next(iter(boxes.values()))
    for box in boxes.values():
        union = union.union(box)
    best = from_grid(mean[0], grid, geometry, union)
    labels = np.zeros(union.shape, dtype=np.uint8)
    for index, box in boxes.items():
        here = box.relative_to(union).slices
        probability = from_grid(mean[index], grid, geometry, box)
        wins = probability > best[here]
        labels[here][wins] = index
        best[here][wins] = probability[wins]
    return labels, union


def reach(where: np.ndarray, grid: Geometry, geometry: Geometry, region: Box) -> Box | None:
    """Voxels of ``region`` that interpolation between the voxels of a mask on ``grid`` can reach."""
    box = Box.of_mask(where)
    if box is None:
        return None
    reached = map_box(box.pad((1, 1, 1), (1, 1, 1)), grid, geometry).intersect(region)
    return reached if min(reached.size) > 0 else None

"""How well a box covers the true one, as Zhao 2019 evaluates localization."""

from __future__ import annotations

from pancreasseg.core import Box
from pancreasseg.core.measurement import Measurement, private


def recall(box: Box, true_box: Box) -> float:
    """The share of the true box that the box covers: |true ∩ box| / |true| (Zhao 2019, equation 6).

    The true box is the one around the reference mask. When it is empty: 1 if the box is empty too, else 0.
    """
    if true_box.voxels == 0:
        return float(box.voxels == 0)
    return box.intersect(true_box).voxels / true_box.voxels


def iou(box: Box, true_box: Box) -> float:
    """Intersection over union of two boxes: |true ∩ box| / |true or box| (Zhao 2019, equation 7).

    1 when both are empty, 0 when one is.
    """
    common = box.intersect(true_box).voxels
    union = box.voxels + true_box.voxels - common
    return common / union if union else 1.0


def compare_boxes(box: Box, true_box: Box) -> list[Measurement]:
    """Recall and IoU of a box as measurements ``box_recall`` and ``box_iou``."""
    rows = (
        ("box_recall", "Recall of the box", recall(box, true_box), "share of the true box that lies in the box"),
        ("box_iou", "Intersection over union of the boxes", iou(box, true_box), ""),
    )
    return [
        Measurement(name, title, value, "1", private(name.replace("_", "-"), title), note)
        for name, title, value, note in rows
    ]

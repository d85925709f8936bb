"""How well a mask agrees with a reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.measurement import Measurement, private
from pancreasseg.measure.surface_distance import surface_distances

NSD_TOLERANCES_MM = (1, 2)

BOTH_EMPTY = "both masks are empty: full agreement by definition"
MASK_EMPTY = "the mask is empty, the reference is not"
REFERENCE_EMPTY = "the reference is empty, the mask is not"


def compare(
    mask: np.ndarray, reference: np.ndarray, geometry: Geometry, *, distances: bool = True
) -> list[Measurement]:
    """Overlap, volume error and surface distances of a mask against a reference.

    Names: dsc, iou, precision, recall, volume_difference, volume_difference_percent, hd, hd95, msd, nsd_1mm, nsd_2mm.

    - HD95 is the larger of the two directed 95th percentiles; the mean surface distance ("S2S" in the papers) is the
      mean over the surface voxels of both masks together; NSD is the share of both surfaces' voxels that lie within the
      tolerance of the other surface. For the definition of a surface see `surface_distance`.
    - Both masks empty: overlaps and NSD are 1, differences and distances 0, and each note says so. One empty: overlaps
      and NSD are 0, distances infinite; the volume difference in percent of an empty reference is infinite.

    Args:
        mask: (K, J, I), non-zero is the organ.
        reference: the same.
        geometry: grid of both.
        distances: False leaves out the surface distances, which take most of the time.

    Raises:
        InputError: the arrays do not fit the grid.
    """
    check_grid(mask, geometry)
    check_grid(reference, geometry, "reference")
    box, reference_box = Box.of_mask(mask), Box.of_mask(reference)
    if box is None or reference_box is None:
        rows = _with_empty(mask, reference, geometry)
        return rows if distances else rows[: len(_overlaps(1, 1, 1, geometry))]
    region = box.union(reference_box).slices
    ours, theirs = mask[region] != 0, reference[region] != 0
    counts = [int(np.count_nonzero(m)) for m in (ours, theirs, ours & theirs)]
    rows = _overlaps(counts[0], counts[1], counts[2], geometry)
    return rows + _distances(*surface_distances(ours, theirs, geometry.spacing)) if distances else rows


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """DSC of two arrays of one shape; 1 when both are empty."""
    ours, theirs = mask != 0, reference != 0
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return 2 * np.count_nonzero(ours & theirs) / total if total else 1.0


def check_grid(mask: np.ndarray, geometry: Geometry, what: str = "mask") -> None:
    """Refuse an array that is not on the grid.

    Raises:
        InputError: ``mask-grid``.
    """
    if mask.shape != geometry.shape:
        raise InputError(
            "mask-grid",
            f"The {what} has {' x '.join(map(str, mask.shape[::-1]))} voxels, "
            f"the volume {' x '.join(map(str, geometry.size))}.",
            f"Give a {what} that was drawn on this volume.",
        )


def _overlaps(ours: int, theirs: int, common: int, geometry: Geometry) -> list[Measurement]:
    def row(name: str, title: str, value: float, unit: str = "1", note: str = "") -> Measurement:
        return Measurement(name, title, float(value), unit, private(name.replace("_", "-"), title), note)

    return [
        row("dsc", "Dice similarity coefficient", 2 * common / (ours + theirs)),
        row("iou", "Intersection over union", common / (ours + theirs - common)),
        row("precision", "Precision", common / ours),
        row("recall", "Recall", common / theirs),
        row("volume_difference", "Volume difference", (ours - theirs) * geometry.voxel_ml, "ml", "mask - reference"),
        row(
            "volume_difference_percent",
            "Volume difference in percent",
            (ours - theirs) / theirs * 100,
            "%",
            "of the reference",
        ),
    ]


def _distances(there: np.ndarray, back: np.ndarray) -> list[Measurement]:
    def row(name: str, title: str, value: np.floating, unit: str = "mm", note: str = "") -> Measurement:
        return Measurement(name, title, float(value), unit, private(name.replace("_", "-"), title), note)

    both = np.concatenate([there, back])
    percentile = max(np.percentile(there, 95), np.percentile(back, 95))
    return [
        row("hd", "Hausdorff distance", both.max()),
        row("hd95", "95 % Hausdorff distance", percentile, note="larger of the two directed 95th percentiles"),
        row("msd", "Mean surface distance", both.mean(), note="symmetric, over both surfaces (S2S)"),
        *(
            row(
                f"nsd_{tolerance}mm",
                f"Normalised surface distance at {tolerance} mm",
                # A distance that equals the tolerance but for rounding is within it.
                np.mean(both <= tolerance + 1e-4),
                "1",
                "share of both surfaces within the tolerance",
            )
            for tolerance in NSD_TOLERANCES_MM
        ),
    ]


def _with_empty(mask: np.ndarray, reference: np.ndarray, geometry: Geometry) -> list[Measurement]:
    """The defined results where at least one mask is empty."""
    ours, theirs = int(np.count_nonzero(mask)), int(np.count_nonzero(reference))
    same = ours == theirs
    note = BOTH_EMPTY if same else (MASK_EMPTY if theirs else REFERENCE_EMPTY)
    # The rows of two equal one-voxel masks give the order and the titles.
    template = _overlaps(1, 1, 1, geometry) + _distances(np.zeros(1), np.zeros(1))
    values: dict[str, float] = {
        row.name: (1.0 if same else 0.0) if row.unit == "1" else (0.0 if same else math.inf) for row in template
    }
    values["volume_difference"] = (ours - theirs) * geometry.voxel_ml
    if theirs and not ours:
        values["volume_difference_percent"] = -100.0
    return [replace(row, value=values[row.name], note=note) for row in template]

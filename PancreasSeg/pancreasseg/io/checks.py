"""Is this a CT that can be segmented? Refusals in plain sentences, and findings for what is merely unusual."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.grids.spacing import coarse_spacing
from pancreasseg.io.evenness import uneven
from pancreasseg.io.grids import refuse_implausible
from pancreasseg.io.hounsfield import AIR_BELOW_HU, air_elsewhere, not_hu, refuse_impossible

MIN_SLICES = 5
MIN_EXTENT_MM = 20.0
MIN_TISSUE_ML = 1.0
_LABELS_UP_TO = 255


def check_ct(array: np.ndarray, geometry: Geometry, allow: Collection[str] = ()) -> tuple[Finding, ...]:
    """Refuse what cannot be an abdominal CT in HU; remark on what is unusual.

    Args:
        array: HU, shape (K, J, I).
        geometry: its grid.
        allow: codes of refusals that the caller knows better about; each becomes a serious finding instead.

    Raises:
        InputError: ``too-few-slices``, ``field-of-view-too-small``, ``labels-not-ct``, ``not-hu`` or ``air-only``;
            whatever is allowed, ``voxels-too-large``, ``field-of-view-too-large`` and ``values-too-large``.
    """
    refuse_implausible(geometry.size, geometry.spacing)
    refuse_impossible(array)
    findings: list[Finding] = []
    for refusal in (_refuse_grid(geometry), _refuse_values(array, geometry)):
        if refusal is None:
            continue
        if refusal.code not in allow:
            raise refusal
        findings.append(Finding(refusal.code, Severity.SERIOUS, refusal.message))
    coarse = coarse_spacing(geometry)
    if coarse is not None:
        findings.append(coarse)
    air = air_elsewhere(array)
    if air is not None:
        sentence = (
            f"The darkest regions lie near {air:.0f} HU, but air in a CT lies near -1000: the values may be shifted or "
            "rescaled. Compare with the original CT."
        )
        findings.append(Finding("air-not-at-1000", Severity.WARNING, sentence, air))
    findings += uneven(array)
    return tuple(findings)


def _refuse_grid(geometry: Geometry) -> InputError | None:
    fewest = min(geometry.size)
    if fewest < MIN_SLICES:
        return InputError(
            "too-few-slices",
            f"The volume has only {fewest} slice{'s' if fewest > 1 else ''} along one axis.",
            "Give the whole abdominal series.",
        )
    smallest = min(geometry.extent_mm)
    if smallest < MIN_EXTENT_MM:
        return InputError(
            "field-of-view-too-small",
            f"The field of view is only {smallest:.1f} mm along one axis.",
            "Give the whole abdominal series, and check that the voxel spacing is in mm.",
        )
    return None


def _refuse_values(array: np.ndarray, geometry: Geometry) -> InputError | None:
    lowest, highest = float(array.min()), float(array.max())
    if lowest == highest >= 0:
        return InputError(
            "labels-not-ct",
            f"All voxels of the file have the same value, {highest:.4g}: there is no picture in it.",
            "Export or copy the CT again.",
        )
    if lowest >= 0 and _few_labels(array, highest):
        return InputError(
            "labels-not-ct",
            f"The file looks like a label map (whole numbers from 0 to {highest:.0f}), not like a CT.",
            "Give the CT that the labels were drawn on.",
        )
    if highest < AIR_BELOW_HU or (lowest < 0 and _tissue_ml(array, geometry) < MIN_TISSUE_ML):
        return InputError(
            "air-only",
            f"The volume holds only air (highest value {highest:.0f} HU).",
            "Give a series with the abdomen in view.",
        )
    return not_hu(array)


def _few_labels(array: np.ndarray, highest: float) -> bool:
    """Whole numbers from 0 up that mostly equal their neighbour: painted regions, not a picture with noise."""
    if highest > _LABELS_UP_TO:
        return False
    whole = array if array.dtype.kind in "iu" else np.rint(array)
    if whole is not array and not np.array_equal(whole, array):
        return False
    inside = whole[:, :, 1:] > 0
    if not inside.any():
        return True
    return float((whole[:, :, 1:] == whole[:, :, :-1])[inside].mean()) > 0.8


def _tissue_ml(array: np.ndarray, geometry: Geometry) -> float:
    """Volume above -500 HU in ml; single hot voxels in air do not count as a body."""
    return float(np.count_nonzero(array > AIR_BELOW_HU)) * geometry.voxel_ml

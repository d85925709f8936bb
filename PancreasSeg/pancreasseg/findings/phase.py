"""Which contrast phase a scan looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pancreasseg.core import Box
from pancreasseg.findings.blocks import Blocks

UNENHANCED, ARTERIAL, ENHANCED = "unenhanced", "arterial", "enhanced"

_BONE_HU = 250
_SOFT_HU = (0, 250)
_BRIGHT_HU = 85  # above unenhanced organs (40-65 HU, liver to 75), below venous liver and spleen
_FEW_BRIGHT = 0.12
_PANCREAS_UNENHANCED_HU = 65
_SPLEEN_UNENHANCED_HU = 70
_SPLEEN_ARTERIAL_HU = 100
_SPLEEN_ABOVE_LIVER_HU = 45
_LIVER_ARTERIAL_HU = 80
_AORTA_HU = (220, 270, 320)
_METAL_HU = 600
_AORTA_LENGTH_MM = 80
_AORTA_WINDING_MM = 12
_AORTA_OFF_CENTRE_MM = 35
_AORTA_DEPTH = 0.45  # of the body, from its front
_FEWEST_VOXELS = 500


@dataclass(frozen=True)
class Phase:
    """What a scan looks like.

    Attributes:
        name: "unenhanced", "arterial", or "enhanced" for venous and later.
        reason: the observation, to follow "because".
        number: the value in ``reason``.
    """

    name: str
    reason: str
    number: float


@dataclass(frozen=True)
class Contrast:
    """What the body as a whole shows of a contrast agent, whatever was segmented in it.

    Attributes:
        aorta: median HU of an aorta as bright as in an arterial scan; None where none is seen.
        bright: share of the soft tissue that is brighter than unenhanced organs; None where there is too little of it.
    """

    aorta: float | None
    bright: float | None

    @classmethod
    def of(cls, blocks: Blocks) -> Contrast:
        """Look at a CT."""
        return cls(_arterial_aorta(blocks), _share_of_bright(blocks))


def estimate_phase(
    hu: np.ndarray,
    contrast: Contrast,
    *,
    pancreas: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> Phase | None:
    """Guess the contrast phase; None where there is too little to see.

    With the spleen and liver of a multi-organ model: unenhanced below 70 HU in the spleen; arterial when the spleen is
    bright (100 HU) and the liver still dark (below 80 HU and 45 HU below the spleen). Otherwise from the whole body:
    arterial when a straight tube brighter than 220 HU runs for 80 mm along the middle of the body, as the aorta then
    does; unenhanced when less than 12 % of its soft tissue away from bone (blocks of 4 mm, 0-250 HU) is brighter than
    85 HU and the pancreas, where known, is not brighter than 65 HU.

    Limits: a model that fails on an unenhanced scan finds no spleen, so the body decides. A scan of legs or chest has
    few bright organs; a fatty liver with a well enhanced spleen can look arterial; a thin or short aorta is missed. It
    is a reason to look, not a measurement.

    Args:
        hu: (K, J, I) HU.
        contrast: of the same volume.
        pancreas: bool or uint8 mask (K, J, I), may be empty.
        labels: label map (K, J, I) of a multi-organ model.
        classes: its class names, background first.
    """
    spleen, liver = (_organ_hu(hu, labels, classes, name) for name in ("spleen", "liver"))
    if spleen is not None:
        if spleen < _SPLEEN_UNENHANCED_HU:
            return Phase(UNENHANCED, f"the spleen has {spleen:.0f} HU", spleen)
        if liver is not None and spleen >= _SPLEEN_ARTERIAL_HU and liver < _LIVER_ARTERIAL_HU:
            above = spleen - liver
            if above >= _SPLEEN_ABOVE_LIVER_HU:
                return Phase(ARTERIAL, f"the spleen is {above:.0f} HU brighter than the liver", above)
        return Phase(ENHANCED, f"the spleen has {spleen:.0f} HU", spleen)
    return _of_body(contrast, None if pancreas is None else _median(hu, pancreas))


def _of_body(contrast: Contrast, pancreas: float | None) -> Phase | None:
    aorta, bright = contrast.aorta, contrast.bright
    if aorta is not None:
        return Phase(ARTERIAL, f"a vessel in front of the spine has {aorta:.0f} HU", aorta)
    if bright is None:
        return None
    percent = 100 * bright
    reason = f"{percent:.0f} % of the soft tissue is brighter than {_BRIGHT_HU} HU"
    if bright < _FEW_BRIGHT and (pancreas is None or pancreas <= _PANCREAS_UNENHANCED_HU):
        return Phase(UNENHANCED, f"only {reason}", percent)
    return Phase(ENHANCED, reason, percent)


def _share_of_bright(blocks: Blocks) -> float | None:
    """Share of the soft tissue away from bone that is brighter than unenhanced organs."""
    array = blocks.array
    bone = ndimage.binary_dilation(array > _BONE_HU, iterations=2)
    soft = blocks.body & (array > _SOFT_HU[0]) & (array < _SOFT_HU[1]) & ~bone
    count = np.count_nonzero(soft)
    return float(np.count_nonzero(soft & (array > _BRIGHT_HU)) / count) if count >= _FEWEST_VOXELS else None


def _arterial_aorta(blocks: Blocks) -> float | None:
    """Median HU of a straight bright tube along the middle of the body, or None where there is none.

    Stomach and bowel with oral contrast are as bright, but wind, or lie in front or at the side; the spine is broken by
    its discs. Higher thresholds are tried too, where the aorta comes apart from a spine that it touches.
    """
    rows, columns = (np.flatnonzero(blocks.body.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not columns.size:
        return None
    middle = (columns[0] + columns[-1]) / 2 * blocks.spacing[2]
    front = (rows[0] + _AORTA_DEPTH * (rows[-1] - rows[0])) * blocks.spacing[1]
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1] = ndimage.generate_binary_structure(2, 1)
    for threshold in _AORTA_HU:
        lumen = ndimage.binary_erosion((blocks.array > threshold) & (blocks.array < _METAL_HU), cross)
        pieces, _ = ndimage.label(lumen, np.ones((3, 3, 3), dtype=bool))
        for number, region in enumerate(ndimage.find_objects(pieces), 1):
            if (region[0].stop - region[0].start) * blocks.spacing[0] < _AORTA_LENGTH_MM:
                continue
            places = np.argwhere(pieces == number)
            path = [places[places[:, 0] == level, 1:].mean(axis=0) for level in np.unique(places[:, 0])]
            path_mm = np.array(path) * blocks.spacing[1:]
            winding = float(np.linalg.norm(path_mm.std(axis=0)))
            row, column = path_mm.mean(axis=0)
            before_spine = row >= front and abs(column - middle) <= _AORTA_OFF_CENTRE_MM
            if winding <= _AORTA_WINDING_MM and before_spine:
                return float(np.median(blocks.array[pieces == number]))
    return None


def _organ_hu(hu: np.ndarray, labels: np.ndarray | None, classes: Sequence[str], name: str) -> float | None:
    return None if labels is None or name not in classes else _median(hu, labels == list(classes).index(name))


def _median(hu: np.ndarray, mask: np.ndarray) -> float | None:
    """Median HU inside a mask, or None where it is too small to tell."""
    box = Box.of_mask(mask)
    if box is None:
        return None
    inside = hu[box.slices][mask[box.slices] != 0]
    return float(np.median(inside)) if inside.size >= _FEWEST_VOXELS else None

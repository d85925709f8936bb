"""Label maps of whole bodies for `pancreasseg.lab.axial.synthesis`: TotalSegmentator's, and Gibson's organs in them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from pancreasseg.lab.axial.cases import CLASSES
from pancreasseg.lab.axial.public import gibson, read_nifti
from pancreasseg.lab.axial.synthesis import BONE, FAT, ILIAC, LUNG, MAP_MM, MUSCLE, SKIN, TISSUES, VESSEL

_BONES = ("vertebrae", "rib_", "hip", "sacrum", "sternum", "femur", "scapula", "clavicula", "humerus", "skull")
_MUSCLES = ("autochthon", "iliopsoas", "gluteus")
_VESSELS = ("vein", "artery", "trunk", "cava", "atrial")
#: Organs whose common box lays one body on another: spleen, left kidney, liver, stomach.
_FRAME = (1, 3, 6, 7)
#: How much of a body is kept below the kidneys and above the liver, in voxels: pelvis to heart.
_BELOW, _ABOVE = 80, 50


def tissue_of(structure: str) -> int:
    """Key of `synthesis.HU` for a structure of TotalSegmentator."""
    name = {"kidney_left": "left kidney"}.get(structure, structure)
    if name in CLASSES:
        return CLASSES.index(name)
    if structure in TISSUES:
        return TISSUES[structure]
    groups = ((_BONES, BONE), (_MUSCLES, MUSCLE), (("lung",), LUNG), (("iliac",), ILIAC))
    for starts, tissue in groups:
        if structure.startswith(starts):
            return tissue
    return VESSEL if any(part in structure for part in _VESSELS) else FAT


def body(path: Path) -> np.ndarray:
    """A complete body of TotalSegmentator's data set (CC BY 4.0) at `MAP_MM`, with fat, muscle and skin between.

    Args:
        path: ``sNNNN.nii.gz`` in RAS, its structures' names in ``sNNNN.csv`` (value, structure).

    Returns:
        uint8 (slices, rows, columns); z up, y back, x left.
    """
    table = np.zeros(256, np.uint8)
    with path.with_name(path.name.replace(".nii.gz", ".csv")).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            table[int(row["value"])] = tissue_of(row["structure"])
    labels, _ = read_nifti(path)
    tissues = table[labels.astype(np.uint8)][:, ::-1, ::-1]
    liver, kidneys = (np.flatnonzero(np.isin(tissues, which).any((1, 2))) for which in ((6,), (3, 9)))
    tissues = tissues[max(0, min(liver[0], kidneys[0]) - _BELOW) : liver[-1] + _ABOVE]
    return np.where(tissues > 0, tissues, _between(tissues > 0))


def _between(structures: np.ndarray) -> np.ndarray:
    """What fills a body between its structures: skin, fat, a wall of muscle, fat; 0 outside of it."""
    inside = np.stack([_trunk(part) for part in structures])
    padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    # Distances within the slice only: the body is cut off above and below.
    depth = ndimage.distance_transform_edt(padded, sampling=(1e3, MAP_MM, MAP_MM))[:, 1:-1, 1:-1]
    layers = np.select([depth < 3, depth < 12, depth < 21], [SKIN, FAT, MUSCLE], FAT)
    return np.where(inside, layers, 0).astype(np.uint8)


def _trunk(structures: np.ndarray) -> np.ndarray:
    """The outline of a slice around its structures."""
    small = np.pad(ndimage.zoom(structures.astype(np.uint8), 0.5, order=0), 30)
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(small, iterations=25)[30:-30, 30:-30])
    grown = ndimage.binary_dilation(closed, iterations=3).astype(np.uint8)
    back = [a / b for a, b in zip(structures.shape, grown.shape, strict=True)]
    return np.asarray(ndimage.zoom(grown, back, order=0) > 0)


def with_organs(folder: Path, number: int, frame: np.ndarray) -> np.ndarray:
    """Gibson's organs of one patient in the surroundings of another body, laid box on box."""
    organs, spacing = gibson(folder, number)
    organs = ndimage.zoom(organs, [s / MAP_MM for s in spacing], order=0)
    own, other = (_box(np.isin(labels, _FRAME)) for labels in (organs, frame))
    scale = (other[:, 1] - other[:, 0]) / (own[:, 1] - own[:, 0])
    around = np.where(np.isin(frame, range(1, len(CLASSES))), FAT, frame).astype(np.uint8)
    offset = other[:, 0] - own[:, 0] * scale
    fitted = ndimage.affine_transform(around, scale, offset=offset, output_shape=organs.shape, order=0)
    whole = np.where(organs > 0, organs, fitted).astype(np.uint8)
    return np.asarray(whole[tuple(slice(int(a), int(b)) for a, b in _box(whole > 0))])


def _box(mask: np.ndarray) -> np.ndarray:
    """First and last-plus-one index along every axis, (3, 2)."""
    return np.array([[axis.min(), axis.max() + 1] for axis in np.nonzero(mask)], float)


def save(folder: Path, maps: dict[str, np.ndarray], names: Sequence[str] | None = None) -> None:
    """Write maps as ``<name>.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or maps:
        np.savez_compressed(folder / f"{name}.npz", labels=maps[name])

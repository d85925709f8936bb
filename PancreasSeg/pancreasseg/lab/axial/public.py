"""From public data to slice cases: sparse NIH slices, MSD slabs, whole label maps, an unlabelled CT, cohorts, phantoms.

The folders are those that the data come in; where to get them is said at each function. Whoever has the full sets
prepares a cohort of them (``pancreasseg data prepare nih|msd|folder``) and gives that to `of_cohort`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from pancreasseg.core import Volume
from pancreasseg.core.errors import InputError
from pancreasseg.grids.resample import nearest_axes
from pancreasseg.lab.axial.cases import CLASSES, OTHER, PANCREAS, UNKNOWN, WINDOW_HU, SliceCase
from pancreasseg.lab.cohorts.cohort import Cohort
from pancreasseg.phantom import NAMES, make_phantom

#: Gibson's maps with these numbers and above are of BTCV patients, whose terms do not allow shipped weights.
GIBSON_BTCV = 44
#: Two of Gibson's pancreas and NIH's are one patient's from this DSC on, once the maps lie on each other.
SAME_PATIENT_DSC = 0.93
#: The first seed of the phantoms to learn from; tests, demos and evaluations use others.
PHANTOM_SEED = 500_000


def nih_sparse(folder: Path, organs: dict[str, np.ndarray] | None = None) -> Iterator[SliceCase]:
    """Single slices of NIH Pancreas-CT with manual masks (TCIA, CC BY 3.0).

    Args:
        folder: ``PANCREAS_NNNN.nii.gz`` (HU 0 to 255, 1 mm), ``_mask.nii.gz`` and ``index.json`` with the heights and
            the known part of each slice.
        organs: labels of other organs by patient, as `gibson_on_slices` makes them.
    """
    for name, facts in _index(folder).items():
        hu, mask = (read_nifti(folder / f"{name}{ending}.nii.gz")[0] for ending in ("", "_mask"))
        labels = np.full(mask.shape, UNKNOWN, np.uint8)
        for k, (x0, y0, x1, y1) in enumerate(facts["valid_xyxy"]):
            labels[k, math.ceil(y0) : int(y1), math.ceil(x0) : int(x1)] = OTHER
        if organs and name in organs:
            labels = np.where(labels == OTHER, organs[name], labels)
        labels[mask > 0] = PANCREAS
        heights = np.asarray(facts["z_mm"], np.float32)
        yield SliceCase(name, np.minimum(hu, WINDOW_HU[1]).astype(np.uint8), labels, heights)


def msd_slabs(folder: Path) -> Iterator[SliceCase]:
    """Slabs of the Medical Segmentation Decathlon, Task07, cut down to the pancreas' surroundings (CC BY-SA 4.0).

    Args:
        folder: ``pancreas_NNN_ct.nii.gz`` in HU, ``_mask.nii.gz`` (pancreas and tumour together) and ``index.json``.
    """
    for name in _index(folder):
        raw, (thick, high, wide) = read_nifti(folder / f"{name}_ct.nii.gz")
        mask, _ = read_nifti(folder / f"{name}_mask.nii.gz")
        factors = (1, high, wide)
        hu = ndimage.zoom(_window(raw), factors, order=1)
        share = ndimage.zoom((mask > 0).astype(np.float32), factors, order=1)
        labels = np.where(share > 0.5, PANCREAS, OTHER).astype(np.uint8)
        heights = (np.arange(len(hu)) * thick).astype(np.float32)
        yield SliceCase(name, np.round(hu).astype(np.uint8), labels, heights)


def gibson(folder: Path, number: int) -> tuple[np.ndarray, tuple[float, float, float]]:
    """One of Gibson's label maps (Zenodo 1169361, CC BY 4.0): (slices, rows, columns), z up, y back, x left; spacing.

    The array runs to the left, front and foot, though its header says right, front, head; `gibson_on_slices` showed it.
    """
    labels, spacing = read_nifti(folder / f"{number}.nii.gz")
    return labels.astype(np.uint8)[::-1, ::-1], spacing


def gibson_numbers(folder: Path) -> list[int]:
    """The maps that shipped weights may learn from."""
    numbers = (int(path.name.split(".")[0]) for path in folder.glob("*.nii.gz"))
    return sorted(number for number in numbers if number < GIBSON_BTCV)


def of_volume(name: str, volume: Volume, labels: np.ndarray) -> SliceCase:
    """A whole CT as a case.

    Args:
        name: of the case.
        volume: the CT.
        labels: uint8 (K, J, I) on its grid, as in `SliceCase`.
    """
    (x, right), (y, back), (z, up) = nearest_axes(volume.geometry)
    order = (2 - z, 2 - y, 2 - x)
    turn = tuple(slice(None, None, sign) for sign in (up, back, right))
    hu, known = (array.transpose(order)[turn] for array in (volume.array, labels))
    thick, high, wide = (volume.geometry.spacing[axis] for axis in (z, y, x))
    planes = np.stack([ndimage.zoom(_window(plane), (high, wide), order=1) for plane in hu])
    classes = np.stack([ndimage.zoom(plane, (high, wide), order=0) for plane in known])
    heights = (np.arange(len(planes)) * thick).astype(np.float32)
    return SliceCase(name, np.round(planes).astype(np.uint8), classes, heights)


def of_cohort(cohort: Cohort) -> Iterator[SliceCase]:
    """The cases of a prepared cohort, e.g. of all of NIH Pancreas-CT, MSD Task07, BTCV or AMOS.

    Every slice is used, so the network also learns what lies above and below the organ.
    """
    for case in cohort.cases:
        labels = np.where(cohort.mask(case) > 0, PANCREAS, OTHER).astype(np.uint8)
        yield of_volume(case.id, cohort.volume(case), labels)


def pseudo_labelled(name: str, volume: Volume, labels: np.ndarray, pancreas: np.ndarray) -> SliceCase:
    """A CT that nobody labelled, with what a network of several organs says about it.

    What surrounds its pancreas, and where it is unsure, stays unknown.

    Args:
        name: of the case.
        volume: the CT.
        labels: uint8 (K, J, I), index in `CLASSES`, by a network such as OBELISK-Net.
        pancreas: its probability of the pancreas, (K, J, I).
    """
    found = labels == PANCREAS
    known = np.where(labels > 0, labels, OTHER).astype(np.uint8)
    known[ndimage.binary_dilation(found, iterations=3) & (labels == 0)] = UNKNOWN
    known[found & (pancreas <= 0.5)] = UNKNOWN
    known[(pancreas > 0.15) & (labels == 0)] = UNKNOWN
    return of_volume(name, volume, known)


def phantoms(count: int) -> Iterator[SliceCase]:
    """Computed abdomens, so that the demo's phantom is no stranger."""
    table = np.zeros(256, np.uint8)
    for label, organ in NAMES.items():
        if organ in CLASSES:
            table[label] = CLASSES.index(organ)
    for seed in range(PHANTOM_SEED, PHANTOM_SEED + count):
        phantom = make_phantom(seed, spacing=(1.0, 1.0, 2.5 if seed % 2 else 5.0))
        yield of_volume(f"phantom{seed}", phantom.volume, table[phantom.labels])


def _window(hu: np.ndarray) -> np.ndarray:
    return np.clip(hu.astype(np.float32), *WINDOW_HU)


def read_nifti(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The voxels of a NIfTI as they lie, (slices, rows, columns), and their size in mm in the same order."""
    image = sitk.ReadImage(str(path))
    wide, high, thick = image.GetSpacing()
    return np.asarray(sitk.GetArrayFromImage(image)), (float(thick), float(high), float(wide))


def _index(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "index.json").read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError("no-index", f"There is no index.json in {folder}.", "Check the data's folder.") from error

"""Corrections that a person keeps for training: the mask, the box, and where the CT is. Nothing else is kept.

A correction is two files of one name in a folder of the person's choice: ``NAME_mask.nii.gz``, the corrected mask on
the CT's own grid, and ``NAME.json``, which is written last and vouches for it. A CT that is no file of its own (DICOM,
or made in the scene) is kept beside them as ``NAME_ct.nii.gz``: voxels and grid, without what a header says about the
patient.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.io.atomic import all_or_none, prepare_folder
from pancreasseg.io.nifti import encode_nifti

FORMAT = 1


@dataclass(frozen=True)
class Correction:
    """A kept correction.

    Attributes:
        name: of its files.
        ct: file of the CT.
        mask: file of the corrected mask.
        scan: the same for all corrections of one CT, so that they are never trained and judged on at once.
        box: around which the network had looked, in the CT's voxels, or None.
    """

    name: str
    ct: Path
    mask: Path
    scan: str
    box: Box | None


def keep_correction(
    folder: str | Path, volume: Volume, mask: np.ndarray, *, ct: Path | None = None, box: Box | None = None
) -> Correction:
    """Keep a correction. One that was kept of the same CT before is replaced: the last word counts.

    Args:
        folder: of all corrections; made if it is not there.
        volume: the CT.
        mask: uint8 (K, J, I) on its grid, 1 = pancreas.
        ct: the file that the CT was read from; None when there is none of its own.
        box: where the network had looked.

    Raises:
        InputError: the mask is empty or has another size than the CT.
        OutputError: the folder cannot be written to.
    """
    if mask.shape != volume.array.shape:
        raise InputError("label-size", "The mask has another size than the CT.", "Keep the mask drawn on this CT.")
    if not mask.any():
        raise InputError("label-empty", "The mask is empty, so there is nothing to learn from.", "Correct it first.")
    folder = prepare_folder(folder)
    scan = hashlib.sha256(np.ascontiguousarray(volume.array).data).hexdigest()[:16]
    name = f"correction-{scan}"
    files = {"mask": f"{name}_mask.nii.gz", **({} if ct is not None else {"ct": f"{name}_ct.nii.gz"})}
    entry = {
        "format": FORMAT,
        "ct": str(ct.resolve()) if ct is not None else files["ct"],
        "mask": files["mask"],
        "scan": scan,
        "box": None if box is None else list(box.bounds()),
    }
    with all_or_none(folder, [*files.values(), f"{name}.json"]) as stage:
        (stage / files["mask"]).write_bytes(encode_nifti(mask.astype(np.uint8), volume.geometry))
        if ct is None:
            (stage / files["ct"]).write_bytes(encode_nifti(volume.array, volume.geometry))
        (stage / f"{name}.json").write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
    return _correction(folder, name, entry)


def corrections(folder: Path) -> list[Correction]:
    """All corrections of a folder, by name.

    Raises:
        InputError: one of its files is damaged.
    """
    found = []
    for path in sorted(folder.glob("correction-*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if entry["format"] != FORMAT:
                raise ValueError("written by another version")
            found.append(_correction(folder, path.stem, entry))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                "correction-damaged",
                f"The kept correction {path.name} cannot be read.",
                "Delete it and keep the correction again.",
            ) from error
    return found


def _correction(folder: Path, name: str, entry: dict) -> Correction:
    box = entry["box"]
    return Correction(
        name,
        folder / str(entry["ct"]),  # an absolute path stays as it is
        folder / Path(str(entry["mask"])).name,
        str(entry["scan"]),
        None if box is None else Box.from_bounds(tuple(int(n) for n in box)),
    )

"""Reading a CT, or a mask onto a CT's grid, from whatever a person has."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding
from pancreasseg.io.checks import check_ct
from pancreasseg.io.refusals import nifti_pair
from pancreasseg.io.stored import StoredImage
from pancreasseg.io.values import to_hu
from pancreasseg.io.voxels import open_regular

if TYPE_CHECKING:
    from pancreasseg.io.labels import PlacedMask

_NIFTI = (".nii", ".nii.gz")
_META = (".nrrd", ".nhdr", ".mha", ".mhd")
_PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
_PACKED = (".zip", ".tar", ".tgz", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
_FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha, .mhd) or a folder of DICOM files"


def read_volume(path: str | Path, *, series: int | str | None = None, allow: Collection[str] = ()) -> Volume:
    """Read a CT.

    Args:
        path: a NIfTI, NRRD or MetaImage file, or a folder (searched with its subfolders) of one DICOM CT series.
        series: which series of a DICOM folder that holds several: its number in the list that the error shows
            (from 1), or its description.
        allow: codes of plausibility refusals to turn into findings, see `checks.check_ct`.

    Returns:
        HU as int16 where that is exact, else float32; with findings and facts that identify no patient.

    Raises:
        InputError: there is no such file, it is damaged, or it is no CT that can be segmented.
    """
    path = Path(path)
    findings: tuple[Finding, ...]
    if os.path.isdir(path):  # noqa: PTH112  # never raises, whatever the path is
        from pancreasseg.io.dicom import read_dicom

        volume = read_dicom(path, series=series)
        array, geometry, findings, source = volume.array, volume.geometry, volume.findings, volume.source
    else:
        array, geometry, findings, source = _read_file(path)
    findings += check_ct(array, geometry, allow)
    return Volume(array, geometry, findings, source)


def read_mask(path: str | Path, geometry: Geometry, label: int | str | None = None) -> np.ndarray:
    """Read a mask (a reference, a correction) onto the grid of a volume.

    A mask on another grid is resampled: linearly on the indicator of the label, then thresholded at 0.5.

    Args:
        path: NIfTI, NRRD, .seg.nrrd or MetaImage file with labels.
        geometry: the grid wanted.
        label: which label is the pancreas: its value, or the name of a segment in a .seg.nrrd. Without it the file
            must hold a single label or a segment named pancreas.

    Returns:
        uint8 (K, J, I), 1 = pancreas. May be empty.

    Raises:
        InputError: damaged file, no labels, several labels and none chosen, or a mask that lies elsewhere.
    """
    return place_mask(path, geometry, label).array


def place_mask(path: str | Path, geometry: Geometry, label: int | str | None = None) -> PlacedMask:
    """As `read_mask`, with remarks on the mask's file and on where it lies.

    Raises:
        InputError: as for `read_mask`.
    """
    from pancreasseg.io.labels import PlacedMask, indicator_of, place

    image = _stored_labels(Path(path))
    placed = place(indicator_of(_meant(image), dict(image.keys), label), image.geometry, geometry)
    own = tuple(
        replace(finding, code=f"mask-{finding.code}", sentence=_of_mask(finding.sentence)) for finding in image.findings
    )
    return PlacedMask(placed.array, own + placed.findings, dict(image.keys))


def _read_file(path: Path) -> tuple[np.ndarray, Geometry, tuple[Finding, ...], dict[str, str]]:
    kind = _kind_of(path)
    image = _read_image(path, kind)
    array = to_hu(image.array, image.slope, image.intercept)
    return array, image.geometry, image.findings, {"format": kind, "slices": str(image.geometry.size[2])}


def _read_image(path: Path, kind: str, *, components: bool = False) -> StoredImage:
    """A file as it is stored; ``components`` accepts several values a voxel."""
    if kind == "NIfTI":
        from pancreasseg.io.nifti import read_nifti

        return read_nifti(path)
    if kind == "NRRD":
        from pancreasseg.io.nrrd import read_nrrd

        return read_nrrd(path, components=components)
    from pancreasseg.io.metaimage import read_metaimage

    return read_metaimage(path, components=components)


def read_labels(path: str | Path) -> tuple[np.ndarray, Geometry, dict[str, str]]:
    """Read a label map as it is stored.

    Returns:
        Labels (K, J, I), or layers (K, J, I, C) of a .seg.nrrd, with their own grid and the file's key-value pairs.

    Raises:
        InputError: there is no such file, it is damaged, or it is no label map.
    """
    image = _stored_labels(Path(path))
    return _meant(image), image.geometry, dict(image.keys)


def _stored_labels(path: Path) -> StoredImage:
    if os.path.isdir(path):  # noqa: PTH112  # likewise
        raise InputError(
            "mask-is-folder", "The mask is a folder; a file is needed.", "Give a .nii.gz or .seg.nrrd file."
        )
    try:
        return _read_image(path, _kind_of(path), components=True)
    except InputError as error:
        raise _about_mask(error) from error


def _of_mask(sentence: str) -> str:
    """A remark on a file, told of a mask's."""
    for words, meant in (
        ("The file", "The mask's file"),
        ("places the CT", "places the mask"),
        ("size of the body", "mask's size"),
        ("xport the CT again", "xport the mask again"),
    ):
        sentence = sentence.replace(words, meant)
    return sentence


def _about_mask(error: InputError) -> InputError:
    """What is wrong with a file, told of a mask: a person has given a CT besides, and must know which is meant."""
    sentence = error.message
    for words, meant in (("The file", "The mask's file"), ("This is", "The mask is"), ("The volume", "The mask")):
        sentence = meant + sentence.removeprefix(words) if sentence.startswith(words) else sentence
    of_ct = any(word in error.hint for word in ("CT", "series"))
    return InputError(
        error.code, sentence, "Give the mask as .nii.gz, .seg.nrrd or .mha file." if of_ct else error.hint
    )


def _meant(image: StoredImage) -> np.ndarray:
    """The values that are meant by those stored."""
    plain = image.slope == 1.0 and image.intercept == 0.0
    return image.array if plain else image.array * image.slope + image.intercept


def _kind_of(path: Path) -> str:
    """The format by the file's name; refuses what cannot be read, with what to do instead."""
    name = path.name.lower()
    try:
        with open_regular(path) as file:
            start = file.read(132)
    except (FileNotFoundError, ValueError) as error:  # the latter for a path with a NUL
        raise InputError("no-such-file", f"There is no file or folder {path}.", "Check the path.") from error
    except OSError as error:
        raise InputError(
            "file-unreadable", f"The file {path} cannot be opened ({error.strerror}).", "Check its permissions."
        ) from error
    if not start:
        raise InputError("file-empty", f"The file {path} is empty.", "Copy or download it again.")
    if name.endswith(_NIFTI):
        return "NIfTI"
    if name.endswith(_META):
        return "NRRD" if name.endswith((".nrrd", ".nhdr")) else "MetaImage"
    if name.endswith(_PAIR):
        raise nifti_pair()
    if start[128:132] == b"DICM" or name.endswith((".dcm", ".ima")):
        raise InputError(
            "single-dicom-file", "This is a single DICOM file.", "Give the folder that holds the whole series."
        )
    if start[:4] == b"PK\x03\x04" or name.endswith(_PACKED):
        raise InputError("packed", f"{path} is a packed archive.", "Unpack it and give the folder or file inside.")
    raise InputError("unknown-format", f"The file {path} is in no format known here.", f"Give {_FORMATS}.")

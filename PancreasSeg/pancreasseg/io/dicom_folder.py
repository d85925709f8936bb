"""The DICOM files in a folder: found, their headers read, and what is no CT slice counted by what it is instead."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pancreasseg.core.errors import InputError
from pancreasseg.io.dicom_pixels import read_pixels
from pancreasseg.io.dicom_slices import CAPTURE, Header, read_header

MOST_FILES = 100_000  # a person has named a whole disk rather than a series
COPY = "copy of a slice"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
_OTHER_FORMATS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def files_in(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones, pipes and devices, and DICOMDIR, which lists files without a picture.

    Links to folders are followed, each folder once.

    Raises:
        InputError: a folder that cannot be opened, is empty, or holds far more files than a study has.
    """
    found: list[Path] = []
    for place, names in _folders_below(folder):
        shown = (Path(place) / n for n in sorted(names) if not n.startswith(".") and n.upper() != "DICOMDIR")
        found += [file for file in shown if not _is_special(file)]
        if len(found) > MOST_FILES:
            raise InputError(
                "folder-too-large",
                f"The folder {folder} holds more than {MOST_FILES:,} files.",
                "Give the folder of the CT series alone.",
            )
    if not found:
        raise InputError("folder-empty", f"The folder {folder} holds no files.", "Give the folder of the CT series.")
    return found


def _folders_below(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder with the names in it; links that lead back or to a folder above end there."""
    seen = {(status.st_dev, status.st_ino) for status in (above.stat() for above in folder.resolve().parents)}
    for place, below, names in os.walk(folder, onerror=_cannot_list, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield place, names


def _is_special(file: Path) -> bool:
    """A pipe, socket or device, which may never answer; what cannot be looked at counts as a file and is refused."""
    try:
        return not stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return False


def _cannot_list(error: OSError) -> None:
    raise InputError(
        "folder-unreadable",
        f"The folder {error.filename} cannot be opened ({error.strerror}).",
        "Check its permissions.",
    ) from error


def read_headers(files: Sequence[Path]) -> tuple[list[Header], Counter[str]]:
    """The headers of CT slices, each slice once, and how many files are what else.

    Captures that state all of a CT slice are slices where there are no others: a step on the way has changed their
    class.

    Raises:
        InputError: a file that cannot be opened, a damaged header, or slices that were lost on the way.
    """
    headers: list[Header] = []
    captures: list[Header] = []
    others: Counter[str] = Counter()
    empty: list[Path] = []
    for file in files:
        try:
            header = read_header(file)
            size = file.stat().st_size
        except OSError as error:
            raise InputError(
                "file-unreadable",
                f"A file in the folder cannot be opened ({error.strerror}).",
                "Check the permissions, or copy the folder again.",
            ) from error
        if header is not None and not header.aside:
            headers.append(header)
        elif header is not None:
            (captures if header.slices else []).append(header)
            others[header.aside] += 1
        elif size:
            others["file that is no DICOM"] += 1
        else:
            others["empty file"] += 1
            empty.append(file)
    if captures and not headers:
        headers = captures
        others -= Counter({CAPTURE: len(captures)})
    _refuse_empty(empty, headers)
    return _without_copies(headers, others), others


def _without_copies(headers: list[Header], others: Counter[str]) -> list[Header]:
    """Leave out files that hold the same picture at the same place as another one, as merged exports do."""
    alike: dict[object, list[Header]] = {}
    for header in headers:
        one = header.slices[0]
        key = (header.series, one.position, one.orientation, one.rows, one.columns, len(header.slices))
        alike.setdefault(key, []).append(header)
    kept = {id(group[0]) for group in alike.values()}
    for group in alike.values():
        known = {_digest(group[0])} if len(group) > 1 else set()
        for header in group[1:]:
            digest = _digest(header)
            if digest not in known:
                known.add(digest)
                kept.add(id(header))
    others.update({COPY: len(headers) - len(kept)} if len(kept) < len(headers) else {})
    return [header for header in headers if id(header) in kept]


def _digest(header: Header) -> bytes:
    """Of the picture in HU; of the file's bytes where there is no picture in it."""
    digest = hashlib.sha256()
    try:
        for plane in read_pixels(header.slices[0].file, header.slices):
            digest.update(plane.astype(np.float64).tobytes())
    except InputError:
        digest.update(header.slices[0].file.read_bytes())
    return digest.digest()


def _refuse_empty(empty: Sequence[Path], headers: Sequence[Header]) -> None:
    """An empty file that is named as the slices are is a slice that was lost on the way."""
    named = {_ending(one.file) for header in headers for one in header.slices}
    lost = sum(_ending(file) in named for file in empty)
    if lost:
        raise InputError(
            "dicom-empty-file",
            f"{lost} of the files beside the slices {'is' if lost == 1 else 'are'} empty.",
            "Copy or export the series again.",
        )


def _ending(file: Path) -> str:
    """How a file's name ends; the numbers that end UIDs and slice names count as nothing."""
    ending = file.suffix.casefold()
    return "" if ending[1:].isdecimal() else ending


def nothing_found(folder: Path, others: Counter[str]) -> InputError:
    """The error for a folder without CT slices."""
    if set(others) <= {"file that is no DICOM", "empty file"}:
        hint = "Give the folder of the CT series."
        names = [file.name.lower() for file in folder.iterdir()]
        if any(name.endswith(_OTHER_FORMATS) for name in names):
            hint = "Give the NIfTI, NRRD or MetaImage file in it by its own name."
        elif any(name.endswith(ARCHIVES) for name in names):
            hint = "Unpack the archive in it, and give the folder with its files."
        return InputError("no-dicom", f"The folder {folder} holds no DICOM images.", hint)
    return InputError(
        "not-ct", f"The folder {folder} holds no CT slices ({tally(others)}).", "Give the folder of the CT series."
    )


def tally(others: Counter[str]) -> str:
    """How many files are what, for a sentence."""
    return ", ".join(f"{count} x {what}" for what, count in sorted(others.items()))

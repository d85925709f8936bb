"""A DICOM folder as one CT: files found, series told apart, one stacked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.io.checks import MIN_SLICES
from pancreasseg.io.dicom_slices import Header, Slice, read_header, read_pixels
from pancreasseg.io.dicom_stack import stack
from pancreasseg.io.values import fits_int16

_GAP_FROM = 1.2  # times the slice thickness


def read_dicom(folder: Path, *, series: int | str | None = None) -> Volume:
    """Read the CT series in a folder and its subfolders.

    Localizers, screen captures, other modalities and files that are no DICOM are left aside and named in a finding;
    so are series of fewer than five slices beside a larger one.

    Args:
        folder: where the files lie.
        series: number (from 1) or description of the series wanted, as the error about several lists them.

    Returns:
        HU as int16 where exact, else float32.

    Raises:
        InputError: no CT series or several, or a series that is no regular stack of whole slices.
    """
    files = _files_in(folder)
    headers, others = _read_headers(files)
    if not headers:
        raise _nothing(folder, others)
    chosen, small = _choose(headers, series)
    slices = [one for header in chosen for one in header.slices]
    ordered, geometry, findings = stack(slices)
    array = _read_stack(ordered, geometry.shape)
    if small:
        others["CT image of a smaller series"] += small
    findings += _remarks(chosen, others, geometry.spacing[2])
    return Volume(array, geometry, findings, _facts(chosen, len(slices)))


def find_slices(source: Path | Sequence[Path], *, series: int | str | None = None) -> tuple[list[Slice], Geometry]:
    """The slices of one series from first to last along +k, and their grid, without reading a pixel.

    Args:
        source: a folder, searched as `read_dicom` does, or the files of a series.
        series: as for `read_dicom`.

    Raises:
        InputError: as for `read_dicom`.
    """
    files = _files_in(source) if isinstance(source, Path) else list(source)
    headers, others = _read_headers(files)
    if not headers:
        raise _nothing(source if isinstance(source, Path) else Path(os.path.commonpath(files)), others)
    chosen, _ = _choose(headers, series)
    ordered, geometry, _ = stack([one for header in chosen for one in header.slices])
    return ordered, geometry


def _files_in(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones and DICOMDIR, which lists files and holds no picture."""
    found = []
    for place, below, names in os.walk(folder, onerror=_cannot_list):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [Path(place) / n for n in sorted(names) if not n.startswith(".") and n.upper() != "DICOMDIR"]
    if not found:
        raise InputError("folder-empty", f"The folder {folder} holds no files.", "Give the folder of the CT series.")
    return found


def _cannot_list(error: OSError) -> None:
    raise InputError(
        "folder-unreadable",
        f"The folder {error.filename} cannot be opened ({error.strerror}).",
        "Check its permissions.",
    ) from error


def _read_headers(files: Sequence[Path]) -> tuple[list[Header], Counter[str]]:
    """The headers of CT slices, and how many files are what else."""
    headers: list[Header] = []
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
            others[header.aside] += 1
        elif size:
            others["file that is no DICOM"] += 1
        else:
            others["empty file"] += 1
            empty.append(file)
    _refuse_empty(empty, headers)
    return headers, others


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


def _nothing(folder: Path, others: Counter[str]) -> InputError:
    if set(others) <= {"file that is no DICOM", "empty file"}:
        return InputError(
            "no-dicom", f"The folder {folder} holds no DICOM images.", "Give the folder of the CT series."
        )
    return InputError(
        "not-ct", f"The folder {folder} holds no CT slices ({_tally(others)}).", "Give the folder of the CT series."
    )


def _choose(headers: Sequence[Header], wanted: int | str | None) -> tuple[list[Header], int]:
    """The headers of one series, and the number of slices of series too small to be meant."""
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series, []).append(header)
    listed = sorted(groups.values(), key=lambda g: (g[0].number is None, g[0].number or 0, g[0].description, len(g)))
    if wanted is not None:
        return _named(listed, wanted), 0
    large = [group for group in listed if _count(group) >= MIN_SLICES]
    if len(large) == 1:
        return large[0], sum(_count(g) for g in listed) - _count(large[0])
    if len(listed) == 1:
        return listed[0], 0
    raise InputError(
        "dicom-several-series",
        f"The folder holds {len(listed)} CT series: {_catalogue(listed)}.",
        "Choose one by its number or description, or give a folder with one series.",
    )


def _named(listed: Sequence[list[Header]], wanted: int | str) -> list[Header]:
    matching = [g for g in listed if g[0].description.casefold() == str(wanted).strip().casefold()]
    if len(matching) == 1:
        return matching[0]
    if str(wanted).strip().isdecimal() and 1 <= int(wanted) <= len(listed):
        return listed[int(wanted) - 1]
    raise InputError(
        "dicom-no-such-series",
        f"{len(matching) or 'No'} CT series in the folder {'are' if matching else 'is'} called {str(wanted)!r}; "
        f"there {'is' if len(listed) == 1 else 'are'} {_catalogue(listed)}.",
        "Choose one by its number in this list.",
    )


def _catalogue(listed: Sequence[list[Header]]) -> str:
    return "; ".join(
        f"{number}: {group[0].description or 'without description'}, {_count(group)} slices"
        for number, group in enumerate(listed, start=1)
    )


def _count(group: Sequence[Header]) -> int:
    return sum(len(header.slices) for header in group)


def _read_stack(ordered: Sequence[Slice], shape: tuple[int, int, int]) -> np.ndarray:
    """HU of all slices, shape (K, J, I): int16 as long as every value fits, float32 from the first that does not."""
    where: dict[Path, list[int]] = {}
    for k, one in enumerate(ordered):
        where.setdefault(one.file, []).append(k)
    array: np.ndarray = np.empty(shape, dtype=np.int16)
    for file, indices in where.items():
        for k, values in zip(indices, read_pixels(file, [ordered[k] for k in indices]), strict=True):
            if array.dtype == np.int16 and not fits_int16(values):
                array = array.astype(np.float32)
            array[k] = values
    return array


def _remarks(chosen: Sequence[Header], others: Counter[str], step: float) -> tuple[Finding, ...]:
    findings = []
    kinds = {header.rescale_type for header in chosen} - {"", "HU"}
    if kinds - {"US"}:
        raise InputError(
            "not-hu",
            f"The series holds {', '.join(sorted(kinds))} values, not HU.",
            "Give the CT series in HU, for example the one at 120 kV or a virtual monoenergetic one.",
        )
    if kinds:
        findings.append(
            Finding("unit-not-stated", Severity.WARNING, "The series does not say that its values are HU; check them.")
        )
    if any(header.empty_uid for header in chosen):
        sentence = "The slices carry empty identifiers, so they may come from several series; check the picture."
        findings.append(Finding("dicom-empty-uids", Severity.WARNING, sentence))
    thickness = max((header.thickness or 0.0) for header in chosen)
    if 0 < thickness * _GAP_FROM < step:
        sentence = f"There are gaps between the slices: they are {thickness:.1f} mm thick and {step:.1f} mm apart."
        findings.append(Finding("slice-gap", Severity.WARNING, sentence, step - thickness))
    if others:
        count = sum(others.values())
        sentence = f"{count} file{'s' if count > 1 else ''} in the folder were left aside ({_tally(others)})."
        severity = Severity.WARNING if "empty file" in others else Severity.INFO
        findings.append(Finding("dicom-files-left-aside", severity, sentence, float(count)))
    return tuple(findings)


def _tally(others: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in sorted(others.items()))


def _facts(chosen: Sequence[Header], slices: int) -> dict[str, str]:
    """What a person may want to know about the scan; nothing that identifies the patient."""
    first = chosen[0]
    facts = {"format": "DICOM", "modality": "CT", "slices": str(slices), "contrast": first.contrast}
    if first.kernel:
        facts["kernel"] = first.kernel
    if first.kvp:
        facts["kvp"] = first.kvp
    if first.thickness:
        facts["slice_thickness_mm"] = f"{first.thickness:g}"
    return facts

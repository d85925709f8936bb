"""A DICOM folder as one CT: files found, series told apart, one stacked."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.io.dicom_choice import choose_series
from pancreasseg.io.dicom_folder import files_in, nothing_found, read_headers, tally
from pancreasseg.io.dicom_pixels import read_pixels
from pancreasseg.io.dicom_slices import Header, Slice
from pancreasseg.io.dicom_stack import stack
from pancreasseg.io.values import fits_int16

_GAP_FROM = 1.2  # times the slice thickness
# HU by the names that scanners and exports give it, without blanks and points; HU_MOD is that of spectral CT.
_HU = re.compile(r"(HU|HU_MOD|HOUN?D?SFIELD(UNITS?)?)+")
_UNKNOWN_UNITS = {"US", "UNSPECIFIED", "UNKNOWN", "NONE"}


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
    files = files_in(folder)
    headers, others = read_headers(files)
    if not headers:
        raise nothing_found(folder, others)
    chosen, small = choose_series(headers, series)
    _refuse_mixture(chosen)
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
    files = files_in(source) if isinstance(source, Path) else list(source)
    headers, others = read_headers(files)
    if not headers:
        raise nothing_found(source if isinstance(source, Path) else Path(os.path.commonpath(files)), others)
    chosen, _ = choose_series(headers, series)
    _refuse_mixture(chosen)
    ordered, geometry, _ = stack([one for header in chosen for one in header.slices])
    return ordered, geometry


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


def _refuse_mixture(chosen: Sequence[Header]) -> None:
    """Raise for slices of several patients, or of which some lost what makes their values HU."""
    patients = {header.patient for header in chosen} - {""}
    if len(patients) > 1:
        raise InputError(
            "dicom-several-patients",
            f"The slices of the series state {len(patients)} different patients.",
            "Get the series from the archive again, and check whose it is.",
        )
    slices = [one for header in chosen for one in header.slices]
    stated = {(one.slope, one.intercept) for one in slices if one.rescaled}
    lost = sum(not one.rescaled for one in slices)
    if lost and stated - {(one.slope, one.intercept) for one in slices if not one.rescaled}:
        raise InputError(
            "dicom-mixed-rescale",
            f"{lost} of {len(slices)} slices do not state how their values become HU, though the others do.",
            "Export or copy the whole series again.",
        )


def _remarks(chosen: Sequence[Header], others: Counter[str], step: float) -> tuple[Finding, ...]:
    findings = []
    kinds = {unit for header in chosen for unit in header.units if unit and not _is_hu(unit)}
    if kinds - _UNKNOWN_UNITS:
        raise InputError(
            "not-hu",
            f"The series holds {', '.join(sorted(kind[:20] for kind in kinds))} values, not HU.",
            "Give the CT series in HU, for example the one at 120 kV or a virtual monoenergetic one.",
        )
    if kinds:
        findings.append(
            Finding("unit-not-stated", Severity.WARNING, "The series does not say that its values are HU; check them.")
        )
    findings += _disagreements(chosen)
    if any(not header.series or not header.instance for header in chosen):
        sentence = "The slices carry empty identifiers, so they may come from several series; check the picture."
        findings.append(Finding("dicom-empty-uids", Severity.WARNING, sentence))
    elif len({header.series for header in chosen}) > 1:
        sentence = (
            "Every slice carries a series identifier of its own; those of the same description and size were put "
            "together. Check that they are one series."
        )
        findings.append(Finding("dicom-series-split", Severity.WARNING, sentence))
    thickness = max((header.thickness or 0.0) for header in chosen)
    if 0 < thickness * _GAP_FROM < step:
        sentence = f"There are gaps between the slices: they are {thickness:.1f} mm thick and {step:.1f} mm apart."
        findings.append(Finding("slice-gap", Severity.WARNING, sentence, step - thickness))
    if others:
        count = sum(others.values())
        files = "1 file in the folder was" if count == 1 else f"{count} files in the folder were"
        sentence = f"{files} left aside ({tally(others)})."
        severity = Severity.WARNING if "empty file" in others else Severity.INFO
        findings.append(Finding("dicom-files-left-aside", severity, sentence, float(count)))
    return tuple(findings)


def _is_hu(unit: str) -> bool:
    return _HU.fullmatch(re.sub(r"[^A-Z0-9_%]", "", unit)) is not None


def _disagreements(chosen: Sequence[Header]) -> Iterator[Finding]:
    """Remarks on what all slices of one patient's series would state alike."""
    stated: dict[str, set[str]] = {}
    for header in chosen:
        for words, value in header.shared:
            stated.setdefault(words, set()).add(value)
    differing = [words for words, values in stated.items() if len(values - {""}) > 1]
    if differing:
        sentence = (
            f"The slices do not agree on: {', '.join(differing)}. They may be of two patients or scans; check whose "
            "they are."
        )
        yield Finding("dicom-slices-disagree", Severity.SERIOUS, sentence, float(len(differing)))
    rescales = {(one.slope, one.intercept) for header in chosen for one in header.slices}
    if len(rescales) > 1:
        sentence = (
            f"The slices state {len(rescales)} different ways from stored values to HU; check that all are equally "
            "bright."
        )
        yield Finding("dicom-rescales-differ", Severity.WARNING, sentence, float(len(rescales)))


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

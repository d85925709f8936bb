"""What stands in the way of a DICOM export, in plain words, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError, PancreasSegError, explain
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.export.placing import SeriesFacts
from pancreasseg.export.segment import ExportSegment, check_segments
from pancreasseg.export.series import Source, SourceSeries, read_series

AXIAL_WITHIN = 1e-3  # of the slices' direction cosines


@dataclass(frozen=True)
class Prepared:
    """Everything a DICOM writer needs.

    Attributes:
        series: the source series.
        masks: for each segment uint8 (slices, rows, columns) in the order of ``series.headers``.
        findings: what was repaired or should be known.
    """

    series: SourceSeries
    masks: tuple[np.ndarray, ...]
    findings: tuple[Finding, ...]


def check_dicom_export(
    source: Source,
    segments: Sequence[ExportSegment],
    geometry: Geometry,
    *,
    series: int | str | None = None,
    rehearse: Sequence[Callable[[Prepared, Sequence[ExportSegment]], None]] = (),
) -> list[Finding]:
    """Look for what is missing before a DICOM SEG or RTSTRUCT is written.

    Args:
        source: folder or files of the CT series; None when the CT did not come from DICOM.
        segments: what is to be exported.
        geometry: the grid of the segments' masks.
        series: which series of a folder that holds several, as for `read_volume`.
        rehearse: those of the formats to make in memory as well, which takes as long as writing them, to report what
            fails.

    Returns:
        Serious findings block the export; warnings say what is repaired or worth checking; info is for knowledge.
        Each sentence says what to do. Empty when all is well.
    """
    findings: list[Finding] = []
    try:
        check_segments(segments, geometry)
    except InputError as refusal:
        findings.append(_blocking(refusal))
    try:
        found = read_series(source, series=series)
    except InputError as refusal:
        return [*findings, _blocking(refusal)]
    try:
        masks = tuple(found.place(segment.mask, geometry) for segment in segments)
    except InputError as refusal:
        findings.append(_blocking(refusal))
    else:
        if rehearse and not findings:
            findings += _rehearsed(rehearse, Prepared(found, masks, ()), segments)
    return [*findings, *_remarks(found)]


def blocks(findings: Sequence[Finding]) -> bool:
    """True when one of the findings of `check_dicom_export` stands in the way."""
    return any(finding.severity is Severity.SERIOUS for finding in findings)


def prepare(
    source: Source, segments: Sequence[ExportSegment], geometry: Geometry, *, series: int | str | None = None
) -> Prepared:
    """Read the series and place the segments on its slices, for a writer.

    Raises:
        InputError: what `check_dicom_export` reports as serious.
    """
    check_segments(segments, geometry)
    found = read_series(source, series=series)
    masks = tuple(found.place(segment.mask, geometry) for segment in segments)
    return Prepared(found, masks, tuple(_remarks(found)))


def series_facts(source: Source, *, series: int | str | None = None) -> SeriesFacts:
    """What `check_dicom_export` finds out by reading the headers of every slice.

    Raises:
        InputError: as for `read_series`.
    """
    found = read_series(source, series=series)
    return SeriesFacts(found.geometry, tuple(_remarks(found)))


def _rehearsed(
    rehearse: Sequence[Callable[[Prepared, Sequence[ExportSegment]], None]],
    prepared: Prepared,
    segments: Sequence[ExportSegment],
) -> list[Finding]:
    findings = []
    for make in rehearse:
        try:
            make(prepared, segments)
        except Exception as error:  # what a writer would end with, too
            findings.append(_blocking(explain(error)))
    return findings


def _blocking(refusal: PancreasSegError) -> Finding:
    return Finding(refusal.code, Severity.SERIOUS, str(refusal))


def _remarks(found: SourceSeries) -> list[Finding]:
    findings = list(found.findings)
    tilt = float(np.degrees(np.arccos(np.clip(abs(found.geometry.axes[2, 2]), 0, 1))))
    if 1 - abs(found.geometry.axes[2, 2]) > AXIAL_WITHIN**2:
        sentence = (
            f"The slices are not axial (turned by {tilt:.1f} degrees). The export is exact, but many planning systems "
            "take RTSTRUCT on axial slices only; use DICOM SEG or an axial reconstruction for those."
        )
        findings.append(Finding("slices-not-axial", Severity.WARNING, sentence, tilt))
    return findings

"""The DICOM series that a result belongs to: its headers in order, and masks placed on its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.export.placing import same_voxels
from pancreasseg.io.dicom import find_slices
from pancreasseg.io.dicom_slices import lenient

#: A folder with the series, or its files; None when the CT did not come from DICOM.
Source = Path | str | Sequence[Path | str] | None

# Attributes that every DICOM object must have and that may be empty (type 2).
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True)
class SourceSeries:
    """A CT series as other DICOM objects refer to it.

    Attributes:
        headers: one data set a slice, without pixels, from first to last along +k; what could be repaired is.
        geometry: the grid of the slices, as `read_volume` states it.
        findings: what was repaired.
    """

    headers: tuple[Dataset, ...]
    geometry: Geometry
    findings: tuple[Finding, ...]

    def place(self, mask: np.ndarray, geometry: Geometry) -> np.ndarray:
        """The mask slice by slice, as uint8 of shape (slices, rows, columns).

        Args:
            mask: non-zero inside, shape (K, J, I) of ``geometry``.
            geometry: the same voxels as the series in any order and direction of axes, or a cropped part of them.

        Raises:
            InputError: the grid is another one.
        """
        order, signs, box = same_voxels(geometry, self.geometry)
        # Index axis a is array axis 2 - a.
        turned = mask.transpose([2 - order[2 - axis] for axis in range(3)])
        turned = np.flip(turned, tuple(axis for axis in range(3) if signs[2 - axis] < 0))
        placed: np.ndarray = np.zeros(self.geometry.shape, dtype=np.uint8)
        placed[box.slices] = turned != 0
        return placed


def read_series(source: Source, *, series: int | str | None = None) -> SourceSeries:
    """Read the headers of a series and repair what does not touch its identity.

    Args:
        source: folder or files.
        series: which series of a folder that holds several, as for `read_volume`.

    Raises:
        InputError: not from DICOM; no series, several, or one that is no regular stack; no identifiers to refer to.
    """
    if source is None or (not isinstance(source, (str, Path)) and not source):
        raise InputError(
            "not-from-dicom",
            "This CT was not loaded from DICOM, so there is no series that a DICOM object could refer to.",
            "Load the CT from its DICOM files, or export NIfTI, NRRD or STL instead.",
        )
    where = Path(source) if isinstance(source, (str, Path)) else [Path(file) for file in source]
    slices, geometry = find_slices(where, series=series)
    if slices[0].frames > 1:
        raise InputError(
            "dicom-multi-frame",
            "The CT is one multi-frame DICOM file, which DICOM export here cannot refer to.",
            "Export NIfTI or NRRD instead, or have the archive send the series as one file a slice.",
        )
    with lenient():
        headers = [dcmread(one.file, force=True, stop_before_pixels=True) for one in slices]
    return SourceSeries(tuple(headers), geometry, tuple(_repair(headers)))


def _repair(headers: Sequence[Dataset]) -> list[Finding]:
    """Complete headers in place; raises where a reference would point nowhere or to the wrong patient's study."""
    for name, what in (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series")):
        values = {str(header.get(name) or "").strip() for header in headers}
        if "" in values:
            raise InputError(
                "dicom-uids-empty",
                f"The {what} identifier (UID) of the CT is empty, so no other system could tell which CT the "
                "segmentation belongs to.",
                "Get the series from the archive again, without the step that emptied it, or export NIfTI or NRRD.",
            )
        if len(values) > 1:
            raise InputError(
                "dicom-several-series",
                f"The slices belong to {len(values)} different {'studies' if what == 'study' else 'series'}.",
                "Give the files of one series only.",
            )
    findings = _repair_instances(headers) + _repair_frame(headers)
    for header in headers:
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
    if not str(headers[0].PatientID).strip():
        sentence = (
            "The CT carries no patient ID, so neither will the export; an archive may ask for one when you send it."
        )
        findings.append(Finding("dicom-no-patient-id", Severity.INFO, sentence))
    return findings


def _repair_instances(headers: Sequence[Dataset]) -> list[Finding]:
    repaired = 0
    for header in headers:
        for name in ("SOPClassUID", "SOPInstanceUID"):
            if not str(header.get(name) or "").strip():
                value = header.file_meta.get("MediaStorage" + name) if hasattr(header, "file_meta") else None
                if not value:
                    raise InputError(
                        "dicom-uids-empty",
                        "A slice has no identifier (UID), so nothing could refer to it.",
                        "Get the series from the archive again, or export NIfTI or NRRD instead.",
                    )
                setattr(header, name, value)
                repaired += name == "SOPInstanceUID"
    if len({header.SOPInstanceUID for header in headers}) < len(headers):
        raise InputError(
            "dicom-uids-repeated",
            "Several slices have the same identifier (UID), so nothing could refer to one of them.",
            "Get the series from the archive again, or export NIfTI or NRRD instead.",
        )
    if not repaired:
        return []
    sentence = (
        f"{repaired} of {len(headers)} slices had an empty identifier (UID); the one in the head of the file is used. "
        "Check that the exported file opens on this CT in the other program."
    )
    return [Finding("dicom-slice-uids-repaired", Severity.WARNING, sentence, float(repaired))]


def _repair_frame(headers: Sequence[Dataset]) -> list[Finding]:
    frames = {str(header.get("FrameOfReferenceUID") or "").strip() for header in headers}
    if frames == {""}:
        # Made from the series' own UID, so that all exports of one series share it.
        made = generate_uid(entropy_srcs=[str(headers[0].SeriesInstanceUID), "frame of reference"])
        for header in headers:
            header.FrameOfReferenceUID = made
        sentence = (
            "The CT has no frame of reference (the identifier that ties images of one position together); the export "
            "gets a new one. Check in the other program that the contours lie on the CT."
        )
        return [Finding("dicom-no-frame-of-reference", Severity.WARNING, sentence)]
    if len(frames) > 1:
        raise InputError(
            "dicom-several-frames",
            "The slices were not all taken in one position of the patient (several frames of reference).",
            "Give the files of one series only.",
        )
    return []

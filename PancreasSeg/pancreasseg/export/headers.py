"""The slices of a CT series as the writers take them: made anew, valid, references and geometry only.

What the files say about the patient is not in them (see `identity`), so that no library stumbles over it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.export.identity import CHARACTER_SET, MAY_BE_EMPTY, is_decimal, stated
from pancreasseg.io.dicom_slices import Slice
from pancreasseg.io.grids import MAX_VOXEL_MM

_CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def make_headers(
    originals: Sequence[Dataset], slices: Sequence[Slice], step: float
) -> tuple[list[Dataset], list[Finding]]:
    """A header for each slice, and what was repaired.

    Args:
        originals: the files' headers as pydicom read them.
        slices: what the reader made of the same files.
        step: mm between slices.

    Raises:
        InputError: no identifiers to refer to, or those of several studies, series or positions.
    """
    headers = [_header(original, one) for original, one in zip(originals, slices, strict=True)]
    findings = [
        *_check_study(headers),
        *_repair_instances(headers, originals),
        *_repair_classes(headers),
        *_repair_frame(headers),
    ]
    return headers, [*findings, *_repair_thickness(headers, originals, step)]


def _header(original: Dataset, one: Slice) -> Dataset:
    """A slice as a writer needs it; its geometry is what the reader made of the file.

    One that is a frame of a multi-frame file has its number as Referenced Frame Number.
    """
    header = Dataset()
    header.SpecificCharacterSet = CHARACTER_SET
    for name in MAY_BE_EMPTY:
        setattr(header, name, "")
    for name in _UIDS:
        setattr(header, name, stated(original, name).partition("\\")[0])  # an identifier is one value
    header.Modality, header.Rows, header.Columns = "CT", one.rows, one.columns
    if one.frames > 1:
        header.ReferencedFrameNumber = one.frame + 1
    for name, values in (
        ("ImagePositionPatient", one.position),
        ("ImageOrientationPatient", one.orientation),
        ("PixelSpacing", one.spacing),
    ):
        setattr(header, name, [DSfloat(value, auto_format=True) for value in values or ()])
    return header


def by_series(headers: Sequence[Dataset]) -> dict[str, list[Dataset]]:
    """Slices by the series that they say they belong to; one, but for exports that gave each slice its own."""
    found: dict[str, list[Dataset]] = {}
    for header in headers:
        found.setdefault(str(header.SeriesInstanceUID), []).append(header)
    return found


def _check_study(headers: Sequence[Dataset]) -> list[Finding]:
    """Refuse what would point nowhere or to the wrong patient's study; remark on slices in series of their own."""
    for name, what in (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series")):
        values = {header[name].value for header in headers}
        if "" in values:
            raise InputError(
                "dicom-uids-empty",
                f"The {what} identifier (UID) of the CT is empty, so no other system could tell which CT the "
                "segmentation belongs to.",
                "Get the series from the archive again, without the step that emptied it, or export NIfTI or NRRD.",
            )
        if what == "study" and len(values) > 1:
            raise InputError(
                "dicom-several-series",
                f"The slices belong to {len(values)} different studies.",
                "Give the files of one series only, or export NIfTI or NRRD instead.",
            )
    series = len(by_series(headers))
    if series == 1:
        return []
    sentence = (
        f"The slices belong to {series} different series of one study; the export refers to all of them. Check that "
        "the exported file opens on this CT in the other program."
    )
    return [Finding("dicom-several-series", Severity.WARNING, sentence, float(series))]


def _repair_instances(headers: Sequence[Dataset], originals: Sequence[Dataset]) -> list[Finding]:
    repaired = 0
    for header, original in zip(headers, originals, strict=True):
        for name in ("SOPClassUID", "SOPInstanceUID"):
            if not header[name].value:
                setattr(header, name, stated(getattr(original, "file_meta", Dataset()), "MediaStorage" + name))
                repaired += name == "SOPInstanceUID"
        if not header.SOPInstanceUID:
            raise InputError(
                "dicom-uids-empty",
                "A slice has no identifier (UID), so nothing could refer to it.",
                "Get the series from the archive again, or export NIfTI or NRRD instead.",
            )
    if len({(header.SOPInstanceUID, header.get("ReferencedFrameNumber")) for header in headers}) < len(headers):
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


def _repair_classes(headers: Sequence[Dataset]) -> list[Finding]:
    """The reader took the slices for CT, whatever class somebody's step has made of them."""
    replaced = [header for header in headers if header.SOPClassUID not in _CT_CLASSES]
    for header in replaced:
        header.SOPClassUID = CTImageStorage
    if not replaced:
        return []
    sentence = (
        f"{len(replaced)} of {len(headers)} slices do not say that they are CT images (SOP class); the export refers "
        "to them as such. Check that the exported file opens on this CT in the other program."
    )
    return [Finding("dicom-class-repaired", Severity.WARNING, sentence, float(len(replaced)))]


def _repair_thickness(headers: Sequence[Dataset], originals: Sequence[Dataset], step: float) -> list[Finding]:
    """State how thick the slices are, which DICOM SEG must; where none says it, as thick as they lie apart."""
    texts = [stated(place, "SliceThickness") for original in originals for place in (original, *_measures(original))]
    numbers = [float(text) for text in texts if is_decimal(text) and 0 < float(text) <= MAX_VOXEL_MM]
    for header in headers:
        header.SliceThickness = DSfloat(numbers[0] if numbers else step, auto_format=True)
    if numbers:
        return []
    sentence = f"The CT does not say how thick its slices are; DICOM SEG states the distance between them, {step:g} mm."
    return [Finding("dicom-no-slice-thickness", Severity.INFO, sentence, step)]


def _measures(original: Dataset) -> list[Dataset]:
    """Where a multi-frame file states how thick its frames are, for all of them or for the first."""
    groups = [*(original.get("SharedFunctionalGroupsSequence") or [])]
    groups += (original.get("PerFrameFunctionalGroupsSequence") or [])[:1]
    return [item for group in groups for item in group.get("PixelMeasuresSequence") or []]


def _repair_frame(headers: Sequence[Dataset]) -> list[Finding]:
    frames = {header.FrameOfReferenceUID for header in headers}
    if len(frames) == 2 and "" in frames:
        (known,) = frames - {""}
        for header in headers:
            header.FrameOfReferenceUID = known
        sentence = "Some slices have no frame of reference (the identifier of a position); that of the others is used."
        return [Finding("dicom-frame-of-reference-repaired", Severity.WARNING, sentence)]
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

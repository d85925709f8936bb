"""One DICOM slice: what its header says.

Nothing that identifies a patient (names, identifiers, UIDs, file names) is ever shown; identifiers leave this room only
to group files in memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset

from pancreasseg.core.errors import InputError
from pancreasseg.io.dicom_file import lenient, read_file
from pancreasseg.io.voxels import open_regular

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber",
    "Modality", "ImageType", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "FrameOfReferenceUID",
    "AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase", "SeriesTime",
    "AcquisitionDateTime", "AcquisitionTime", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "SliceThickness", "ContrastBolusAgent", "ConvolutionKernel", "KVP",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_CT_STORAGE = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_MAX_NUMBER = 1e6  # mm, and HU of a rescale
CAPTURE = "screen capture"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# What all slices of a series state alike, in words for people.
_SHARED = {
    "PatientName": "patient's name",
    "PatientBirthDate": "date of birth",
    "PatientSex": "sex",
    "StudyInstanceUID": "study",
    "FrameOfReferenceUID": "frame of reference",
}
# Two runs over a patient, or two phases, differ in one of these.
_RUN = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase", "SeriesDescription",
    "SeriesTime", "KVP", "ConvolutionKernel", "ContrastBolusAgent",
)  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """One axial image, or one frame of a multi-frame file.

    Attributes:
        position: LPS mm of the centre of its first pixel; None where the header does not say.
        orientation: LPS directions along a row and along a column, six numbers; None likewise.
        spacing: mm between rows, between columns, as DICOM orders them; None likewise.
        slope, intercept: HU = stored * slope + intercept; 1 and 0 where the header says neither.
        rescaled: the header states both of them.
        run: what tells one run of the scanner over the patient, or one phase, from another; None where it says nothing.
        time: of its acquisition, in seconds of the day.
        frame: index within a multi-frame file, else 0.
    """

    file: Path
    frame: int
    frames: int
    rows: int
    columns: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float
    intercept: float
    rescaled: bool = True
    run: tuple[str, ...] | None = None
    time: float | None = None


@dataclass(frozen=True)
class Header:
    """What one file contributes to a series; ``slices`` is empty when it is no CT image.

    ``aside`` then says in a word or two what it is instead; a capture that states all of a CT slice has both.
    ``series``, ``instance``, ``patient`` and the values of ``shared`` are identifiers, and never shown. ``shared`` is
    what all slices of a series state alike: words for people, and what is stated.
    """

    series: str
    instance: str = ""
    patient: str = ""
    description: str = ""
    number: int | None = None
    aside: str = ""
    slices: tuple[Slice, ...] = ()
    units: frozenset[str] = frozenset()
    thickness: float | None = None
    contrast: str = "unknown"
    kernel: str = ""
    kvp: str = ""
    shared: tuple[tuple[str, str], ...] = ()


def read_header(path: Path) -> Header | None:
    """What the header of a file says; None when the file is no DICOM.

    Raises:
        InputError: a DICOM file whose header cannot be read.
        OSError: the file cannot be opened.
    """
    with open_regular(path) as file:
        try:
            with lenient():
                data = read_file(file, tags=TAGS)
                return None if data is None else _header_of(path, data)  # values are converted when asked for
        except InputError:
            raise
        except Exception as error:  # a damaged file leads pydicom to any exception there is
            raise _damaged_header() from error


def _header_of(path: Path, data: FileDataset) -> Header:
    uid = _text(data, "SeriesInstanceUID")
    modality = _text(data, "Modality").upper()
    aside = _why_aside(data, modality)
    if aside and not (aside == CAPTURE and _may_be_ct(data)):
        return Header(uid, aside=aside)
    groups = _frame_groups(data)
    measures = _macro(groups[0], "PixelMeasuresSequence") if groups else data
    values = [_macro(frame, "PixelValueTransformationSequence") or data for frame in groups] or [data]
    thickness, kvp = _floats(measures, "SliceThickness", 1), _floats(data, "KVP", 1)
    return Header(
        uid,
        aside=aside,
        instance=_text(data, "SOPInstanceUID"),
        patient=_text(data, "PatientID"),
        description=_text(data, "SeriesDescription")[:60],
        number=_integer(data, "SeriesNumber"),
        slices=tuple(_slices_of(path, data, groups)),
        units=frozenset(_text(value, "RescaleType").upper() for value in values),
        thickness=thickness[0] if thickness else None,
        contrast=_contrast(data),
        kernel=_text(data, "ConvolutionKernel"),
        kvp=f"{kvp[0]:g}" if kvp else "",
        shared=tuple((words, _text(data, name)) for name, words in _SHARED.items()),
    )


def _why_aside(data: Dataset, modality: str) -> str:
    """What a file is when it is no CT slice; empty for a CT slice."""
    if "Rows" not in data or "Columns" not in data:
        meta = getattr(data, "file_meta", Dataset())
        stored = _text(meta, "MediaStorageSOPClassUID") or _text(data, "SOPClassUID")
        if stored in _CT_STORAGE or (not stored and modality in ("", "CT")):
            raise _damaged_header()  # a slice that was cut before it says its size
        return f"{modality or 'DICOM'} object without picture"
    if modality and modality != "CT":
        return f"{modality} image"
    kind = [str(v).upper() for v in _listed(data, "ImageType")]
    if any("LOCALIZER" in v or "SCOUT" in v for v in kind):
        return "localizer (scout) image"
    colours = _integer(data, "SamplesPerPixel") or 1
    sop = _text(data, "SOPClassUID")
    if sop.startswith(_SECONDARY_CAPTURE) or colours > 1 or any("SCREEN" in v for v in kind):
        return CAPTURE
    return "" if modality or sop in _CT_STORAGE else "picture without modality"


def _may_be_ct(data: Dataset) -> bool:
    """One grey picture that says where it lies and how its values become HU, whatever class somebody made of it."""
    stated = all(name in data for name in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleIntercept"))
    return stated and (_integer(data, "SamplesPerPixel") or 1) == 1


def _frame_groups(data: Dataset) -> list[list[Dataset]]:
    """The functional groups of every frame of an enhanced file, its own before the shared ones; none for others."""
    shared = _listed(data, "SharedFunctionalGroupsSequence")
    return [[frame, *shared] for frame in _listed(data, "PerFrameFunctionalGroupsSequence")]


def _slices_of(path: Path, data: Dataset, groups: list[list[Dataset]]) -> Iterator[Slice]:
    rows, columns = int(data.Rows), int(data.Columns)
    count = _integer(data, "NumberOfFrames") or 1
    if min(rows, columns, count) < 1:
        raise _damaged_header()
    if groups and len(groups) != count:
        raise InputError(
            "dicom-frames-disagree",
            f"A DICOM file says that it holds {count} slices, but describes {len(groups)}.",
            "Export the series again, if possible as one file a slice.",
        )
    run = tuple(_text(data, name) for name in _RUN)
    time = _time(data)
    if not groups:
        yield Slice(
            path, 0, count, rows, columns,
            _floats(data, "ImagePositionPatient", 3),
            _floats(data, "ImageOrientationPatient", 6),
            _floats(data, "PixelSpacing", 2),
            *_rescale(data),
            run if any(run) else None,
            time,
        )  # fmt: skip
    for index, frame in enumerate(groups):
        content = _macro(frame, "FrameContentSequence")
        yield Slice(
            path, index, count, rows, columns,
            _floats(_macro(frame, "PlanePositionSequence"), "ImagePositionPatient", 3),
            _floats(_macro(frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
            _floats(_macro(frame, "PixelMeasuresSequence"), "PixelSpacing", 2),
            *_rescale(_macro(frame, "PixelValueTransformationSequence") or data),
            (*run, _text(content, "FrameAcquisitionNumber"), _text(content, "TemporalPositionIndex")),
            None,
        )  # fmt: skip


def _macro(groups: list[Dataset], name: str) -> Dataset:
    """The functional group ``name`` of a frame, its own or the shared one; an empty data set when there is none."""
    for group in groups:
        items = _listed(group, name)
        if items:
            return items[0]
    return Dataset()


def _damaged_header() -> InputError:
    return InputError(
        "dicom-damaged",
        "A DICOM file in the folder is damaged or cut short.",
        "Copy or export the series again, or remove the file if it is none of its slices.",
    )


def _rescale(data: Dataset) -> tuple[float, float, bool]:
    """Slope, intercept, and whether the header states both.

    Raises:
        InputError: it states one that is no number, or a slope of 0.
    """
    slope, intercept = _stated_number(data, "RescaleSlope"), _stated_number(data, "RescaleIntercept")
    if slope == 0:
        raise InputError(
            "not-hu",
            "A slice states a rescale slope of 0, which would make all its voxels equal.",
            "Export the original CT series again.",
        )
    return slope or 1.0, intercept or 0.0, slope is not None and intercept is not None


def _stated_number(data: Dataset, name: str) -> float | None:
    """A number, or None when the header states none; raises `InputError` for anything else."""
    try:
        value = data.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not abs(number) <= _MAX_NUMBER:
        raise InputError(
            "dicom-damaged",
            "A slice states a rescale slope or intercept that makes no sense, so its values cannot become HU.",
            "Export the original CT series again.",
        )
    return number


def _time(data: Dataset) -> float | None:
    """When a slice was taken, in seconds of the day; the time of its content is that of its reconstruction."""
    time = _text(data, "AcquisitionTime") or re.sub(r"[+-]\d{4}$", "", _text(data, "AcquisitionDateTime")[8:])
    return _seconds(time)


def _seconds(time: str) -> float | None:
    """Seconds of the day that a DICOM time (HHMMSS.FFFFFF) states; None where it states none."""
    found = re.fullmatch(r"(\d\d)(\d\d)(\d\d(?:\.\d{1,6})?)", time)
    return None if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def _contrast(data: Dataset) -> str:
    """What the scanner noted: "yes", "no", or "unknown" where it noted nothing."""
    if "ContrastBolusAgent" not in data:
        return "unknown"
    agent = _text(data, "ContrastBolusAgent").casefold()
    return "no" if agent in ("", "none", "no", "non", "without", "ohne") else "yes"


def _listed(data: Dataset, name: str) -> list:
    value = data.get(name)
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _text(data: Dataset, name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    parts = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
    return "/".join(str(v) for v in parts).strip(" \0")


def _integer(data: Dataset, name: str) -> int | None:
    try:
        return int(data.get(name))
    except (TypeError, ValueError, OverflowError):
        return None


def _floats(data: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """``count`` numbers, or None when the header does not state them or they make no sense in mm."""
    try:
        value = data.get(name)
        numbers = tuple(float(v) for v in (value if count > 1 else [value]))
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) == count and all(abs(n) <= _MAX_NUMBER for n in numbers) else None

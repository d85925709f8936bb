"""One DICOM slice: what its header says, and its pixels as HU.

Nothing that identifies a patient (names, identifiers, UIDs, file names) is ever shown; identifiers leave this room only
to group files in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from pancreasseg.core.errors import InputError
from pancreasseg.io.dicom_file import lenient, read_file
from pancreasseg.io.quiet import quiet_stderr
from pancreasseg.io.voxels import open_regular

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber",
    "Modality", "ImageType", "PatientID", "AcquisitionNumber", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "SliceThickness", "ContrastBolusAgent", "ConvolutionKernel", "KVP",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_CT_STORAGE = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_DECODED = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000, RLELossless)
_MAX_NUMBER = 1e6  # mm, and HU of a rescale
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Slice:
    """One axial image, or one frame of a multi-frame file.

    Attributes:
        position: LPS mm of the centre of its first pixel; None where the header does not say.
        orientation: LPS directions along a row and along a column, six numbers; None likewise.
        spacing: mm between rows, between columns, as DICOM orders them; None likewise.
        slope, intercept: HU = stored * slope + intercept; 1 and 0 where the header says neither.
        rescaled: the header states an intercept.
        acquisition: the scanner's number of the run over the patient that it belongs to.
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
    acquisition: int | None = None


@dataclass(frozen=True)
class Header:
    """What one file contributes to a series; ``slices`` is empty when it is no CT image.

    ``aside`` then says in a word or two what it is instead. ``series``, ``study``, ``instance`` and ``patient`` are
    identifiers, and never shown.
    """

    series: str
    study: str = ""
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


def read_header(path: Path) -> Header | None:
    """What the header of a file says; None when the file is no DICOM.

    Raises:
        InputError: a DICOM file whose header cannot be read.
        OSError: the file cannot be opened.
    """
    with open_regular(path) as file:
        try:
            with lenient():
                data = read_file(file, tags=_TAGS)
                return None if data is None else _header_of(path, data)  # values are converted when asked for
        except InputError:
            raise
        except Exception as error:  # a damaged file leads pydicom to any exception there is
            raise _damaged_header() from error


def read_pixels(path: Path, slices: Sequence[Slice]) -> list[np.ndarray]:
    """HU of the given slices of the file ``path``, each of shape (rows, columns): int32 where exact, else float64.

    Raises:
        InputError: truncated or damaged pixel data, or a compression that cannot be undone here.
    """
    one = slices[0]
    try:
        with open_regular(path) as file, lenient():
            data = read_file(file, tags=["PixelData", *_TAGS], pixels=4 * one.frames * one.rows * one.columns)
            stored = None if data is None else _stored(data, one)
    except InputError:
        raise
    except EOFError as error:
        raise _cut_short() from error
    except Exception as error:  # as above
        raise _broken() from error
    if stored is None:
        return [_decode(path, one)]
    return [_rescaled(stored[s.frame], s.slope, s.intercept) for s in slices]


def _header_of(path: Path, data: FileDataset) -> Header:
    uid = _text(data, "SeriesInstanceUID")
    modality = _text(data, "Modality").upper()
    aside = _why_aside(data, modality)
    if aside:
        return Header(uid, aside=aside)
    groups = _frame_groups(data)
    measures = _macro(groups[0], "PixelMeasuresSequence") if groups else data
    values = [_macro(frame, "PixelValueTransformationSequence") for frame in groups] or [data]
    thickness, kvp = _floats(measures, "SliceThickness", 1), _floats(data, "KVP", 1)
    return Header(
        uid,
        study=_text(data, "StudyInstanceUID"),
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
        return "screen capture"
    return "" if modality else "picture without modality"


def _frame_groups(data: Dataset) -> list[list[Dataset]]:
    """The functional groups of every frame of an enhanced file, its own before the shared ones; none for others."""
    shared = _listed(data, "SharedFunctionalGroupsSequence")
    return [[frame, *shared] for frame in _listed(data, "PerFrameFunctionalGroupsSequence")]


def _slices_of(path: Path, data: Dataset, groups: list[list[Dataset]]) -> Iterator[Slice]:
    rows, columns = int(data.Rows), int(data.Columns)
    count = _integer(data, "NumberOfFrames") or 1
    if min(rows, columns, count) < 1:
        raise _damaged_header()
    acquisition = _integer(data, "AcquisitionNumber")
    if not groups:
        yield Slice(
            path, 0, count, rows, columns,
            _floats(data, "ImagePositionPatient", 3),
            _floats(data, "ImageOrientationPatient", 6),
            _floats(data, "PixelSpacing", 2),
            *_rescale(data),
            acquisition,
        )  # fmt: skip
    for index, frame in enumerate(groups):
        content = _macro(frame, "FrameContentSequence")
        yield Slice(
            path, index, count, rows, columns,
            _floats(_macro(frame, "PlanePositionSequence"), "ImagePositionPatient", 3),
            _floats(_macro(frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
            _floats(_macro(frame, "PixelMeasuresSequence"), "PixelSpacing", 2),
            *_rescale(_macro(frame, "PixelValueTransformationSequence")),
            _integer(content, "FrameAcquisitionNumber") or acquisition,
        )  # fmt: skip


def _macro(groups: list[Dataset], name: str) -> Dataset:
    """The functional group ``name`` of a frame, its own or the shared one; an empty data set when there is none."""
    for group in groups:
        items = _listed(group, name)
        if items:
            return items[0]
    return Dataset()


def _stored(data: FileDataset, one: Slice) -> np.ndarray | None:
    """Stored values (frames, rows, columns); None when compressed, for GDCM to decode."""
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    if syntax is not None and syntax.is_compressed:
        return _from_compressed(data, syntax, one)
    if "PixelData" not in data:
        raise _cut_short()
    allocated = int(data.BitsAllocated)
    bits = int(data.get("BitsStored") or allocated)
    high = int(data.get("HighBit") or bits - 1)
    if allocated not in (8, 16, 32) or not 0 <= bits - 1 <= high < allocated:
        raise _broken()
    dtype = np.dtype(f"{'i' if data.PixelRepresentation else 'u'}{allocated // 8}")
    count = one.frames * one.rows * one.columns
    content = data.PixelData
    if len(content) < count * dtype.itemsize:
        raise _cut_short()
    file_order = dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    values = np.frombuffer(content, dtype=file_order, count=count).astype(dtype).reshape(one.frames, one.rows, -1)
    # Bits around the stored ones may hold overlays; shifting up and down drops them and carries the sign.
    return values if bits == allocated else (values << (allocated - 1 - high)) >> (allocated - bits)


def _from_compressed(data: FileDataset, syntax: UID, one: Slice) -> np.ndarray | None:
    if syntax not in _DECODED:
        raise InputError(
            "dicom-compression-unknown",
            f"The slices are compressed as {_name_of(syntax)}, which cannot be read here.",
            "Export the series uncompressed, for example as Explicit VR Little Endian.",
        )
    if one.frames == 1:
        return None
    if syntax != RLELossless:
        raise InputError(
            "dicom-compressed-frames",
            f"The multi-frame DICOM file is compressed as {_name_of(syntax)}, which cannot be read here.",
            "Export it uncompressed, or as one file a slice.",
        )
    values, _ = get_decoder(RLELossless).as_array(data, raw=True)
    return values.reshape(one.frames, one.rows, one.columns)


def _name_of(syntax: UID) -> str:
    """The compression in the standard's words; identifiers that are in no list may say where a file comes from."""
    return syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "something of its maker's own"


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if slope.is_integer() and intercept.is_integer() and abs(slope) < 256 and stored.dtype.itemsize <= 2:
        return stored.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    return stored.astype(np.float64) * slope + intercept


def _decode(path: Path, one: Slice) -> np.ndarray:
    """HU of a compressed slice; GDCM decodes and rescales."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet_stderr():
            values = np.asarray(sitk.GetArrayFromImage(reader.Execute())).squeeze()
    except RuntimeError as error:
        raise _broken() from error
    if values.shape != (one.rows, one.columns):
        raise _broken()
    return values.astype(np.float64) if values.dtype.kind == "f" else values.astype(np.int32)


def _damaged_header() -> InputError:
    return InputError(
        "dicom-damaged",
        "A DICOM file in the folder is damaged or cut short.",
        "Copy or export the series again, or remove the file if it is none of its slices.",
    )


def _cut_short() -> InputError:
    return InputError("dicom-truncated", "A DICOM slice is cut short.", "Copy or export the series again.")


def _broken() -> InputError:
    return InputError(
        "dicom-damaged", "The picture in a DICOM slice cannot be decoded.", "Copy or export the series again."
    )


def _rescale(data: Dataset) -> tuple[float, float, bool]:
    """Slope, intercept, and whether the header states the intercept.

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
    return slope or 1.0, intercept or 0.0, intercept is not None


def _stated_number(data: Dataset, name: str) -> float | None:
    """A number, or None when the header states none; raises `ValueError` or `TypeError` for anything else."""
    value = data.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    number = float(value)
    if not abs(number) <= _MAX_NUMBER:
        raise ValueError(name)
    return number


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
    except (TypeError, ValueError):
        return None


def _floats(data: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """``count`` numbers, or None when the header does not state them or they make no sense in mm."""
    try:
        value = data.get(name)
        numbers = tuple(float(v) for v in (value if count > 1 else [value]))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(abs(n) <= _MAX_NUMBER for n in numbers) else None

"""One DICOM slice: what its header says, and its pixels as HU.

Nothing that identifies a patient (names, identifiers, UIDs, file names) leaves this room but the series UID, which
groups files in memory and is never shown.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian

from pancreasseg.core.errors import InputError
from pancreasseg.io.quiet import quiet_stderr

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality", "ImageType",
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "SliceThickness", "ContrastBolusAgent", "ConvolutionKernel", "KVP",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
# What pydicom raises for files that are not as the standard says.
_PYDICOM_ERRORS = (
    InvalidDicomError, BytesLengthException, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    NotImplementedError, OverflowError,
)  # fmt: skip
_CT_STORAGE = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Slice:
    """One axial image, or one frame of a multi-frame file.

    Attributes:
        position: LPS mm of the centre of its first pixel; None where the header does not say.
        orientation: LPS directions along a row and along a column, six numbers; None likewise.
        spacing: mm between rows, between columns, as DICOM orders them; None likewise.
        slope, intercept: HU = stored * slope + intercept.
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


@dataclass(frozen=True)
class Header:
    """What one file contributes to a series; ``slices`` is empty when it is no CT image.

    ``aside`` then says in a word or two what it is instead.
    """

    series: str
    empty_uid: bool = False
    description: str = ""
    number: int | None = None
    aside: str = ""
    slices: tuple[Slice, ...] = ()
    rescale_type: str = ""
    thickness: float | None = None
    contrast: str = "unknown"
    kernel: str = ""
    kvp: str = ""


def read_header(path: Path) -> Header | None:
    """What the header of a file says; None when the file is no DICOM.

    Raises:
        InputError: a DICOM file whose header cannot be read.
    """
    with path.open("rb") as file, lenient():
        start = file.read(132)
        file.seek(0)
        marked = start[128:132] == b"DICM"
        if not marked and start[:4] not in (b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00"):
            return None
        try:
            data = pydicom.dcmread(file, stop_before_pixels=True, force=not marked, specific_tags=list(_TAGS))
            return _header_of(path, data)  # pydicom converts values when they are asked for
        except _PYDICOM_ERRORS as error:
            raise _damaged_header() from error


def read_pixels(path: Path, slices: Sequence[Slice]) -> list[np.ndarray]:
    """HU of the given slices of the file ``path``, each of shape (rows, columns): int32 where exact, else float64.

    Raises:
        InputError: truncated or damaged pixel data.
    """
    try:
        with lenient():
            data = pydicom.dcmread(path, force=True, specific_tags=["PixelData", *_TAGS])
            stored = _stored(data, slices)
    except EOFError as error:
        raise _cut_short() from error
    except _PYDICOM_ERRORS as error:
        raise _broken() from error
    if stored is None:
        return [_decode(path, slices[0])]
    return [_rescaled(stored[s.frame], s.slope, s.intercept) for s in slices]


@contextmanager
def lenient() -> Iterator[None]:
    """Read headers as they come. pydicom's warnings quote header values, so they are not shown to anyone."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _header_of(path: Path, data: FileDataset) -> Header:
    uid = _text(data, "SeriesInstanceUID")
    modality = _text(data, "Modality").upper()
    aside = _why_aside(data, modality)
    if aside:
        return Header(uid, aside=aside)
    thickness, kvp = _floats(data, "SliceThickness", 1), _floats(data, "KVP", 1)
    return Header(
        uid,
        empty_uid=not uid or not _text(data, "SOPInstanceUID"),
        description=_text(data, "SeriesDescription")[:60],
        number=_integer(data, "SeriesNumber"),
        slices=tuple(_slices_of(path, data)),
        rescale_type=_text(data, "RescaleType").upper(),
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


def _slices_of(path: Path, data: Dataset) -> Iterator[Slice]:
    rows, columns = int(data.Rows), int(data.Columns)
    count = _integer(data, "NumberOfFrames") or 1
    frames = _listed(data, "PerFrameFunctionalGroupsSequence")
    if not frames:
        yield Slice(
            path, 0, count, rows, columns,
            _floats(data, "ImagePositionPatient", 3),
            _floats(data, "ImageOrientationPatient", 6),
            _floats(data, "PixelSpacing", 2),
            *_rescale(data),
        )  # fmt: skip
        return
    shared = _listed(data, "SharedFunctionalGroupsSequence")
    for index, frame in enumerate(frames):
        groups = [frame, *shared]
        yield Slice(
            path, index, count, rows, columns,
            _floats(_macro(groups, "PlanePositionSequence"), "ImagePositionPatient", 3),
            _floats(_macro(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
            _floats(_macro(groups, "PixelMeasuresSequence"), "PixelSpacing", 2),
            *_rescale(_macro(groups, "PixelValueTransformationSequence")),
        )  # fmt: skip


def _macro(groups: list[Dataset], name: str) -> Dataset:
    """The functional group ``name`` of a frame, its own or the shared one; an empty data set when there is none."""
    for group in groups:
        items = _listed(group, name)
        if items:
            return items[0]
    return Dataset()


def _stored(data: FileDataset, slices: Sequence[Slice]) -> np.ndarray | None:
    """Stored values (frames, rows, columns); None when compressed, for GDCM to decode."""
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    one = slices[0]
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        if one.frames > 1:
            raise InputError(
                "dicom-compressed-frames",
                "The multi-frame DICOM file is compressed, which cannot be read here.",
                "Export it uncompressed, or as one file a slice.",
            )
        return None
    if "PixelData" not in data:
        raise _cut_short()
    allocated, bits = int(data.BitsAllocated), int(data.get("BitsStored") or data.BitsAllocated)
    if allocated not in (8, 16, 32):
        raise _broken()
    dtype = np.dtype(f"{'i' if data.PixelRepresentation else 'u'}{allocated // 8}")
    count = one.frames * one.rows * one.columns
    content = data.PixelData
    if len(content) < count * dtype.itemsize:
        raise _cut_short()
    file_order = dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    values = np.frombuffer(content, dtype=file_order, count=count).astype(dtype).reshape(one.frames, one.rows, -1)
    spare = allocated - bits
    # Bits above the stored ones may hold overlays; shifting up and down again drops them and carries the sign.
    return (values << spare) >> spare if spare > 0 else values


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


def _rescale(data: Dataset) -> tuple[float, float]:
    slope, intercept = _floats(data, "RescaleSlope", 1), _floats(data, "RescaleIntercept", 1)
    return (slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)


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
    """``count`` finite numbers, or None when the header does not state them."""
    try:
        value = data.get(name)
        numbers = tuple(float(v) for v in (value if count > 1 else [value]))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None

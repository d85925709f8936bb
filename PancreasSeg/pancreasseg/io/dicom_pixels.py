"""The pixels of DICOM slices as HU.

Compressed frames are decoded by GDCM, out of a fresh file that holds the frame and nothing else of the stranger's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from pancreasseg.core.errors import DISK_FULL, InputError
from pancreasseg.io.codestream import frame_size
from pancreasseg.io.dicom_file import lenient, read_file
from pancreasseg.io.dicom_slices import TAGS, Slice
from pancreasseg.io.hounsfield import MAX_HU
from pancreasseg.io.quiet import quiet_stderr
from pancreasseg.io.voxels import open_regular

_AIR_HU = -1024
_DECODED = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000, RLELossless)


@dataclass(frozen=True)
class _Layout:
    """How a stored value lies in its bits: of ``allocated``, those up to bit ``high`` count, ``bits`` in number."""

    allocated: int
    bits: int
    high: int
    signed: bool

    @classmethod
    def of(cls, data: Dataset) -> _Layout:
        allocated = int(data.BitsAllocated)
        bits = int(data.get("BitsStored") or allocated)
        high = int(data.get("HighBit") or bits - 1)
        if allocated not in (8, 16, 32) or not 0 <= bits - 1 <= high < allocated:
            raise _broken()
        return cls(allocated, bits, high, bool(data.get("PixelRepresentation") or 0))

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    def kept(self, values: np.ndarray) -> np.ndarray:
        """Values without the bits around the stored ones, which may hold overlays; shifting carries the sign."""
        if self.bits == self.allocated:
            return values
        return (values << (self.allocated - 1 - self.high)) >> (self.allocated - self.bits)

    def padding(self, data: Dataset) -> int | None:
        """The stored value that stands for no picture, whatever its sign in the header; None without one."""
        try:
            value = np.array([int(data.get("PixelPaddingValue")) % 2**self.allocated], dtype=np.uint64)
        except (TypeError, ValueError, OverflowError):
            return None
        return int(self.kept(value.astype(self.dtype))[0])


def read_pixels(path: Path, slices: Sequence[Slice]) -> list[np.ndarray]:
    """HU of the given slices of the file ``path``, each of shape (rows, columns): int32 where exact, else float64.

    Raises:
        InputError: truncated or damaged pixel data, or a compression that cannot be undone here.
    """
    one = slices[0]
    try:
        with open_regular(path) as file, lenient():
            data = read_file(file, tags=["PixelData", *TAGS], pixels=4 * one.frames * one.rows * one.columns)
            if data is None:
                raise _broken()
            stored, padding = _stored(data, slices), _Layout.of(data).padding(data)
    except InputError:
        raise
    except EOFError as error:
        raise _cut_short() from error
    except OSError as error:
        if error.errno in DISK_FULL:  # compressed frames go through a temporary file
            raise
        raise _broken() from error
    except Exception as error:  # a damaged file leads pydicom to any exception there is
        raise _broken() from error
    return [_as_hu(values, s, padding) for values, s in zip(stored, slices, strict=True)]


def _stored(data: FileDataset, slices: Sequence[Slice]) -> list[np.ndarray]:
    """Stored values of the frames wanted, each (rows, columns)."""
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    if "PixelData" not in data:
        raise _cut_short()
    layout, one = _Layout.of(data), slices[0]
    if syntax and not syntax.is_transfer_syntax:
        _refuse_unknown(syntax)
    if syntax and syntax.is_compressed and not syntax.is_deflated:
        _refuse_unknown(syntax)
        return [_decoded(data, syntax, layout, s) for s in slices]
    count = one.frames * one.rows * one.columns
    if len(data.PixelData) < count * layout.dtype.itemsize:
        raise _cut_short()
    file_order = layout.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    values = np.frombuffer(data.PixelData, dtype=file_order, count=count).astype(layout.dtype)
    return [layout.kept(values.reshape(one.frames, one.rows, one.columns)[s.frame]) for s in slices]


def _refuse_unknown(syntax: UID) -> None:
    if syntax in _DECODED:
        return
    # Identifiers that are in no list may say where a file comes from.
    named = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "something of its maker's own"
    raise InputError(
        "dicom-compression-unknown",
        f"The slices are compressed as {named}, which cannot be read here.",
        "Export the series uncompressed, for example as Explicit VR Little Endian.",
    )


def _decoded(data: FileDataset, syntax: UID, layout: _Layout, one: Slice) -> np.ndarray:
    """Stored values (rows, columns) of one compressed frame."""
    frame = get_frame(data.PixelData, one.frame, number_of_frames=one.frames)
    if syntax != RLELossless:
        _refuse_other_size(frame, layout, one)
    clean = Dataset()
    clean.file_meta = FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = syntax
    clean.SOPClassUID = clean.file_meta.MediaStorageSOPClassUID = CTImageStorage
    clean.SOPInstanceUID = clean.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    clean.Rows, clean.Columns, clean.SamplesPerPixel = one.rows, one.columns, 1
    clean.PhotometricInterpretation, clean.PixelRepresentation = "MONOCHROME2", int(layout.signed)
    # Run lengths leave the bits as they lie, and `kept` moves them; other codecs know of stored bits alone.
    bits, high = (layout.allocated, layout.allocated - 1) if syntax == RLELossless else (layout.bits, layout.high)
    clean.BitsAllocated, clean.BitsStored, clean.HighBit = layout.allocated, bits, high
    clean.PixelData = encapsulate([frame])
    with tempfile.TemporaryDirectory(prefix="pancreasseg-") as folder:
        path = Path(folder) / "frame"
        clean.save_as(path, enforce_file_format=True)
        values = _read_with_gdcm(path)
    if values.shape != (one.rows, one.columns) or values.dtype.kind not in "iu":
        raise _broken()
    return layout.kept(values) if values.dtype.itemsize * 8 == layout.allocated else values


def _refuse_other_size(frame: bytes, layout: _Layout, one: Slice) -> None:
    size = frame_size(frame)
    if size is None or (size.rows, size.columns, size.components) != (one.rows, one.columns, 1):
        raise _broken()
    if not 2 <= size.precision <= layout.allocated:
        raise _broken()


def _read_with_gdcm(path: Path) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    with quiet_stderr():
        return np.asarray(sitk.GetArrayFromImage(reader.Execute())).squeeze()


def _as_hu(stored: np.ndarray, one: Slice, padding: int | None) -> np.ndarray:
    """HU; padding that would be brighter than anything in a CT, such as 65535, is air."""
    values = _rescaled(stored, one.slope, one.intercept)
    if padding is not None and padding * one.slope + one.intercept > MAX_HU:
        values[stored == padding] = _AIR_HU
    return values


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if slope.is_integer() and intercept.is_integer() and abs(slope) < 256 and stored.dtype.itemsize <= 2:
        return stored.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    return stored.astype(np.float64) * slope + intercept


def _cut_short() -> InputError:
    return InputError("dicom-truncated", "A DICOM slice is cut short.", "Copy or export the series again.")


def _broken() -> InputError:
    return InputError(
        "dicom-damaged", "The picture in a DICOM slice cannot be decoded.", "Copy or export the series again."
    )

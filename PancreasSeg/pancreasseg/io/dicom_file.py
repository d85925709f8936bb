"""One DICOM file opened for pydicom: in silence, and with a bound on what it may unpack to."""

from __future__ import annotations

import codecs
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import charset
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filereader import read_dataset, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pancreasseg.core.errors import InputError
from pancreasseg.io.voxels import inflated, open_regular

HEADER_BYTES = 2**24  # what a header may unpack to: functional groups of thousands of frames stay far below
_PLAIN = rb"Az09^=\x41+-~"  # every encoding of texts leaves it as it is
_RAW_DEFLATE = -15  # zlib: no header
_LOGGER = logging.getLogger("pydicom")


@contextmanager
def lenient() -> Iterator[None]:
    """Read headers as they come. pydicom's warnings and log quote header values, so they are not shown to anyone."""
    level = _LOGGER.level
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        _LOGGER.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            _LOGGER.setLevel(level)


def read_file(file: BinaryIO, *, tags: list[str] | None = None, pixels: int | None = None) -> FileDataset | None:
    """A file's data set, or None when it is no DICOM.

    Files without the preamble of 128 bytes are read if they begin with group 2 or group 8, as old programs wrote them.

    Args:
        file: a regular file, at its start.
        tags: the attributes wanted; None for all.
        pixels: read the pixel data too, which may unpack to this many bytes.

    Raises:
        InputError: deflated data that unpack to more than they may.
        Exception: whatever pydicom makes of a damaged file.
    """
    if not _is_dicom(file.read(132)):
        return None
    file.seek(0)
    content = _unpacked(file, HEADER_BYTES + (pixels or 0), whole=pixels is not None)
    data = pydicom.dcmread(content, stop_before_pixels=pixels is None, force=True, specific_tags=tags)
    if tags is not None and not all(is_charset(term) for term in _terms(data)):
        # Even plain letters would be garbled, or no attribute could be read.
        del data["SpecificCharacterSet"]
        implicit, little = data.original_encoding
        data.set_original_encoding(implicit, little, charset.default_encoding)
    return data


def read_whole_header(path: Path) -> FileDataset:
    """Every attribute but the pixel data, of a file that is known to be DICOM.

    Raises:
        InputError: it is DICOM no longer.
        Exception: whatever pydicom makes of a damaged file.
    """
    with open_regular(path) as file:
        data = read_file(file)
    if data is None:
        raise InputError("dicom-damaged", "A DICOM file in the folder is damaged.", "Copy or export the series again.")
    return data


def is_charset(term: str) -> bool:
    """Whether text may be encoded as a term of Specific Character Set says; Python knows codecs that are none."""
    if term in charset.python_encoding:
        return True
    try:
        codecs.lookup(term)
    except (LookupError, ValueError):
        return True  # no codec: pydicom corrects or ignores what is misspelt
    try:
        return (_PLAIN + b"\xfc").decode(term, "replace").startswith(_PLAIN.decode("ascii"))
    except (LookupError, ValueError):
        return False


def _terms(data: Dataset) -> list[str]:
    value = data.get("SpecificCharacterSet") or ""
    return [value] if isinstance(value, str) else list(value)


def _is_dicom(start: bytes) -> bool:
    if start[128:132] == b"DICM":
        return True
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    # A group length (element 0) may come first; else the first attribute must be one that exists.
    return group in (2, 8) and (element == 0 or pydicom.datadict.dictionary_has_tag((group << 16) | element))


def _unpacked(file: BinaryIO, limit: int, *, whole: bool) -> BinaryIO:
    """The file itself, or a deflated one as if it had never been; pydicom would unpack it without a bound."""
    read_preamble(file, force=True)
    meta = FileMetaDataset(
        read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    )
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file
    content = io.BytesIO(bytes(128) + b"DICM")
    content.seek(0, io.SEEK_END)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write_file_meta_info(DicomIO(content), meta, enforce_standard=False)
    for piece in _until_broken(inflated(file, _RAW_DEFLATE)):
        content.write(piece)
        if content.tell() > limit:
            if whole:
                raise InputError(
                    "dicom-damaged",
                    "A DICOM file unpacks to far more than the picture that its header states.",
                    "Copy or export the series again.",
                )
            break
    content.seek(0)
    return content


def _until_broken(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces up to where the data end or break; what is missing then is noticed as in a file that is not deflated."""
    try:
        yield from pieces
    except InputError:
        return

"""Voxels out of an open file, however they are packed, and never more of them than the header states."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from pancreasseg.core.errors import InputError
from pancreasseg.io.refusals import damaged, not_a_file, too_large, truncated

Packing = Literal["raw", "deflate", "text"]

MAX_BYTES = 2**32  # of stored values; 2,048 slices of 1,024 x 1,024 as int16
_MAX_DEFLATE = 1100  # no deflate stream expands further than 1032:1
_USUAL_DEFLATE = 100  # to one; CTs shrink to a half or a third, masks a thousandfold
_MAX_DENSE = 3 << 29  # bytes; masks of 700 slices with 8 bytes a voxel fit
_MAX_TEXT = 40  # characters for one number
_BLOCK = 1 << 20
_LARGE_BLOCK = 1 << 23  # while other threads import, each block waits for the interpreter
_ANY_HEADER = 47  # zlib: gzip or zlib header, whichever is there
_GZIP = b"\x1f\x8b"


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe or device, which might never answer, is refused before it is opened.

    Raises:
        InputError: it is no regular file.
        OSError: it cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise not_a_file()
    return path.open("rb")


def beside(header: Path, name: str) -> Path:
    """The file that a header names as that of its voxels.

    Raises:
        InputError: the name leads elsewhere, stands for several files, or nothing is there.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(
            "several-data-files",
            "The header spreads the voxels over several files, which is not read here.",
            "Save the image as one file, for example as .nrrd or .nii.gz.",
        )
    name = name.removeprefix("./")
    if not name or len(name) > 255 or not name.isprintable() or name in (".", "..") or set(name) & set("/\\:"):
        raise damaged("its header names a file of voxels that does not lie beside it")
    data = header.with_name(name)
    if name == header.name:
        raise damaged("its header names itself as the file of its voxels")
    if not data.exists():
        raise InputError(
            "data-file-missing",
            f"The file {name} with the voxels is not there; {header.name} is only the header.",
            "Put both files into one folder, with their own names.",
        )
    return data


def read_voxels(file: BinaryIO, dtype: np.dtype, count: int, packing: Packing, skip: int = 0) -> np.ndarray:
    """Stored values from the file's position on, in the machine's byte order, shape (count,).

    Args:
        file: a regular file.
        dtype: of a stored value, with the file's byte order.
        count: how many values there are.
        packing: as they are; deflated (gzip or zlib, in one or several members); or as numbers in text.
        skip: bytes before the first value, counted after unpacking.

    Raises:
        InputError: truncated or damaged data, or more of it than any CT has.
    """
    needed = count * dtype.itemsize
    if needed > MAX_BYTES:
        raise too_large()
    left = os.fstat(file.fileno()).st_size - file.tell()
    if packing == "text":
        file.seek(skip, os.SEEK_CUR)
        return _from_text(file, dtype, count, left - skip)
    if skip + needed > left * (_MAX_DEFLATE if packing == "deflate" else 1):
        raise truncated()
    if packing == "deflate" and needed > max(_MAX_DENSE, left * _USUAL_DEFLATE):
        raise InputError(
            "file-too-dense",
            "The file unpacks to far more than any CT of its size does.",
            "Check how it was made, or save it without compression.",
        )
    values = np.empty(count, dtype=dtype)
    content = values.view(np.uint8).data
    if packing == "raw":
        file.seek(skip, os.SEEK_CUR)
        if file.readinto(content) < needed:  # type: ignore[attr-defined]
            raise truncated()
    else:
        _fill(content, inflated(file, block=_LARGE_BLOCK), skip)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def inflated(file: BinaryIO, window: int = _ANY_HEADER, block: int = _BLOCK) -> Iterator[bytes]:
    """What was deflated, block by block.

    Args:
        file: at the first byte of the compressed data.
        window: zlib's ``wbits``; gzip and zlib headers are told apart without it.
        block: bytes of a block at most, packed or not.

    Raises:
        InputError: truncated or damaged data.
    """
    unpacker = zlib.decompressobj(window)
    waiting = file.read(block)
    try:
        while waiting:
            piece = unpacker.decompress(waiting, block)
            yield piece
            waiting = unpacker.unconsumed_tail or (unpacker.unused_data if unpacker.eof else b"") or file.read(block)
            if unpacker.eof:
                waiting += file.read(1) if len(waiting) == 1 else b""
                if window != _ANY_HEADER or not waiting.startswith(_GZIP):
                    return  # several gzip members make one file (bgzip); all else is padding
                unpacker = zlib.decompressobj(window)
        while not unpacker.eof:
            piece = unpacker.decompress(b"", block)
            if not piece:
                raise truncated()
            yield piece
    except zlib.error as error:
        raise damaged("its compression is broken") from error


def _fill(content: memoryview, pieces: Iterator[bytes], skip: int) -> None:
    """Copy pieces from ``skip`` on until ``content`` is full, and read on to the checksum if it follows at once."""
    at = 0
    for piece in pieces:
        passed = min(skip, len(piece))
        skip -= passed
        wanted = piece[passed : passed + len(content) - at]
        content[at : at + len(wanted)] = wanted
        at += len(wanted)
        if passed + len(wanted) < len(piece):
            return
    if at < len(content):
        raise truncated()


def _from_text(file: BinaryIO, dtype: np.dtype, count: int, left: int) -> np.ndarray:
    if 2 * count - 1 > left:
        raise truncated()
    words = file.read(count * _MAX_TEXT).split()
    if len(words) < count:
        raise truncated()
    try:
        values = np.array(words[:count], dtype=np.float64)
    except ValueError as error:
        raise damaged("its voxels are not numbers") from error
    if dtype.kind in "iu" and not (np.iinfo(dtype).min <= values.min() and values.max() <= np.iinfo(dtype).max):
        raise damaged("its voxels do not fit the type that its header states")
    return values.astype(dtype.newbyteorder("="))

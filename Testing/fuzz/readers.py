"""Fuzz targets for whatever reads images: each makes one odd file from a good one and reads it.

A target takes a seeded generator and an empty folder, and returns what became of the input: "read", or the code of the
refusal. Anything else that is raised, a warning of numpy among them, is a finding of the fuzzer; so is a process that
dies or does not come back.
"""

from __future__ import annotations

import copy
import gzip
import io
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import get_frame, itemize_fragment
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from Testing.helpers.ct_files import a_ct, a_grid, a_series, a_slice, compress, turned, write_image

from pancreasseg.core.errors import InputError
from pancreasseg.io.dicom_pixels import read_pixels
from pancreasseg.io.dicom_slices import read_header
from pancreasseg.io.read import read_mask, read_volume
from pancreasseg.io.seg_nrrd import encode_seg_nrrd

Target = Callable[[np.random.Generator, Path], str]
_SHAPE = (8, 12, 14)
_HEADER = 600  # bytes at the start of a file that most changes go to
# Numbers and words that readers have stumbled over.
_WORDS = [
    b"-1", b"0", b"1", b"2", b"4", b"100", b"65535", b"65536", b"2147483647", b"-2147483648", b"9" * 30, b"9" * 5000,
    b"1e308", b"-1e308", b"1e-320", b"nan", b"inf", b"-inf", b"", b" ", b"x" * 1500, b"LIST", b"LOCAL", b"../x", b"%s",
    b"none", b"(nan,nan,nan)", b"(0,0,0)", b"\0", b"\xff\xfe", b"\n", b"\n\n", b"raw", b"gzip", b"ascii", b"bzip2",
    b"True", b"double", b"MET_DOUBLE", b"block", b"time",
]  # fmt: skip
_NUMBERS = [
    np.array(value, kind).tobytes()
    for kind in ("<i2", "<i4", "<f4", "<f8", ">f4", ">i2")
    for value in (0, 1, -1, 3, 127, 32767, -32768)
] + [np.array(v, k).tobytes() for k in ("<f4", ">f4", "<f8") for v in (np.nan, np.inf, -np.inf, 3e38, 1e-38)]


def _mutated(random: np.random.Generator, content: bytes, words: list[bytes]) -> bytes:
    """A few changes: bytes, words, pieces cut out, doubled or swapped, the end cut off."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        end = len(changed) if random.random() < 0.15 else min(_HEADER, len(changed))
        place = int(random.integers(0, max(end, 1)))
        length = int(random.integers(1, 40))
        match int(random.integers(0, 7)):
            case 0 | 1:
                changed[place : place + 1] = random.bytes(1)
            case 2 | 3:
                word = words[int(random.integers(0, len(words)))]
                changed[place : place + len(word)] = word
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[place : place + length]
            case _:
                if random.random() < 0.2:
                    del changed[int(random.integers(0, len(changed) + 1)) :]
    return bytes(changed)


def _token_changed(random: np.random.Generator, content: bytes) -> bytes:
    """A text header with one word on one of its lines replaced, or a line doubled, dropped or moved."""
    stop = content.index(b"LOCAL") if b"ElementDataFile" in content[:_HEADER] else content.index(b"\n\n")
    lines = content[:stop].split(b"\n")
    place = int(random.integers(0, len(lines)))
    match int(random.integers(0, 5)):
        case 0:
            lines.insert(place, lines[int(random.integers(0, len(lines)))])
        case 1:
            del lines[place]
        case _:
            words = lines[place].split(b" ")
            words[int(random.integers(0, len(words)))] = _WORDS[int(random.integers(0, len(_WORDS)))]
            lines[place] = b" ".join(words)
    return b"\n".join(lines) + content[stop:]


def _outcome(read: Callable[[], object]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read()
        except InputError as error:
            return error.code
    return "read"


@cache
def _good(name: str, packed: bool = False) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        grid = a_grid(turned(), _SHAPE)
        return write_image(Path(folder) / name, a_ct(_SHAPE), grid, packed=packed).read_bytes()


def fuzz_nifti(random: np.random.Generator, folder: Path) -> str:
    """A .nii with changes in its header, or a .nii.gz with changes before or after packing."""
    content = _good("ct.nii")
    inside = random.random() < 0.8
    content = _mutated(random, content, _NUMBERS) if inside else content
    name = "ct.nii"
    if random.random() < 0.5:
        name, content = "ct.nii.gz", gzip.compress(content, 1)
    if not inside:
        content = _mutated(random, content, _NUMBERS)
    (folder / name).write_bytes(content)
    return _outcome(lambda: read_volume(folder / name))


def _fuzz_text_header(name: str, random: np.random.Generator, folder: Path) -> str:
    content = _good(name, packed=random.random() < 0.5)
    if random.random() < 0.6:
        content = _token_changed(random, content)
    if random.random() < 0.6:
        content = _mutated(random, content, _WORDS)
    (folder / name).write_bytes(content)
    return _outcome(lambda: read_volume(folder / name))


def fuzz_nrrd(random: np.random.Generator, folder: Path) -> str:
    """A .nrrd with words, lines or bytes of its header changed."""
    return _fuzz_text_header("ct.nrrd", random, folder)


def fuzz_metaimage(random: np.random.Generator, folder: Path) -> str:
    """A .mha with words, lines or bytes of its header changed."""
    return _fuzz_text_header("ct.mha", random, folder)


def fuzz_mask(random: np.random.Generator, folder: Path) -> str:
    """A .seg.nrrd with changes, read onto the grid of a CT."""
    grid = a_grid(turned(), _SHAPE)
    mask = np.zeros(_SHAPE, np.uint8)
    mask[2:5, 3:8, 2:6] = 1
    content = encode_seg_nrrd(mask, grid)
    content = _token_changed(random, content) if random.random() < 0.6 else _mutated(random, content, _WORDS)
    (folder / "mask.seg.nrrd").write_bytes(content)
    return _outcome(lambda: read_mask(folder / "mask.seg.nrrd", grid))


@cache
def _slices(kind: str) -> tuple[bytes, ...]:
    """The files of a small series: plain, without preamble, deflated or compressed."""
    files = []
    for data in a_series(a_ct(_SHAPE)):
        if kind == "rle":
            data.compress(RLELossless)
        elif kind != "explicit":
            syntax = DeflatedExplicitVRLittleEndian if kind == "deflated" else ImplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, data, enforce_file_format=True)
        files.append(buffer.getvalue()[132:] if kind == "no preamble" else buffer.getvalue())
    return tuple(files)


def fuzz_dicom(random: np.random.Generator, folder: Path) -> str:
    """A folder of slices of which one or two are changed, doubled or lost."""
    kinds = ["explicit", "implicit", "no preamble", "deflated", "rle"]
    files = list(_slices(kinds[int(random.integers(0, len(kinds)))]))
    words = [*_NUMBERS, *(word for word in _WORDS if len(word) < 40)]
    for _ in range(int(random.integers(1, 3))):
        place = int(random.integers(0, len(files)))
        files[place] = _mutated(random, files[place], words)
    if random.random() < 0.1:
        files.append(files[0])
    for number, content in enumerate(files):
        (folder / f"slice{number}").write_bytes(content)
    return _outcome(lambda: read_volume(folder))


@cache
def _compressed(compressor: str) -> pydicom.Dataset:
    return compress(a_slice(0, a_ct((2, 48, 40))[0] + 200), compressor)


#: An item without a table of where the frames begin.
_NO_OFFSETS = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"


def fuzz_compressed(random: np.random.Generator, folder: Path) -> str:
    """A slice whose compressed frame is changed; its header stays as it was."""
    data = copy.deepcopy(_compressed(("JPEG", "JPEG2000")[int(random.integers(0, 2))]))
    frame = bytearray(get_frame(data.PixelData, 0, number_of_frames=1))
    for _ in range(int(random.integers(1, 4))):
        place = int(random.integers(0, 200 if random.random() < 0.7 else len(frame)))
        frame[place : place + 1] = random.bytes(1)
    if random.random() < 0.1:
        del frame[int(random.integers(0, len(frame))) :]
    # Item by item: pydicom refuses to encapsulate what is shorter than two bytes.
    data.PixelData = _NO_OFFSETS + itemize_fragment(bytes(frame) + bytes(len(frame) % 2))
    pydicom.dcmwrite(folder / "slice", data, enforce_file_format=True)
    header = read_header(folder / "slice")
    assert header is not None
    return _outcome(lambda: read_pixels(folder / "slice", header.slices))


#: Every target by the name that `make fuzz` shows.
TARGETS: dict[str, Target] = {
    "NIfTI": fuzz_nifti,
    "NRRD": fuzz_nrrd,
    "MetaImage": fuzz_metaimage,
    "mask": fuzz_mask,
    "DICOM folder": fuzz_dicom,
    "DICOM frame": fuzz_compressed,
}

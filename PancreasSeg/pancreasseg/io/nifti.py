"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz), read and written without a library in between.

ITK refuses files whose direction cosines were rounded, rescales without asking and speaks on stderr; the format is
simple enough to read exactly. World coordinates turn from the format's RAS mm to LPS mm here.
Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.geometry import lps_ras
from pancreasseg.io.grids import make_geometry
from pancreasseg.io.refusals import damaged, nifti_pair, not_3d, not_grey, truncated
from pancreasseg.io.stored import StoredImage, no_orientation, no_spacing
from pancreasseg.io.voxels import inflated, open_regular, read_voxels

_FIELDS = [
    # name, format and offset in NIfTI-1, format and offset in NIfTI-2
    ("dim", "8i2", 40, "8i8", 16),
    ("datatype", "i2", 70, "i2", 12),
    ("bits", "i2", 72, "i2", 14),
    ("pixdim", "8f4", 76, "8f8", 104),
    ("vox_offset", "f4", 108, "i8", 168),
    ("slope", "f4", 112, "f8", 176),
    ("inter", "f4", 116, "f8", 184),
    ("units", "u1", 123, "i4", 500),
    ("qform", "i2", 252, "i4", 344),
    ("sform", "i2", 254, "i4", 348),
    ("quatern", "3f4", 256, "3f8", 352),
    ("qoffset", "3f4", 268, "3f8", 376),
    ("srow", "(3,4)f4", 280, "(3,4)f8", 400),
]
_NAMES = [f[0] for f in _FIELDS]
_NIFTI1 = np.dtype(
    {"names": _NAMES, "formats": [f[1] for f in _FIELDS], "offsets": [f[2] for f in _FIELDS], "itemsize": 348}
)
_NIFTI2 = np.dtype(
    {"names": _NAMES, "formats": [f[3] for f in _FIELDS], "offsets": [f[4] for f in _FIELDS], "itemsize": 540}
)
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOUR = {128, 2304}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres; everything else is mm
_MAX_OFFSET = 2**28  # extensions before the voxels


#: Data types that are written, with their NIfTI codes.
_WRITTEN = {np.dtype(np.uint8): 2, np.dtype(np.int16): 4, np.dtype(np.float32): 16}


def read_nifti(path: Path) -> StoredImage:
    """Read a .nii or .nii.gz file.

    Raises:
        InputError: empty, truncated or damaged file, not 3D, colour, or a grid that cannot be used.
    """
    with open_regular(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        head = _unpack_head(file) if packed else file.read(540)
        file.seek(0)
        header, order = _parse(head)
        size = _size_of(header)
        dtype = _dtype_of(header, order)
        with np.errstate(invalid="ignore"):  # NaN in the header is refused by what comes of it
            geometry, findings = _grid_of(header, size)
        slope, intercept = _rescale_of(header)
        count = int(np.prod(size, dtype=object))
        values = read_voxels(file, dtype, count, "deflate" if packed else "raw", _offset_of(header))
    return StoredImage(values.reshape(size[::-1]), geometry, slope, intercept, findings)


def encode_nifti(
    mask: np.ndarray, geometry: Geometry, *, packed: bool = True, slope: float = 1.0, meaning: str = ""
) -> bytes:
    """A NIfTI-1 file of a (K, J, I) mask, map or CT, gzipped if ``packed``; its grid in sform and qform.

    Args:
        mask: the stored values; int16 and float32 stay that, all else is written as uint8.
        geometry: their grid.
        packed: gzip it.
        slope: every reader multiplies the stored values by this.
        meaning: of the values, for the header; at most 15 ASCII characters.

    Raises:
        ValueError: the mask does not fit the grid.
    """
    if mask.shape != geometry.shape:
        raise ValueError(f"mask {mask.shape} does not fit the grid {geometry.shape}")
    header: Any = np.zeros((), dtype=_NIFTI1.newbyteorder("<"))
    linear = lps_ras(geometry.axes) * np.asarray(geometry.spacing)
    offset = lps_ras(geometry.origin)
    handed, quaternion = _quaternion(lps_ras(geometry.axes))
    header["dim"] = [3, *geometry.size, 1, 1, 1, 1]
    kind = mask.dtype if mask.dtype in _WRITTEN else np.dtype(np.uint8)
    header["datatype"], header["bits"] = _WRITTEN[kind], 8 * kind.itemsize
    header["pixdim"] = [handed, *geometry.spacing, 0, 0, 0, 0]
    header["vox_offset"] = 352
    header["slope"] = slope
    header["units"] = 2  # mm
    header["qform"] = header["sform"] = 1  # scanner coordinates
    header["quatern"], header["qoffset"] = quaternion, offset
    header["srow"] = np.column_stack([linear, offset])
    raw = bytearray(header.tobytes())
    raw[0:4] = (348).to_bytes(4, "little")
    raw[328:344] = meaning.encode("ascii")[:15].ljust(16, b"\0")
    raw[344:348] = b"n+1\0"
    body = np.ascontiguousarray(mask, dtype=kind.newbyteorder("<"))
    content = bytes(raw) + bytes(4) + body.tobytes()
    return gzip.compress(content, compresslevel=1, mtime=0) if packed else content


def _unpack_head(file: BinaryIO) -> bytes:
    head = b""
    for piece in inflated(file):
        head += piece[:540]
        if len(head) >= 540:
            break
    return head[:540]


def _offset_of(header: np.void) -> int:
    """Bytes before the first voxel; files that state none have it behind the header and its four flag bytes."""
    offset, least = float(header["vox_offset"]), header.dtype.itemsize
    if offset == 0:
        return least + 4
    if not least <= offset < _MAX_OFFSET or not offset.is_integer():
        raise damaged("its header states an impossible place for the voxels")
    return int(offset)


def _rescale_of(header: np.void) -> tuple[float, float]:
    slope, intercept = float(header["slope"]), float(header["inter"])
    if slope == 0 or not np.isfinite(slope):  # the format's way to say: not rescaled
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise damaged("its rescale intercept is no number, so its values may be off by any amount")
    return slope, intercept


def _parse(head: bytes) -> tuple[np.void, str]:
    if len(head) < 348:
        raise truncated()
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        length = int(np.frombuffer(head[:4], dtype=order + "i4")[0])
        if length == 348:
            if head[344:348] == b"ni1\0":
                raise nifti_pair()
            if head[344:347] != b"n+1":
                raise damaged("it is an Analyze file or not NIfTI at all")
            return np.frombuffer(head[:348], dtype=_NIFTI1.newbyteorder(order))[0], order
        if length == 540:
            if len(head) < 540:
                raise truncated()
            return np.frombuffer(head[:540], dtype=_NIFTI2.newbyteorder(order))[0], order
    raise damaged("it is not NIfTI, whatever its name says")


def _size_of(header: np.void) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise damaged("its header states no dimensions")
    dims = [int(n) for n in header["dim"][1 : count + 1]]
    if min(dims) < 1:
        raise damaged("its header states a size of zero")
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) != 3:
        raise not_3d(len(dims))
    return (dims[0], dims[1], dims[2])


def _dtype_of(header: np.void, order: str) -> np.dtype:
    code = int(header["datatype"])
    if code in _TYPES:
        return np.dtype(order + _TYPES[code])
    if code in _COLOUR or code in (32, 1792, 2048):
        raise not_grey()
    raise damaged(f"its voxel type {code} is not supported")


def _grid_of(header: np.void, size: tuple[int, int, int]) -> tuple[Geometry, tuple[Finding, ...]]:
    """The sform where there is one that can be used, else the qform, else the spacing alone."""
    scale = _MM_PER_UNIT.get(int(header["units"]) & 7, 1.0)
    pixdim = np.abs(header["pixdim"][1:4].astype(float))
    scanner: Geometry | InputError | None = None
    if int(header["qform"]) > 0:
        scanner = _or_error(lambda: _from_quaternion(header, pixdim, size, scale))
    if int(header["sform"]) > 0:
        rows = header["srow"].astype(float)
        stated = _or_error(lambda: _from_affine(rows[:, :3], rows[:, 3], pixdim, size, scale))
        if isinstance(stated, Geometry):
            return stated, _disagreements(stated, scanner, pixdim * scale)
        if not isinstance(scanner, Geometry):
            raise stated
        return scanner, (_sform_unusable(stated),)
    if isinstance(scanner, InputError):
        raise scanner
    if scanner is not None:
        return scanner, ()
    spacing = np.where(pixdim > 0, pixdim, 1.0) * scale
    findings = (no_orientation(), *(() if (pixdim > 0).all() else (no_spacing(),)))
    # As ITK and Slicer place such files: index axes along L, P, S from the world's origin.
    return make_geometry(size, spacing, (0.0, 0.0, 0.0), np.eye(3)), findings


def _or_error(grid: Callable[[], Geometry]) -> Geometry | InputError:
    try:
        return grid()
    except InputError as error:
        return error


def _sform_unusable(error: InputError) -> Finding:
    if error.code == "sheared-grid":
        sentence = "The file states a sheared orientation besides the scanner's own; the scanner's was used."
        return Finding("sheared-sform", Severity.WARNING, sentence)
    sentence = "One of the two orientations that the file states makes no sense; the scanner's own was used."
    return Finding("sform-unusable", Severity.WARNING, sentence)


def _disagreements(stated: Geometry, scanner: Geometry | InputError | None, pixdim: np.ndarray) -> tuple[Finding, ...]:
    """Remarks on a file that states two grids, of which ITK, hence Slicer, often takes the other one."""
    if not np.allclose(stated.spacing, pixdim, rtol=1e-2):
        sentence = (
            f"The file states voxels of {_by(stated.spacing)} mm with its orientation and of {_by(pixdim)} mm besides; "
            "the former is used, other programs may use the latter. Check the size of the body, or export the CT again."
        )
        return (Finding("spacing-disagrees", Severity.WARNING, sentence),)
    if not isinstance(scanner, Geometry):
        return ()
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in stated.size])).reshape(3, -1).T
    apart = float(np.linalg.norm(stated.to_world(corners) - scanner.to_world(corners), axis=1).max())
    if apart <= 0.5 * min(stated.spacing):
        return ()
    sentence = (
        f"The file places the CT in two ways that lie up to {apart:.0f} mm apart (sform and qform); the sform is used, "
        "Slicer and other programs may use the other. Check that the mask lies on the CT there, and left and right."
    )
    return (Finding("positions-disagree", Severity.WARNING, sentence, apart),)


def _by(values: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{float(v):.3g}" for v in values)


def _from_quaternion(header: np.void, pixdim: np.ndarray, size: tuple[int, int, int], scale: float) -> Geometry:
    b, c, d = header["quatern"].astype(float)
    a = np.sqrt(max(1.0 - (b * b + c * c + d * d), 0.0))
    norm = np.sqrt(a * a + b * b + c * c + d * d) or 1.0
    a, b, c, d = a / norm, b / norm, c / norm, d / norm
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    handed = -1.0 if header["pixdim"][0] < 0 else 1.0
    linear = rotation * pixdim * np.array([1.0, 1.0, handed])
    return _from_affine(linear, header["qoffset"].astype(float), pixdim, size, scale)


def _from_affine(
    linear: np.ndarray, offset: np.ndarray, pixdim: np.ndarray, size: tuple[int, int, int], scale: float
) -> Geometry:
    lengths = np.linalg.norm(linear, axis=0)
    if not np.isfinite(lengths).all() or lengths.min() <= 0:
        raise InputError(
            "bad-geometry",
            "The file states a voxel spacing or orientation that makes no sense.",
            "Export the CT again from its DICOM files.",
        )
    # The header's own spacing, unless the matrix says something else: the matrix gives it with rounding only.
    spacing = np.where(np.isclose(lengths, pixdim, rtol=1e-5), pixdim, lengths)
    return make_geometry(size, spacing * scale, lps_ras(offset) * scale, lps_ras(linear / spacing))


def _quaternion(axes: np.ndarray) -> tuple[float, np.ndarray]:
    """(-1 for left-handed axes or 1, quaternion b c d) of a 3x3 RAS direction matrix, as NIfTI's qform wants it."""
    handed = -1.0 if np.linalg.det(axes) < 0 else 1.0
    r = axes * np.array([1.0, 1.0, handed])
    # The eigenvector of Bar-Itzhack's symmetric matrix is the nearest quaternion, stable for half turns too.
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    q = np.linalg.eigh(k)[1][:, -1]
    return handed, q[1:] if q[0] >= 0 else -q[1:]

"""MetaImage files (.mha, .mhd), read without a library in between.

ITK's reader trusts the header: odd numbers of dimensions overwrite its stack, odd matrices keep it busy for ever. Here
every number is checked, and the voxels lie in the same file or beside it.
Format: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.io.grids import make_geometry
from pancreasseg.io.header_text import header_lines, real_numbers, whole_number, whole_numbers
from pancreasseg.io.refusals import damaged, not_3d, not_grey
from pancreasseg.io.stored import MILLIMETRES, StoredImage, no_orientation, no_spacing, other_unit
from pancreasseg.io.voxels import Packing, beside, open_regular, read_voxels

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
# What decides how the voxels are read; other entries are kept as keys. Synonyms stand behind the first name.
_SYNONYMS = {
    "ObjectType": (),
    "NDims": (),
    "DimSize": (),
    "ElementType": (),
    "ElementNumberOfChannels": (),
    "ElementSpacing": (),
    "ElementSize": (),
    "Offset": ("Position", "Origin"),
    "TransformMatrix": ("Rotation", "Orientation"),
    "DistanceUnits": (),
    "BinaryData": (),
    "BinaryDataByteOrderMSB": ("ElementByteOrderMSB",),
    "CompressedData": (),
    "HeaderSize": (),
    "HeaderSizePerSlice": (),
    "ElementToIntensityFunctionSlope": (),
    "ElementToIntensityFunctionOffset": (),
    "ElementDataFile": (),
}
_FIELDS = {name: first for first, others in _SYNONYMS.items() for name in (first, *others)}
_MAX_DIMENSIONS = 10


def read_metaimage(path: Path, *, components: bool = False) -> StoredImage:
    """Read a MetaImage file.

    Args:
        path: the file, or the header beside its data.
        components: accept several values a voxel.

    Raises:
        InputError: truncated or damaged file, not 3D, colour, or a grid that cannot be used.
    """
    with open_regular(path) as file:
        fields, keys = _header(file)
        size, dimensions = _size_of(fields)
        channels = _whole(fields, "ElementNumberOfChannels", 1)
        if channels > 1 and not components:
            raise not_grey()
        if not 1 <= channels <= 256:
            raise damaged("its header states an impossible number of values a voxel")
        geometry, findings = _grid_of(fields, size, dimensions)
        name = _needed(fields, "ElementDataFile")
        if name.upper() == "LOCAL":
            values = _values(file, fields, (*size, channels))
        else:
            with open_regular(beside(path, name)) as data:
                values = _values(data, fields, (*size, channels))
    array = values.reshape(*size[::-1], channels)
    return StoredImage(array if channels > 1 else array[..., 0], geometry, findings=findings, keys=keys)


def _header(file: BinaryIO) -> tuple[dict[str, str], dict[str, str]]:
    """Fields by their first names, and whatever else is written there; it ends with the name of the voxels' file."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    names: set[str] = set()  # a synonym may say the same again
    for line in header_lines(file):
        if not line.strip():
            continue
        name, separator, value = (part.strip() for part in line.partition("="))
        if not separator or not name:
            raise damaged("it is not MetaImage, or its header has a line that is no entry")
        known = _FIELDS.get(name)
        if known is None:
            keys[name] = value
            continue
        if name in names or fields.get(known, value) != value:
            raise damaged(f"its header states {known} twice")
        names.add(name)
        fields[known] = value
        if known == "ElementDataFile":
            break
    return fields, keys


def _needed(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise damaged(f"its header states no {name}")
    return fields[name]


def _whole(fields: dict[str, str], name: str, default: int) -> int:
    return whole_number(fields[name]) if name in fields else default


def _size_of(fields: dict[str, str]) -> tuple[tuple[int, int, int], int]:
    """Voxels along i, j, k, and how many dimensions the header counts."""
    if fields.get("ObjectType", "Image") != "Image":
        raise damaged("it is a MetaIO object, but no image")
    dimensions = whole_number(_needed(fields, "NDims"))
    sizes = whole_numbers(_needed(fields, "DimSize"))
    if not 1 <= dimensions <= _MAX_DIMENSIONS or len(sizes) != dimensions or min(sizes) < 1:
        raise damaged("its header states sizes that make no sense")
    if dimensions < 3 or max(sizes[3:], default=1) > 1:
        raise not_3d(dimensions)
    return (sizes[0], sizes[1], sizes[2]), dimensions


def _grid_of(fields: dict[str, str], size: tuple[int, int, int], n: int) -> tuple[Geometry, tuple[Finding, ...]]:
    findings = []
    spacing = _numbers(fields, "ElementSpacing" if "ElementSpacing" in fields else "ElementSize", n)
    if spacing is None:
        findings.append(no_spacing())
        spacing = np.ones(n)
    matrix = _numbers(fields, "TransformMatrix", n * n)
    if matrix is None:
        findings.append(no_orientation())
        matrix = np.eye(n).ravel()
    origin = _numbers(fields, "Offset", n)
    findings += _ignored(fields)
    # A row of the file's matrix is the direction of one index axis; a negative spacing turns it round.
    direction = matrix.reshape(n, n)[:3, :3].T * np.where(spacing[:3] < 0, -1.0, 1.0)
    if np.isfinite(matrix).all():
        lengths = np.linalg.norm(np.clip(direction, -1e6, 1e6), axis=0)
        if not np.allclose(lengths, 1, atol=1e-2):
            raise damaged("its header states directions that are not of length 1")
    start = np.zeros(3) if origin is None else origin[:3]
    return make_geometry(size, np.abs(spacing[:3]), start, direction), tuple(findings)


def _ignored(fields: dict[str, str]) -> Iterator[Finding]:
    """Remarks on what the header states and other programs, ITK and Slicer among them, do not heed."""
    slope, offset = (_numbers(fields, f"ElementToIntensityFunction{name}", 1) for name in ("Slope", "Offset"))
    if (slope is not None and slope[0] != 1) or (offset is not None and offset[0] != 0):
        yield Finding(
            "rescale-ignored",
            Severity.WARNING,
            "The file states how its values are to be rescaled, which other programs do not do with MetaImage files, "
            "nor does this one. Check that the values are HU.",
        )
    if fields.get("DistanceUnits", "").lower() not in MILLIMETRES:
        yield other_unit()


def _numbers(fields: dict[str, str], name: str, count: int) -> np.ndarray | None:
    if name not in fields:
        return None
    numbers = real_numbers(fields[name])
    if len(numbers) != count:
        raise damaged(f"its header states {len(numbers)} numbers for {name} instead of {count}")
    return numbers


def _values(file: BinaryIO, fields: dict[str, str], sizes: tuple[int, ...]) -> np.ndarray:
    dtype = _dtype_of(fields)
    packing = _packing_of(fields)
    count = int(np.prod(sizes, dtype=object))
    skip = _whole(fields, "HeaderSize", 0)
    if skip < -1 or (skip == -1 and packing != "raw") or _whole(fields, "HeaderSizePerSlice", 0):
        raise damaged("its header states a place for the voxels that is not supported")
    if skip == -1:  # the voxels end the file
        skip = max(file.seek(0, 2) - count * dtype.itemsize, 0)
        file.seek(0)
    elif 0 < skip < file.tell():
        raise damaged("its header states a place for the voxels that lies within the header")
    elif skip:
        file.seek(0)
    if packing == "deflate":  # the skip counts bytes of the file, not of what is unpacked
        file.seek(skip, 1)
        skip = 0
    return read_voxels(file, dtype, count, packing, skip)


def _dtype_of(fields: dict[str, str]) -> np.dtype:
    name = _needed(fields, "ElementType")
    if name not in _TYPES:
        raise not_grey() if name.endswith("_ARRAY") else damaged("its header states a voxel type that is not known")
    return np.dtype((">" if _true(fields, "BinaryDataByteOrderMSB") else "<") + _TYPES[name])


def _packing_of(fields: dict[str, str]) -> Packing:
    if _true(fields, "CompressedData"):
        return "deflate"
    return "raw" if _true(fields, "BinaryData", "True") else "text"


def _true(fields: dict[str, str], name: str, default: str = "False") -> bool:
    """MetaIO's way to read a flag: by its first letter."""
    return fields.get(name, default)[:1] in ("T", "t", "1")

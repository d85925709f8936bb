"""NRRD files (.nrrd, .nhdr, .seg.nrrd), read without a library in between.

ITK's reader trusts the header: a long field overwrites its stack. Here only the fields of the format are known, every
number is checked, and the voxels lie in the same file or beside it.
Format: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding
from pancreasseg.io.grids import make_geometry
from pancreasseg.io.header_text import header_lines, real_numbers, whole_number, whole_numbers
from pancreasseg.io.refusals import damaged, not_3d, not_grey
from pancreasseg.io.stored import MILLIMETRES, StoredImage, no_orientation, no_spacing, other_unit
from pancreasseg.io.voxels import Packing, beside, open_regular, read_voxels

_NAMES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_TYPES = {name: code for code, names in _NAMES.items() for name in names}
_PACKINGS: dict[str, Packing] = {
    "raw": "raw", "gzip": "deflate", "gz": "deflate", "ascii": "text", "text": "text", "txt": "text",
}  # fmt: skip
# World axes as the format names them, and the signs that make them LPS.
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}
_SPACES |= {"".join(word[0] for word in name.split("-")): signs for name, signs in _SPACES.items()}
_SPACES |= {f"{name}{'t' if len(name) == 3 else '-time'}": signs for name, signs in list(_SPACES.items())}
# Spellings with and without a blank are one field.
_FIELDS = {
    "content", "number", "type", "blocksize", "dimension", "space", "spacedimension", "sampleunits", "sizes",
    "spacings", "thicknesses", "axismins", "axismaxs", "centers", "centerings", "labels", "units", "spaceunits",
    "spaceorigin", "spacedirections", "measurementframe", "kinds", "min", "max", "oldmin", "oldmax", "endian",
    "encoding", "lineskip", "byteskip", "datafile",
}  # fmt: skip
_VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)
_SPATIAL_KINDS = ("domain", "space", "???", "none")
_MAX_DIMENSIONS = 16
_MAX_LINE_SKIP = 1000


@dataclass(frozen=True)
class _Axes:
    """The image's axes, the fastest first.

    Attributes:
        spatial: indices of the three axes in space.
        components: index of the axis of several values a voxel, if there is one; all others have size 1.
    """

    sizes: tuple[int, ...]
    spatial: tuple[int, int, int]
    components: int | None


def read_nrrd(path: Path, *, components: bool = False) -> StoredImage:
    """Read a NRRD file.

    Args:
        path: the file, or the header beside its data.
        components: accept several values a voxel (the layers of a .seg.nrrd).

    Raises:
        InputError: truncated or damaged file, not 3D, colour, or a grid that cannot be used.
    """
    with open_regular(path) as file:
        fields, keys = _header(file)
        axes = _axes_of(fields)
        if axes.components is not None and not components:
            raise not_grey()
        geometry, findings = _grid_of(fields, axes)
        name = fields.get("datafile")
        if name in (None, "LOCAL"):
            values = _values(file, fields, axes)
        else:
            with open_regular(beside(path, name or "")) as data:
                values = _values(data, fields, axes)
    return StoredImage(_arranged(values, axes), geometry, findings=findings, keys=keys)


def _header(file: BinaryIO) -> tuple[dict[str, str], dict[str, str]]:
    """Fields by their names without blanks, and key-value pairs."""
    lines = header_lines(file)
    if not re.fullmatch(r"NRRD000[1-6]", next(lines, "")):
        raise damaged("it is not NRRD, whatever its name says")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in lines:
        if not line:
            break
        if line.startswith("#"):
            continue
        name, separator, value = line.partition(":")
        if value.startswith("="):
            keys[_unescaped(name)] = _unescaped(value[1:])
            continue
        known = name.strip().lower().replace(" ", "")
        if not separator or known not in _FIELDS:
            raise damaged("its header has a line that is no field of NRRD")
        if known in fields:
            raise damaged(f"its header states {known} twice")
        fields[known] = value.strip()
    return fields, keys


def _unescaped(text: str) -> str:
    return re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", text)


def _needed(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise damaged(f"its header states no {name}")
    return fields[name]


def _axes_of(fields: dict[str, str]) -> _Axes:
    dimensions = whole_number(_needed(fields, "dimension"))
    sizes = tuple(whole_numbers(_needed(fields, "sizes")))
    if not 1 <= dimensions <= _MAX_DIMENSIONS or len(sizes) != dimensions or min(sizes) < 1:
        raise damaged("its header states sizes that make no sense")
    kinds = _per_axis(fields, "kinds", dimensions, ["domain"] * dimensions)
    spatial = _in_space(fields, kinds)
    for axis in [axis for axis in reversed(spatial) if sizes[axis] == 1]:
        if len(spatial) > 3:
            spatial.remove(axis)
    others = [axis for axis in range(dimensions) if axis not in spatial and sizes[axis] > 1]
    if len(spatial) != 3 or any(kinds[axis] in _SPATIAL_KINDS or kinds[axis] == "time" for axis in others):
        raise not_3d(len(spatial) if dimensions == 3 else dimensions)
    if len(others) > 1:
        raise not_grey()
    return _Axes(sizes, (spatial[0], spatial[1], spatial[2]), others[0] if others else None)


def _in_space(fields: dict[str, str], kinds: list[str]) -> list[int]:
    """The axes that have a direction in space or, where the header states none, a kind that lies in space."""
    if "spacedirections" not in fields:
        return [axis for axis, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    stated = [(axis, v) for axis, v in enumerate(_vectors(fields, len(kinds))) if v is not None]
    # The fourth number is time: an axis along it alone is none in space.
    return [axis for axis, v in stated if len(v) == 3 or not v[3] or v[:3].any()]


def _per_axis(fields: dict[str, str], name: str, dimensions: int, default: list[str]) -> list[str]:
    if name not in fields:
        return default
    words = fields[name].lower().split()
    if len(words) != dimensions:
        raise damaged(f"its header states {name} for {len(words)} axes of {dimensions}")
    return words


def _vectors(fields: dict[str, str], count: int, name: str = "spacedirections") -> list[np.ndarray | None]:
    """Vectors in space, None where the header says "none"."""
    text = fields[name]
    found = list(_VECTOR.finditer(text))
    if len(found) != count or _VECTOR.sub("", text).strip():
        raise damaged("its header states directions that make no sense")
    vectors = [None if match[1] is None else real_numbers(match[1].replace(",", " ")) for match in found]
    if any(v is not None and len(v) not in (3, 4) for v in vectors):
        raise not_3d(min((len(v) for v in vectors if v is not None), default=3))
    return vectors


def _grid_of(fields: dict[str, str], axes: _Axes) -> tuple[Geometry, tuple[Finding, ...]]:
    size = [axes.sizes[axis] for axis in axes.spatial]
    space = fields.get("space", "").lower()
    signs = np.array(_SPACES.get(space, (1, 1, 1)), dtype=float)
    if "spacedirections" not in fields:
        return _unplaced_grid(fields, axes, size)
    vectors = _vectors(fields, len(axes.sizes))
    steps = np.stack([np.asarray(vectors[axis])[:3] * signs for axis in axes.spatial], axis=1)
    origin = np.zeros(3)
    if "spaceorigin" in fields:
        (stated,) = _vectors(fields, 1, "spaceorigin")
        origin = origin if stated is None else stated[:3] * signs
    with np.errstate(all="ignore"):  # make_geometry refuses what comes of it
        spacing = np.linalg.norm(steps, axis=0)
        geometry = make_geometry(size, spacing, origin, steps / spacing)
    findings = () if space in _SPACES else (no_orientation(),)
    units = {unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))}
    return geometry, findings + (() if units <= MILLIMETRES else (other_unit(),))


def _unplaced_grid(fields: dict[str, str], axes: _Axes, size: list[int]) -> tuple[Geometry, tuple[Finding, ...]]:
    """A grid without directions: along L, P, S, from the positions of its first samples if they are stated."""
    count = len(axes.sizes)
    spacings = _numbers(fields, "spacings", count, 1.0)[list(axes.spatial)]
    mins = _numbers(fields, "axismins", count, 0.0)[list(axes.spatial)]
    where = _per_axis(fields, "centerings" if "centerings" in fields else "centers", count, ["cell"] * count)
    centred = np.array([where[axis] != "node" for axis in axes.spatial])
    findings = [no_orientation()]
    if "spacings" not in fields or np.isnan(spacings).any():
        spacings = np.where(np.isnan(spacings), 1.0, spacings)
        findings.append(no_spacing())
    stated = "axismins" in fields and not np.isnan(mins).any()
    origin = mins + np.where(centred, spacings / 2, 0) if stated else np.zeros(3)
    return make_geometry(size, spacings, origin, np.eye(3)), tuple(findings)


def _numbers(fields: dict[str, str], name: str, count: int, default: float) -> np.ndarray:
    if name not in fields:
        return np.full(count, default)
    numbers = real_numbers(fields[name])
    if len(numbers) != count:
        raise damaged(f"its header states {name} for {len(numbers)} axes of {count}")
    return numbers


def _values(file: BinaryIO, fields: dict[str, str], axes: _Axes) -> np.ndarray:
    dtype = _dtype_of(fields)
    packing = _packing_of(fields)
    count = int(np.prod(axes.sizes, dtype=object))
    lines = whole_number(fields.get("lineskip", "0"))
    skip = whole_number(fields.get("byteskip", "0"))
    if not 0 <= lines <= _MAX_LINE_SKIP or skip < -1 or (skip == -1 and packing != "raw"):
        raise damaged("its header states an impossible place for the voxels")
    for _ in range(lines):
        file.readline()
    if skip == -1:  # the voxels end the file
        skip = max(file.seek(0, 2) - count * dtype.itemsize, 0)
        file.seek(0)
    return read_voxels(file, dtype, count, packing, skip)


def _dtype_of(fields: dict[str, str]) -> np.dtype:
    name = " ".join(_needed(fields, "type").lower().split())
    if name == "block":
        raise not_grey()
    if name not in _TYPES:
        raise damaged("its header states a voxel type that is not known")
    endian = fields.get("endian", "little" if name in (*_NAMES["i1"], *_NAMES["u1"]) else "").lower()
    if endian not in ("little", "big") and _packing_of(fields) != "text":
        raise damaged("its header does not state the byte order of its voxels")
    return np.dtype((">" if endian == "big" else "<") + _TYPES[name])


def _packing_of(fields: dict[str, str]) -> Packing:
    encoding = _needed(fields, "encoding").lower()
    if encoding in ("bzip2", "bz2", "hex"):
        raise InputError(
            "packing-unknown",
            f"The voxels are packed as {encoding}, which is not read here.",
            "Save the image with gzip compression, or without any.",
        )
    if encoding not in _PACKINGS:
        raise damaged("its header states a way of packing that is not known")
    return _PACKINGS[encoding]


def _arranged(values: np.ndarray, axes: _Axes) -> np.ndarray:
    """(K, J, I), with components (K, J, I, C), from values whose first axis is the fastest."""
    whole = values.reshape(axes.sizes[::-1])
    last = len(axes.sizes) - 1
    order = [last - axis for axis in reversed(axes.spatial)]
    if axes.components is not None:
        order.append(last - axes.components)
    rest = [axis for axis in range(last + 1) if axis not in order]  # of size 1
    return np.transpose(whole, [*order, *rest]).reshape([whole.shape[axis] for axis in order])

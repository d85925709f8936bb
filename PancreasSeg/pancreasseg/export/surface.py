"""The surface of a segment as a triangle mesh, and the STL file of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.export.format import Format, Order
from pancreasseg.export.segment import ExportSegment
from pancreasseg.io.atomic import atomic_write

LARGEST_SMOOTHING_MM = 10.0
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Surface:
    """A closed triangle mesh.

    Attributes:
        points: LPS mm, shape (n, 3).
        triangles: indices of points, shape (m, 3), counter-clockwise seen from outside.
        mesh_ml: volume that the mesh encloses.
        voxel_ml: volume of the voxels that it was made from; the number to report.
    """

    points: np.ndarray
    triangles: np.ndarray
    mesh_ml: float
    voxel_ml: float


def make_surface(mask: np.ndarray, geometry: Geometry, *, smoothing_mm: float = 0.0) -> Surface:
    """The surface of a mask by marching cubes in world mm.

    Args:
        mask: non-zero inside, shape (K, J, I).
        geometry: its grid.
        smoothing_mm: standard deviation of a Gaussian applied to the mask first; 0 keeps the voxels' steps. The
            threshold is then chosen so that as many voxels lie inside as before, so thin parts may go but the volume
            does not shrink as a whole.

    Raises:
        InputError: no voxels, or smoothing that is negative or above 10 mm.
    """
    from skimage.measure import marching_cubes  # which Slicer does not bring along

    if not 0 <= smoothing_mm <= LARGEST_SMOOTHING_MM:
        raise InputError(
            "smoothing-out-of-range",
            f"Smoothing must lie between 0 and {LARGEST_SMOOTHING_MM:.0f} mm.",
            "Change the smoothing.",
        )
    box = Box.of_mask(mask)
    if box is None:
        raise InputError("segment-empty", "An empty segment has no surface.", "Segment the pancreas first.")
    inside = mask[box.slices] != 0
    # Beyond the volume's border lies nothing, so the surface is closed there as well.
    pad = [1 + int(np.ceil(4 * smoothing_mm / spacing)) for spacing in geometry.spacing]
    field = np.pad(inside.astype(np.float32), [(n, n) for n in reversed(pad)])
    level, voxels = 0.5, int(np.count_nonzero(inside))
    if smoothing_mm > 0:
        field = ndimage.gaussian_filter(field, [smoothing_mm / s for s in reversed(geometry.spacing)], mode="constant")
        ranked = np.partition(field.ravel(), field.size - voxels - 1)
        level = float(ranked[field.size - voxels - 1 :].min() + ranked[field.size - voxels :].min()) / 2
    vertices, triangles, _, _ = marching_cubes(field, level)
    points = geometry.to_world(vertices[:, ::-1] - pad + box.start)
    enclosed = _enclosed_ml(points, triangles)
    if enclosed < 0:
        triangles, enclosed = triangles[:, ::-1], -enclosed
    return Surface(points, np.ascontiguousarray(triangles), enclosed, voxels * geometry.voxel_ml)


def write_stl(path: str | Path, surface: Surface, *, coordinates: Literal["LPS", "RAS"] = "LPS") -> None:
    """Write a surface as binary STL in mm, see `encode_stl`.

    Raises:
        OutputError: the file cannot be written.
    """
    content = encode_stl(surface, coordinates=coordinates)
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def encode_stl(surface: Surface, *, coordinates: Literal["LPS", "RAS"] = "LPS") -> bytes:
    """A binary STL file in mm.

    STL has no field for the coordinate system; the header says ``SPACE=LPS`` or ``SPACE=RAS``, as Slicer writes and
    reads it. Programs that know nothing of it, and Slicer without it, take LPS.
    """
    points = surface.points if coordinates == "LPS" else surface.points * (-1, -1, 1)
    corners = points[surface.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(len(corners), dtype=_TRIANGLE)
    records["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    records["corners"] = corners
    header = f"PancreasSeg surface in mm. SPACE={coordinates}".encode("ascii").ljust(80)
    return header + struct.pack("<I", len(records)) + records.tobytes()


def _enclosed_ml(points: np.ndarray, triangles: np.ndarray) -> float:
    """Signed volume by the divergence theorem, about the mesh's own centre so that far origins cost no precision."""
    a, b, c = np.moveaxis((points - points.mean(axis=0))[triangles], 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6000.0


def _encode(segment: ExportSegment, order: Order) -> bytes:
    return encode_stl(make_surface(segment.mask, order.geometry, smoothing_mm=order.smoothing_mm))


DECLARATIONS = (
    Format(
        name="stl",
        title="STL",
        file="pancreas.stl",
        ending=".stl",
        words="the surface in mm (LPS)",
        encode=_encode,
        place=50,
    ),
)

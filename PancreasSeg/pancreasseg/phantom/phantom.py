"""A synthetic portal-venous abdominal CT with its label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import SimpleITK as sitk

from pancreasseg.core import Geometry, Volume
from pancreasseg.grids.resample import to_image
from pancreasseg.phantom.anatomy import AIR, Anatomy, Painting, frame_geometry, frame_over
from pancreasseg.phantom.parts import NAMES, PANCREAS
from pancreasseg.phantom.shapes import FAR

_THIN = 2.2  # mm; thicker slices are averaged from thinner ones


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT and what is truly in it.

    Attributes:
        volume: the CT, int16 HU.
        labels: uint8 on the same grid, shape (K, J, I); keys of ``names``; 0 is air and what has no name.
        names: label to name.
    """

    volume: Volume
    labels: np.ndarray
    names: dict[int, str] = field(default_factory=lambda: dict(NAMES))

    @property
    def pancreas(self) -> np.ndarray:
        """Bool mask of the pancreas."""
        return np.asarray(self.labels == PANCREAS)


def make_phantom(
    seed: int,
    *,
    spacing: Sequence[float] = (0.8, 0.8, 2.5),
    size: Sequence[int] | None = None,
    direction: Sequence[float] | None = None,
    centre: Sequence[float] | None = None,
    noise: float | None = None,
    step: float = 1.5,
) -> Phantom:
    """Scan the patient of a seed. The same arguments give the same arrays.

    Args:
        seed: one seed is one patient, on whatever grid.
        spacing: mm along i, j, k.
        size: voxels along i, j, k; by default what covers the body and 300 mm from the lung bases down.
        direction: 3x3 row by row, columns are the LPS directions of i, j, k; by default axial LPS.
        centre: LPS mm of the middle of the scan; by default the middle of the abdomen.
        noise: standard deviation of the noise in HU; drawn from the seed when not given.
        step: mm; the anatomy is painted this finely before it is scanned. Coarser is faster.

    Raises:
        ValueError: a direction matrix that is not orthonormal, a spacing that is not positive or an empty size.
    """
    anatomy = Anatomy(seed)
    axes = np.eye(3) if direction is None else np.asarray(direction, dtype=float).reshape(3, 3)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise ValueError("direction is not orthonormal")
    if min(spacing) <= 0 or (size is not None and min(size) <= 0):
        raise ValueError("spacing and size must be positive")
    sx, sy, sz = (float(s) for s in spacing)
    if size is None:
        body = anatomy.trunk.body
        wide = 2 * body.axes[0] + 30
        extent = np.abs(axes).T @ np.array([wide, wide, 300.0])
        size = [round(float(e) / s) for e, s in zip(extent, spacing, strict=True)]
    ni, nj, nk = (int(n) for n in size)
    middle = anatomy.scan_centre() if centre is None else np.asarray(centre, dtype=float)
    origin = middle - axes @ (np.array([sx, sy, sz]) * (np.array([ni, nj, nk]) - 1) / 2)
    ox, oy, oz = (float(o) for o in origin)
    geometry = Geometry((ni, nj, nk), (sx, sy, sz), (ox, oy, oz), tuple(float(d) for d in axes.ravel()))
    return scan(anatomy, geometry, noise=noise, step=step)


def scan(anatomy: Anatomy, geometry: Geometry, *, noise: float | None = None, step: float = 1.5) -> Phantom:
    """Paint an anatomy and sample it on a grid, with its labels. See `make_phantom`."""
    painting = paint(anatomy, geometry, step)
    volume = expose(painting, anatomy, geometry, noise=noise)
    labels = _resample(
        to_image(painting.labels, frame_geometry(anatomy, painting.frame)),
        geometry,
        (0, 0, 0),
        0,
        sitk.sitkNearestNeighbor,
    )
    labels[pancreas_distance(painting, anatomy, geometry) < 0] = PANCREAS
    return Phantom(volume, labels)


def paint(anatomy: Anatomy, geometry: Geometry, step: float = 1.5) -> Painting:
    """The tissue in a scan's field of view, every ``step`` mm."""
    return anatomy.paint(frame_over(anatomy, geometry, step))


def expose(painting: Painting, anatomy: Anatomy, geometry: Geometry, *, noise: float | None = None) -> Volume:
    """The CT of a painting on a grid: partial volume, slice thickness and noise. int16 HU."""
    seed = anatomy.patient.seed
    random = np.random.Generator(np.random.SFC64([seed, 3]))
    level = float(random.uniform(9, 20)) if noise is None else noise
    hu = _sample_hu(painting, anatomy, geometry)
    hu += _scanner_noise(random, geometry) * np.float32(level)
    array = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Volume(array, geometry, source={"format": "phantom", "seed": str(seed), "contrast": "portal-venous"})


def pancreas_distance(painting: Painting, anatomy: Anatomy, geometry: Geometry) -> np.ndarray:
    """Signed distance in mm to the surface of the pancreas at the voxel centres of a grid, negative inside.

    A smooth field, so that the outline is smooth on every grid; float32 (K, J, I), at most `FAR`.
    """
    return _resample(to_image(painting.pancreas, frame_geometry(anatomy, painting.frame)), geometry, (0, 0, 0), FAR)


def _sample_hu(painting: Painting, anatomy: Anatomy, geometry: Geometry) -> np.ndarray:
    """HU on the scan's grid, averaged over each slice's thickness."""
    image = to_image(painting.hu, frame_geometry(anatomy, painting.frame))
    counts = [max(1, int(np.ceil(s / _THIN))) for s in geometry.spacing]
    total: np.ndarray | None = None
    for offsets in product(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts]):
        sample = _resample(image, geometry, offsets, AIR)
        total = sample if total is None else total + sample
    assert total is not None  # noqa: S101 - every count is at least 1
    return total / np.float32(np.prod(counts)) if max(counts) > 1 else total


def _resample(
    image: sitk.Image, geometry: Geometry, offset: Sequence[float], outside: float, how: int = sitk.sitkLinear
) -> np.ndarray:
    """An image at the voxel centres of a grid, shifted by a part of a voxel; a writable array."""
    origin = [float(o) for o in geometry.to_world([float(o) for o in offset])]
    result = sitk.Resample(
        image,
        list(geometry.size),
        sitk.Transform(),
        how,
        origin,
        list(geometry.spacing),
        list(geometry.direction),
        float(outside),
        image.GetPixelID(),
    )
    return np.asarray(sitk.GetArrayFromImage(result))


def _scanner_noise(random: np.random.Generator, geometry: Geometry) -> np.ndarray:
    """Noise with unit standard deviation, a little correlated within the slice."""
    field_ = random.standard_normal(geometry.shape, dtype=np.float32)
    for axis in (1, 2):
        if field_.shape[axis] > 2:
            centre, before, after = [slice(None)] * 3, [slice(None)] * 3, [slice(None)] * 3
            centre[axis], before[axis], after[axis] = slice(1, -1), slice(None, -2), slice(2, None)
            neighbours = field_[tuple(before)] + field_[tuple(after)]
            field_[tuple(centre)] += np.float32(0.5) * neighbours
            field_[tuple(centre)] *= np.float32(1 / np.sqrt(1.5))
    return field_

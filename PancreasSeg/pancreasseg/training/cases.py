"""Training cases for a localizer and a segmenter, from phantoms, kept in a folder.

A case is one synthetic patient, scanned with random spacing and field of view and brought to the network's grid by the
very functions that the pipeline uses, so that the networks learn on what they will meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from pancreasseg.phantom import Anatomy
from pancreasseg.phantom.anatomy import Painting
from pancreasseg.phantom.phantom import expose, paint, pancreas_distance
from pancreasseg.pipelines.body import body_box
from pancreasseg.volume import Box, Geometry, Volume
from pancreasseg.volume.resample import network_grid, to_grid

COARSE_MM = 4.0
FINE_MM = 1.5
WINDOW = (-100.0, 240.0)
_KEPT = (-300, 600)  # HU that are kept in a case: more than the window, for the augmentation's sake


@dataclass(frozen=True)
class Case:
    """One network input with its truth.

    Attributes:
        hu: int16 (K, J, I), axes LPS.
        truth: uint8 (K, J, I): how much of the voxel is pancreas, 0 to 255.
    """

    hu: np.ndarray
    truth: np.ndarray

    def save(self, path: Path) -> None:
        """Write both as one array, complete or not at all."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, np.stack([self.hu, self.truth.astype(np.int16)]))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what `save` wrote; the arrays stay on disk until used."""
        both = np.load(path, mmap_mode="r", allow_pickle=False)
        return cls(both[0], both[1])


def localizer_case(seed: int) -> Case:
    """The whole body box of a scan at 4 mm; sometimes cropped along z or narrow, with thin to thick slices."""
    anatomy, random = Anatomy(seed), np.random.default_rng([seed, 10])
    low, high = anatomy.pancreas_bounds()
    below, above = random.uniform(15, 150), random.uniform(15, 160)
    if random.random() < 0.12:  # a scan that ends inside the pancreas
        cut = random.uniform(0.2, 0.6) * (high[2] - low[2])
        below, above = (-cut, above) if random.random() < 0.5 else (below, -cut)
    body = anatomy.trunk.body
    width = 2 * body.axes[0] + random.uniform(-40, 80)
    if random.random() < 0.15:
        width = random.uniform(240, 320)  # a narrow reconstruction
    middle = np.array([body.centre[0], body.centre[1] + (body.back - body.axes[1]) / 2, 0.0])
    middle[:2] += random.normal(0, 10, 2)
    middle[2] = (low[2] - below + high[2] + above) / 2
    extent = np.array([width, width, high[2] - low[2] + below + above])
    spacing = (2.0, 2.0, float(random.choice([2.0, 2.5, 3.0, 5.0])))
    geometry = _grid(anatomy.to_world(middle), extent, spacing, _tilt(random))
    painting = paint(anatomy, geometry, step=2.0)
    volume = expose(painting, anatomy, geometry, noise=float(random.uniform(3, 10)))
    return _on_network_grid(volume, body_box(volume), COARSE_MM, painting, anatomy)


def segmenter_case(seed: int) -> Case:
    """The surroundings of the pancreas at 1.5 mm, from a scan with clinical spacing; boxes are cut out in training."""
    anatomy, random = Anatomy(seed), np.random.default_rng([seed, 11])
    low, high = anatomy.pancreas_bounds()
    in_plane = float(random.uniform(0.8, 1.1))
    spacing = (in_plane, in_plane, float(random.choice([1.25, 1.5, 2.0, 2.5, 3.0, 5.0])))
    extent = high - low + 2 * np.array([32.0, 32.0, 30.0])
    geometry = _grid(anatomy.to_world((low + high) / 2), extent, spacing, _tilt(random))
    painting = paint(anatomy, geometry, step=1.5)
    volume = expose(painting, anatomy, geometry, noise=float(random.uniform(8, 22)))
    return _on_network_grid(volume, Box.whole(geometry), FINE_MM, painting, anatomy)


MAKERS: dict[str, Callable[[int], Case]] = {"localizer": localizer_case, "segmenter": segmenter_case}


def fill(folder: Path, role: str, seeds: Sequence[int]) -> None:
    """Make the cases of ``seeds`` that are not in the folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = case_path(folder, role, seed)
        if not path.exists():
            MAKERS[role](seed).save(path)


def case_path(folder: Path, role: str, seed: int) -> Path:
    """Where the case of a seed lies."""
    return folder / f"{role}-{seed}.npy"


def _on_network_grid(volume: Volume, box: Box, spacing_mm: float, painting: Painting, anatomy: Anatomy) -> Case:
    """What the network sees of a box of a scan, and how much of each of its voxels is pancreas."""
    grid = network_grid(volume.geometry, box, spacing=(spacing_mm,) * 3)
    hu = to_grid(volume.array[box.slices], volume.geometry.crop(box), grid)
    share = np.clip(0.5 - pancreas_distance(painting, anatomy, grid) / np.float32(spacing_mm), 0, 1)
    # What the scan does not cover has no truth either.
    inside = _inside(grid, volume.geometry)
    return Case(np.clip(hu, *_KEPT).astype(np.int16), np.rint(255 * share * inside).astype(np.uint8))


def _inside(grid: Geometry, geometry: Geometry) -> np.ndarray:
    """1 where a voxel centre of ``grid`` lies in ``geometry``, else 0; the grids are parallel. uint8 (K, J, I)."""
    ones = sitk.Image(list(geometry.size), sitk.sitkUInt8) + 1
    ones.SetSpacing(geometry.spacing)
    ones.SetOrigin(geometry.origin)
    ones.SetDirection(geometry.direction)
    inside = sitk.Resample(
        ones,
        list(grid.size),
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        list(grid.origin),
        list(grid.spacing),
        list(grid.direction),
        0.0,
        sitk.sitkUInt8,
    )
    return np.asarray(sitk.GetArrayFromImage(inside))


def _grid(centre: np.ndarray, extent: np.ndarray, spacing: tuple[float, float, float], axes: np.ndarray) -> Geometry:
    ni, nj, nk = (max(8, round(float(e) / s)) for e, s in zip(extent, spacing, strict=True))
    origin = centre - axes @ (np.array(spacing) * (np.array([ni, nj, nk]) - 1) / 2)
    ox, oy, oz = (float(o) for o in origin)
    return Geometry((ni, nj, nk), spacing, (ox, oy, oz), tuple(float(d) for d in axes.ravel()))


def _tilt(random: np.random.Generator) -> np.ndarray:
    """Directions of a scan: mostly straight, sometimes oblique."""
    if random.random() > 0.2:
        return np.eye(3)
    angles = np.deg2rad(random.uniform(-15, 15, 3))
    transform = sitk.Euler3DTransform((0.0, 0.0, 0.0), *(float(a) for a in angles))
    return np.asarray(transform.GetMatrix()).reshape(3, 3)

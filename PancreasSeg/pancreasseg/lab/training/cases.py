"""Training cases for a localizer and a segmenter, from phantoms, made in the background and kept in a folder.

A case is one synthetic patient, scanned with random spacing and field of view and brought to the network's grid by the
very functions that the pipeline uses, so that the networks learn on what they will meet.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.grids.body import body_box
from pancreasseg.lab.cohorts.grid import CaseGrid, Sample, SampleStore
from pancreasseg.phantom import Anatomy
from pancreasseg.phantom.anatomy import Painting
from pancreasseg.phantom.phantom import expose, paint, pancreas_distance

#: What the networks of the bundled package look at.
COARSE = CaseGrid(spacing_mm=(4.0, 4.0, 4.0), region="body")
FINE = CaseGrid(spacing_mm=(1.5, 1.5, 1.5), region="pancreas", margin_mm=30.0)


@dataclass(frozen=True)
class Patient:
    """A synthetic patient by the seed of its anatomy: all that the training asks of a cohort's case."""

    seed: int
    organs: None = None

    @property
    def id(self) -> str:
        """The name of its files."""
        return str(self.seed)

    @property
    def group(self) -> str:
        """No patient is there twice."""
        return self.id


class Cases:
    """The samples of synthetic patients in a folder, one folder a grid; made when they are not there.

    Args:
        folder: of all samples.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._coming: dict[tuple[CaseGrid, int], Future[None]] = {}

    def at_hand(self, grid: CaseGrid) -> list[int]:
        """Seeds of the patients whose samples are there."""
        return sorted(int(path.stem) for path in SampleStore(self.folder, grid).folder.glob("*.json"))

    def sample(self, case: Patient, grid: CaseGrid, *, organs: bool = False) -> Sample:
        """What the network of a grid sees of a patient; the same function as a cohort's.

        Args:
            case: which patient.
            grid: `COARSE` or `FINE`.
            organs: must be false; there is the pancreas alone.

        Raises:
            OutputError: it cannot be kept.
            ValueError: other organs are wanted.
        """
        if organs:
            raise ValueError("these cases have no labels of other organs")
        coming = self._coming.pop((grid, case.seed), None)
        if coming is not None and not coming.cancel():
            wait([coming])  # what is still in the queue, or failed there, is made here
        store = SampleStore(self.folder, grid)
        kept = store.get(case.id, case.id)
        if kept is None:
            make(self.folder, grid, case.seed)
            kept = store.get(case.id, case.id)
        assert kept is not None  # noqa: S101 - it has just been written
        return kept

    @contextmanager
    def made_ahead(self, seeds: Iterable[int]) -> Iterator[None]:
        """While this lasts, another process makes the samples of these patients, one patient after the other."""
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=_stand_back) as others:
            for seed in seeds:
                for grid in MAKERS:
                    if not SampleStore(self.folder, grid).get(str(seed), str(seed)):
                        self._coming[grid, seed] = others.submit(make, self.folder, grid, seed)
            try:
                yield
            finally:
                self._coming.clear()
                others.shutdown(cancel_futures=True)


def make(folder: Path, grid: CaseGrid, seed: int) -> None:
    """Make the sample of a patient and keep it.

    Raises:
        OutputError: it cannot be kept.
    """
    SampleStore(folder, grid).put(str(seed), str(seed), MAKERS[grid](seed))


def _stand_back() -> None:
    """In the process that makes cases: the training comes first, and when it is killed this process ends too."""
    os.nice(5)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_training, daemon=True).start()


def _end_with_the_training() -> None:
    training = parent_process()
    assert training is not None  # noqa: S101 - this runs in the process that it has started
    training.join()
    os._exit(1)


def localizer_case(seed: int) -> Sample:
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
    return _on_network_grid(volume, body_box(volume), COARSE, painting, anatomy)


def segmenter_case(seed: int) -> Sample:
    """The surroundings of the pancreas at 1.5 mm, from a scan with clinical spacing; boxes are cut out in training."""
    anatomy, random = Anatomy(seed), np.random.default_rng([seed, 11])
    low, high = anatomy.pancreas_bounds()
    in_plane = float(random.uniform(0.8, 1.1))
    spacing = (in_plane, in_plane, float(random.choice([1.25, 1.5, 2.0, 2.5, 3.0, 5.0])))
    extent = high - low + 2 * np.array([32.0, 32.0, 30.0])
    geometry = _grid(anatomy.to_world((low + high) / 2), extent, spacing, _tilt(random))
    painting = paint(anatomy, geometry, step=1.5)
    volume = expose(painting, anatomy, geometry, noise=float(random.uniform(8, 22)))
    return _on_network_grid(volume, Box.whole(geometry), FINE, painting, anatomy)


MAKERS: dict[CaseGrid, Callable[[int], Sample]] = {COARSE: localizer_case, FINE: segmenter_case}


def _on_network_grid(volume: Volume, box: Box, wanted: CaseGrid, painting: Painting, anatomy: Anatomy) -> Sample:
    """What the network sees of a box of a scan, and how much of each of its voxels is pancreas."""
    grid = wanted.preprocessing.grid(volume.geometry, box)
    hu = wanted.preprocessing.resample(volume.array, volume.geometry, box)
    share = np.clip(0.5 - pancreas_distance(painting, anatomy, grid) / np.float32(grid.spacing[0]), 0, 1)
    # What the scan does not cover has no truth either.
    inside = _inside(grid, volume.geometry)
    return Sample(np.rint(hu).astype(np.int16), np.rint(255 * share * inside).astype(np.uint8), grid)


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

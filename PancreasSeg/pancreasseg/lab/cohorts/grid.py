"""Cases resampled as networks want them, kept as arrays that are mapped into memory when they are used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.geometry import Vector
from pancreasseg.grids.body import body_box
from pancreasseg.grids.network_input import VERSION, Preprocessing, surroundings
from pancreasseg.grids.resample import to_grid
from pancreasseg.io.atomic import atomic_write, output_errors

REGIONS = ("scan", "body", "pancreas")
#: Of how arrays are kept; counts into the key as the way from CT to input does, so that old ones are made anew.
#: 1 cropped a case to its region before it was resampled, which no pipeline does.
_VERSION = 2
_HU = (-1024, 3071)


@dataclass(frozen=True)
class CaseGrid:
    """How cases are resampled; axes are those nearest to L, P, S, as in the pipelines.

    Attributes:
        spacing_mm: along x, y, z, or None for the scan's own voxels, times ``decimation``.
        decimation: every how many of the scan's own voxels along each axis there is one (Zhao 2019: R = 4); means of
            blocks, not single voxels.
        region: "scan", "body" (without table and air around), or "pancreas" (the box around the true mask).
        margin_mm: around the region "pancreas".
    """

    spacing_mm: Vector | None = None
    decimation: int = 1
    region: str = "scan"
    margin_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and (self.decimation != 1 or min(self.spacing_mm) <= 0):
            raise ValueError("give a positive spacing or a decimation, not both")
        if self.decimation < 1 or self.margin_mm < 0 or self.region not in REGIONS:
            raise ValueError(f"no such grid: {self}")

    @property
    def preprocessing(self) -> Preprocessing:
        """The way from a CT to this grid."""
        decimation = self.decimation if self.spacing_mm is None else None
        return Preprocessing(spacing_mm=self.spacing_mm, decimation=decimation)

    @property
    def key(self) -> str:
        """Short name of a folder for these settings."""
        settings = json.dumps({**asdict(self), "version": _VERSION, "preprocessing": VERSION}, sort_keys=True)
        return f"{self._words()}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"

    def _words(self) -> str:
        if self.spacing_mm is not None:
            steps = [f"{s:g}" for s in self.spacing_mm]
            size = (steps[0] if len(set(steps)) == 1 else "x".join(steps)) + "mm"
        else:
            size = "native" if self.decimation == 1 else f"every{self.decimation}"
        return f"{self.region}-{size}"


@dataclass(frozen=True)
class Sample:
    """A case on a grid.

    Attributes:
        hu: int16 (K, J, I), -1024 to 3071; -1024 where the scan does not reach. May be mapped from a file.
        truth: uint8 (K, J, I): how much of the voxel is pancreas, 0 to 255. May be mapped from a file.
        geometry: their grid.
        organs: uint8 (K, J, I) label map of the organs beside the pancreas, see `Case.organs`, or None where they were
            not asked for. May be mapped from a file.
    """

    hu: np.ndarray
    truth: np.ndarray
    geometry: Geometry
    organs: np.ndarray | None = None


def resample(volume: Volume, mask: np.ndarray, grid: CaseGrid, organs: np.ndarray | None = None) -> Sample:
    """Bring a case to a grid as the pipelines bring a CT to a network.

    Args:
        volume: the CT.
        mask: uint8 (K, J, I) on its grid; not empty where the region is "pancreas".
        grid: what is wanted.
        organs: label map of further organs, uint8 (K, J, I), or None.
    """
    box, geometry, way = _region(volume, mask, grid), volume.geometry, grid.preprocessing
    target = way.grid(geometry, box)
    hu = way.resample(volume.array, geometry, box)
    share = way.resample(mask, geometry, box, outside=0.0)
    near = surroundings(geometry, box, target)
    kept = None if organs is None else largest_share(organs[near.slices], geometry.crop(near), target)
    return Sample(_as_int16(hu), np.rint(255 * share.clip(0, 1)).astype(np.uint8), target, kept)


def largest_share(labels: np.ndarray, geometry: Geometry, target: Geometry) -> np.ndarray:
    """A label map on another grid: each voxel gets the label, or the 0, that most of it is; uint8 (K, J, I)."""
    result = np.zeros(target.shape, dtype=np.uint8)
    rest, most = np.ones(target.shape, dtype=np.float32), np.zeros(target.shape, dtype=np.float32)
    for label in np.unique(labels[labels != 0]):
        share = to_grid((labels == label).astype(np.float32), geometry, target, outside=0.0)
        result[share > most] = label
        most = np.maximum(most, share)
        rest -= share
    result[rest > most] = 0
    return result


class SampleStore:
    """Samples of one grid in a folder.

    Every sample is two ``.npy`` files and a ``.json`` that is written last, each complete or not there at all; so a
    process that is killed, or two that make the same sample, do no harm. A label map of organs is one more of each,
    made only where it is asked for.

    Args:
        folder: of all grids of a cohort.
        grid: whose samples these are.
    """

    def __init__(self, folder: Path, grid: CaseGrid) -> None:
        self.folder = folder / grid.key
        self.grid = grid

    def get(self, case: str, fingerprint: str) -> Sample | None:
        """A kept sample, its arrays mapped read-only; None when it was never made, or from other data."""
        try:
            facts = json.loads(self._path(case, "json").read_text(encoding="utf-8"))
            if facts["fingerprint"] != fingerprint:
                return None
            geometry = Geometry.from_dict(facts["geometry"])
            hu, truth = (np.load(self._path(case, name), mmap_mode="r", allow_pickle=False) for name in _ARRAYS)
        except (FileNotFoundError, KeyError, TypeError, ValueError, EOFError):
            return None  # never made, or cut short by a failing disk: made anew
        if hu.shape != geometry.shape or truth.shape != geometry.shape:
            return None
        return Sample(hu, truth, geometry)

    def organs(self, case: str, fingerprint: str) -> np.ndarray | None:
        """A kept label map of organs, mapped read-only; None when it was never made, or from other labels."""
        try:
            facts = json.loads(self._path(case, "organs.json").read_text(encoding="utf-8"))
            labels: np.ndarray = np.load(self._path(case, "organs.npy"), mmap_mode="r", allow_pickle=False)
            return labels if facts["fingerprint"] == fingerprint else None
        except (FileNotFoundError, KeyError, TypeError, ValueError, EOFError):
            return None

    def put_organs(self, case: str, fingerprint: str, labels: np.ndarray) -> None:
        """Keep a label map of organs.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path(case, "organs.npy")) as partial, partial.open("wb") as file:
            np.save(file, labels)
        with atomic_write(self._path(case, "organs.json")) as partial:
            partial.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")

    def put(self, case: str, fingerprint: str, sample: Sample) -> None:
        """Keep a sample.

        Raises:
            OutputError: it cannot be written, for example because the disk is full.
        """
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {"fingerprint": fingerprint, "geometry": sample.geometry.as_dict()}
        for name, array in zip(_ARRAYS, (sample.hu, sample.truth), strict=True):
            with atomic_write(self._path(case, name)) as partial, partial.open("wb") as file:
                np.save(file, array)
        with atomic_write(self._path(case, "json")) as partial:
            partial.write_text(json.dumps({**facts, "grid": asdict(self.grid)}), encoding="utf-8")

    def _path(self, case: str, ending: str) -> Path:
        return self.folder / f"{case}.{ending}"


_ARRAYS = ("hu.npy", "truth.npy")


def _region(volume: Volume, mask: np.ndarray, grid: CaseGrid) -> Box:
    if grid.region == "scan":
        return Box.whole(volume.geometry)
    if grid.region == "body":
        return body_box(volume)
    box = Box.of_mask(mask)
    if box is None:
        raise InputError("label-empty", "The label is empty, so there is no region around it.", "Give another label.")
    return box.grow(grid.margin_mm, volume.geometry)


def _as_int16(hu: np.ndarray) -> np.ndarray:
    return np.rint(hu).clip(*_HU).astype(np.int16)

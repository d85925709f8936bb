"""The DICOM series that a result belongs to: its headers in order, and masks placed on its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding
from pancreasseg.export.headers import make_headers
from pancreasseg.export.identity import read_identity
from pancreasseg.export.placing import not_from_dicom, same_voxels
from pancreasseg.io.dicom import find_slices
from pancreasseg.io.dicom_file import lenient, read_whole_header

#: A folder with the series, or its files; None when the CT did not come from DICOM.
Source = Path | str | Sequence[Path | str] | None


@dataclass(frozen=True)
class SourceSeries:
    """A CT series as other DICOM objects refer to it.

    Attributes:
        headers: one data set a slice from first to last along +k: references and geometry, made anew and valid.
        geometry: the grid of the slices, as `read_volume` states it.
        identity: what an export states about patient and study, see `identity.read_identity`.
        findings: what was repaired.
    """

    headers: tuple[Dataset, ...]
    geometry: Geometry
    identity: Dataset
    findings: tuple[Finding, ...]

    def place(self, mask: np.ndarray, geometry: Geometry) -> np.ndarray:
        """The mask slice by slice, as uint8 of shape (slices, rows, columns).

        Args:
            mask: non-zero inside, shape (K, J, I) of ``geometry``.
            geometry: the same voxels as the series in any order and direction of axes, or a cropped part of them.

        Raises:
            InputError: the grid is another one.
        """
        order, signs, box = same_voxels(geometry, self.geometry)
        # Index axis a is array axis 2 - a.
        turned = mask.transpose([2 - order[2 - axis] for axis in range(3)])
        turned = np.flip(turned, tuple(axis for axis in range(3) if signs[2 - axis] < 0))
        placed: np.ndarray = np.zeros(self.geometry.shape, dtype=np.uint8)
        placed[box.slices] = turned != 0
        return placed


def read_series(source: Source, *, series: int | str | None = None) -> SourceSeries:
    """Read the headers of a series and repair what does not touch its identity.

    Args:
        source: folder or files.
        series: which series of a folder that holds several, as for `read_volume`.

    Raises:
        InputError: not from DICOM; no series, several, or one that is no regular stack; no identifiers to refer to.
    """
    if source is None or (not isinstance(source, (str, Path)) and not source):
        raise not_from_dicom()
    where = Path(source) if isinstance(source, (str, Path)) else [Path(file) for file in source]
    slices, geometry = find_slices(where, series=series)
    with lenient():
        files = {file: read_whole_header(file) for file in dict.fromkeys(one.file for one in slices)}
        originals = [files[one.file] for one in slices]
        identity, about_identity = read_identity(originals)
        headers, about_headers = make_headers(originals, slices, geometry.spacing[2])
    return SourceSeries(tuple(headers), geometry, identity, (*about_headers, *about_identity))

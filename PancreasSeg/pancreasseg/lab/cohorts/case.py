"""One checked case of a cohort, and the reading of its CT and label."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.grids.resample import nearest_axes, network_grid
from pancreasseg.io.labels import indicator_of, onto_grid
from pancreasseg.io.read import read_labels
from pancreasseg.lab.cohorts.axes import AxisTurn
from pancreasseg.lab.cohorts.organs import Organs, indicators

#: Place a label where its own header says.
HEADER = "header"
_SAME_VOXELS_MM = 0.05  # headers are rounded to single precision, some twice


@dataclass(frozen=True)
class Case:
    """A case that passed every check.

    Attributes:
        id: its name, unique in the cohort.
        ct, label: paths below the cohort's source, or whole ones of files that lie elsewhere.
        axes: how the label is placed on the CT: "header", or the name of an `AxisTurn` of its array.
        values: label values that together are the pancreas; () for the only label there is.
        group: cases of one group (the same scan) share a fold.
        fold: from 1; 0 while not dealt out.
        number: case number of NIH Pancreas-CT, or None.
        geometry: the CT's grid.
        box: around the pancreas, in the CT's voxels.
        pancreas_ml: volume of the label.
        pancreas_hu: mean HU inside.
        ct_sha256: of the HU; equal for copies of a scan.
        fingerprint: of HU and mask together; what is cached belongs to it.
        signature: of names, sizes and times of the files and of the settings, to see that nothing has changed.
        findings: remarks about CT and label.
        organs: labels beside the pancreas, or None.
    """

    id: str
    ct: str
    label: str
    axes: str
    values: tuple[int, ...] | str
    group: str
    fold: int
    number: int | None
    geometry: Geometry
    box: Box
    pancreas_ml: float
    pancreas_hu: float
    ct_sha256: str
    fingerprint: str
    signature: str
    findings: tuple[Finding, ...] = ()
    organs: Organs | None = None

    def moved(self, *, fold: int | None = None, group: str | None = None) -> Case:
        """The same case in another fold or group."""
        return replace(self, fold=self.fold if fold is None else fold, group=group or self.group)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "organs"}
        return {
            **plain,
            **({} if self.organs is None else {"organs": self.organs.as_dict()}),
            "values": self.values if isinstance(self.values, str) else list(self.values),
            "geometry": self.geometry.as_dict(),
            "box": list(self.box.bounds()),
            "findings": [finding.as_dict() for finding in self.findings],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """The inverse of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError: the data are not those of a case.
        """
        values = data["values"]
        findings = tuple(
            Finding(f["code"], Severity(f["severity"]), f["sentence"], f["number"]) for f in data["findings"]
        )
        return cls(
            **{
                **data,
                "values": values if isinstance(values, str) else tuple(int(v) for v in values),
                "geometry": Geometry.from_dict(data["geometry"]),
                "box": Box.from_bounds(data["box"]),
                "findings": findings,
                "organs": Organs.from_dict(data["organs"]) if "organs" in data else None,
            }
        )


def read_case_mask(path: Path, geometry: Geometry, axes: str, values: Sequence[int] | str) -> np.ndarray:
    """The label of a case on the grid of its CT, which it has to share: nothing is interpolated.

    Args:
        path: of the label map.
        geometry: the CT's grid.
        axes: "header", or the name of an `AxisTurn` of the stored array whatever its header says.
        values: label values that together are the pancreas, the name of a segment, or () for the only label there is.

    Returns:
        uint8 (K, J, I), 1 = pancreas.

    Raises:
        InputError: damaged, no labels, or on another grid: ``label-size`` or ``label-frame``.
    """
    label, own = read_indicator(path, values)
    return _placed(label, own, geometry, axes)


def read_organ_labels(path: Path, geometry: Geometry, axes: str, values: Sequence[Sequence[int | str]]) -> np.ndarray:
    """The label map of organs beside the pancreas on the grid of a CT, which it has to share.

    Args:
        path: of the label map.
        geometry: the CT's grid.
        axes: as for `read_case_mask`.
        values: for every organ the label values, or names of segments, that are joined. Those that are not there are
            passed over.

    Returns:
        uint8 (K, J, I), n + 1 = organ n; where organs overlap the later one stands.

    Raises:
        InputError: damaged, no labels, or on another grid: ``label-size`` or ``label-frame``.
    """
    array, own, keys = read_labels(path)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    for number, mask in enumerate(indicators(array, keys, values), start=1):
        if mask is not None:
            labels[_placed(mask, own, geometry, axes) != 0] = number
    return labels


def read_indicator(path: Path, values: Sequence[int] | str) -> tuple[np.ndarray, Geometry]:
    """uint8 mask of the pancreas as it is stored, and its own grid.

    Raises:
        InputError: damaged, or no label map with the labels wanted.
    """
    array, own, keys = read_labels(path)
    if isinstance(values, str) or len(values) < 2:
        wanted = values if isinstance(values, str) else (values[0] if values else None)
        return indicator_of(array, keys, wanted), own
    present = [value for value in values if array.ndim == 3 and np.any(array == value)]
    masks = [indicator_of(array, keys, value) for value in present]
    # Without any of them the file holds other labels or none; the first value wanted tells which.
    return (np.maximum.reduce(masks) if masks else indicator_of(array, keys, values[0])), own


def wrong_size(size: Sequence[int], wanted: Sequence[int]) -> InputError:
    """The error for a label of another size than its CT."""
    swapped = " Its axes seem to be swapped." if sorted(size) == sorted(wanted) else ""
    return InputError(
        "label-size",
        f"The label has {_by(size)} voxels, the CT {_by(wanted)}.{swapped}",
        "Give the label that was drawn on this CT.",
    )


def sha256_of(*arrays: np.ndarray) -> str:
    """SHA256 of the contents of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _placed(label: np.ndarray, own: Geometry, geometry: Geometry, axes: str) -> np.ndarray:
    """A 0/1 label on the grid of its CT."""
    if axes == HEADER:
        return _by_header(label, own, geometry)
    turned = AxisTurn.named(axes).apply(label)
    if turned.shape != geometry.shape:
        raise wrong_size(own.size, geometry.size)
    return np.ascontiguousarray(turned)


def _by_header(label: np.ndarray, own: Geometry, geometry: Geometry) -> np.ndarray:
    """A label whose header places its voxels on those of the CT, in whatever order they are stored."""
    mine, wanted = _upright(own), _upright(geometry)
    if mine.size != wanted.size:
        raise wrong_size(own.size, geometry.size)
    if not mine.same_grid(wanted, _SAME_VOXELS_MM):
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in mine.size])).reshape(3, -1).T
        away = float(np.linalg.norm(mine.to_world(corners) - wanted.to_world(corners), axis=1).max())
        raise InputError(
            "label-frame",
            f"The label states another place or orientation than the CT (up to {away:.1f} mm away).",
            "Give the label that was drawn on this CT; if only its header is wrong, prepare with --label-axes auto.",
        )
    return label if own.same_grid(geometry, _SAME_VOXELS_MM) else onto_grid(label, own, geometry)


def _upright(geometry: Geometry) -> Geometry:
    """The same voxels, counted along L, P and S."""
    spacing = [geometry.spacing[axis] for axis, _ in nearest_axes(geometry)]
    return network_grid(geometry, Box.whole(geometry), spacing=spacing)


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(n) for n in size)

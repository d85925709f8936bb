"""Whether a grid lies on the voxels of a DICOM series, and where; needs no DICOM library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity

#: Voxels; rounding in headers and NIfTI files stays far below, and the least real shift, half a voxel, far above.
SAME_VOXEL = 0.05


@dataclass(frozen=True)
class SeriesFacts:
    """What a program that asks before an export has to know of a series, without its headers.

    Attributes:
        geometry: the grid of its slices.
        findings: what was repaired in the headers, and what should be known.
    """

    geometry: Geometry
    findings: tuple[Finding, ...]

    def check(self, geometry: Geometry) -> None:
        """Refuse a grid that does not lie on the voxels of the series.

        Raises:
            InputError: see `same_voxels`.
        """
        same_voxels(geometry, self.geometry)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"geometry": self.geometry.as_dict(), "findings": [finding.as_dict() for finding in self.findings]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeriesFacts:
        """The inverse of `as_dict`."""
        findings = (Finding(**{**it, "severity": Severity(it["severity"])}) for it in data["findings"])
        return cls(Geometry.from_dict(data["geometry"]), tuple(findings))


def same_voxels(geometry: Geometry, series: Geometry) -> tuple[list[int], list[int], Box]:
    """How ``geometry`` sits in ``series``: for each index axis of the series its own axis and sign, and the region.

    Raises:
        InputError: its voxels are not voxels of the series.
    """
    steps = np.linalg.inv(series.index_to_world[:3, :3]) @ geometry.index_to_world[:3, :3]
    order = [int(np.abs(row).argmax()) for row in steps]
    signs = [1 if row[axis] > 0 else -1 for row, axis in zip(steps, order, strict=True)]
    ends = [(0, n - 1) for n in geometry.size]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
    placed = series.to_index(geometry.to_world(corners))
    first = np.rint(placed[0])
    ideal = first + np.stack([corners[:, axis] * sign for axis, sign in zip(order, signs, strict=True)], axis=1)
    off = float(np.abs(placed - ideal).max())
    low, high = ideal.min(axis=0).astype(int), ideal.max(axis=0).astype(int) + 1
    inside = bool((low >= 0).all() and (high <= np.asarray(series.size)).all())
    if len(set(order)) < 3 or off > SAME_VOXEL or not inside:
        raise InputError(
            "mask-not-on-series",
            "The segmentation does not lie on the voxels of the DICOM series: the CT it was drawn on was resampled, "
            "moved or is another one.",
            "Segment the CT as it was loaded from DICOM, without transforms or resampling, and export again.",
        )
    return order, signs, Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def not_from_dicom() -> InputError:
    """The error of a CT that no DICOM object can refer to."""
    return InputError(
        "not-from-dicom",
        "This CT was not loaded from DICOM, so there is no series that a DICOM object could refer to.",
        "Load the CT from its DICOM files, or export NIfTI, NRRD or STL instead.",
    )

"""The CT that everything works on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pancreasseg.core.finding import Finding
from pancreasseg.core.geometry import Geometry


@dataclass(frozen=True)
class Volume:
    """A 3D CT in HU with its geometry.

    Attributes:
        array: HU, shape (K, J, I), int16 or float32, C-contiguous, finite.
        geometry: its grid in LPS mm.
        findings: what reading it brought up (gaps, tilt, not HU ...).
        source: facts for provenance that identify no patient: ``format``, ``slices``, ``contrast`` ...
    """

    array: np.ndarray
    geometry: Geometry
    findings: tuple[Finding, ...] = ()
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"array {self.array.shape} does not fit the grid {self.geometry.shape}")

"""Whether voxels lie close enough to resolve the pancreas."""

from __future__ import annotations

from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding, Severity

MAX_SPACING_MM = 5.0


def coarse_spacing(geometry: Geometry) -> Finding | None:
    """The finding ``spacing-above-5-mm``, with the largest spacing in mm; None where there is nothing to remark."""
    largest = max(geometry.spacing)
    if largest <= MAX_SPACING_MM + 1e-3:  # headers round
        return None
    sentence = (
        f"The voxels are {largest:.1f} mm apart; above {MAX_SPACING_MM:g} mm the pancreas is resolved poorly. "
        "Use a thinner reconstruction if there is one."
    )
    return Finding("spacing-above-5-mm", Severity.WARNING, sentence, largest)

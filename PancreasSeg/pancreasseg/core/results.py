"""What the two calls of every pipeline return: a Localization and a Segmentation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.finding import Finding


@dataclass(frozen=True)
class Localization:
    """Where the pancreas is.

    Attributes:
        box: the region to segment, in the volume's voxels; what the person sees and drags.
        score: 0-1, how sure the localizer is (mean coarse probability inside the coarse mask).
        candidates: all boxes the pipeline will use when the person does not move ``box`` (Zhao 2019: box 1, box 2).
        coarse: coarse probability on ``coarse_grid``, shape (K, J, I), or None where a pipeline has none.
        coarse_grid: grid of ``coarse``.
        foreground: probability on ``coarse_grid`` of any organ that a localizer of several organs knows, or None.
        findings: e.g. no pancreas found.
        timings: seconds by stage.
    """

    box: Box
    score: float
    candidates: tuple[Box, ...] = ()
    coarse: np.ndarray | None = None
    coarse_grid: Geometry | None = None
    findings: tuple[Finding, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    foreground: np.ndarray | None = None


@dataclass(frozen=True)
class Provenance:
    """How a result came about; enough to repeat it.

    ``models`` holds {"name", "version", "sha256"} for every package used; ``box`` is (I0, I1, J0, J1, K0, K1).
    """

    pipeline: str
    models: tuple[dict[str, str], ...]
    device: str
    precision: str
    box: tuple[int, int, int, int, int, int]
    version: str


@dataclass(frozen=True)
class Segmentation:
    """The pancreas on the volume's own grid.

    Attributes:
        mask: uint8, shape (K, J, I) of the whole volume, 1 = pancreas.
        box: the region that was segmented last (after any growth).
        probability: float32 on ``box`` (shape ``box.shape``), of the fused result.
        agreement: float32 on ``box``: share of the voters that agree with the result in each voxel (1 = all).
        findings: quality remarks from localization and segmentation.
        timings: seconds by stage.
        provenance: how it was made.
        labels: uint8 on the whole grid, all classes of a multi-organ model, or None.
        classes: names of the values of ``labels``, background first; () where there are none.
        second_largest: voxels of the largest separate piece that post-processing removed, as a part of what it kept.
        expected_overlap: DSC with a person's outline to be expected of this mask, or None where the model has none.
    """

    mask: np.ndarray
    box: Box
    probability: np.ndarray
    agreement: np.ndarray
    findings: tuple[Finding, ...]
    timings: dict[str, float]
    provenance: Provenance
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    second_largest: float = 0.0
    expected_overlap: float | None = None


@dataclass(frozen=True)
class Attention:
    """Where a network with attention gates looked.

    Attributes:
        box: the region, in the volume's voxels.
        maps: by name, see `pancreasseg.pipelines.attention.map_names`; float32 of ``box.shape``, 0 (shut) to 1 (open).
    """

    box: Box
    maps: dict[str, np.ndarray]

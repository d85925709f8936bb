"""A CT and a result on it."""

from __future__ import annotations

import numpy as np
from Testing.helpers.ct_files import SHAPE, a_ct, a_grid

from pancreasseg.core import Box, Volume
from pancreasseg.core.results import Provenance, Segmentation


def a_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:8, 5:13, 4:12] = 1
    mask[3, 5, 4] = 0
    return mask


def a_result(timings: dict[str, float] | None = None) -> tuple[Volume, Segmentation]:
    box = Box((2, 3, 2), (14, 15, 10))
    provenance = Provenance("two-stage", ({"name": "phantom", "version": "1.0.0", "sha256": "ab"},), "cpu", "float32",
                            box.bounds(), "0.1.0")  # fmt: skip
    blank = np.zeros(box.shape, np.float32)
    segmentation = Segmentation(a_mask(), box, blank, blank, (), timings or {"localize": 1.5}, provenance)
    return Volume(a_ct(), a_grid(), (), {"format": "DICOM"}), segmentation

"""A cohort on which a network learns in seconds: bodies of 40 HU with one bright ellipsoid each, here and there."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from pancreasseg.core import Geometry
from pancreasseg.grids.resample import to_image
from pancreasseg.lab.cohorts import Cohort
from pancreasseg.lab.cohorts.prepare import Preparation, prepare

GEOMETRY = Geometry((44, 40, 18), (2.0, 2.0, 4.0), (12.0, -30.0, 400.0))


def easy_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """HU and mask (K, J, I)."""
    random = np.random.default_rng(seed)
    k, j, i = np.ogrid[:18, :40, :44]
    body = ((i - 21.5) / 21) ** 2 + ((j - 19.5) / 19) ** 2 < 1
    ci, cj, ck = (float(c + random.uniform(-2, 2)) for c in (22, 19, 8.5))
    ri, rj, rk = (float(r * random.uniform(0.9, 1.1)) for r in (9, 7, 4))
    organ = ((i - ci) / ri) ** 2 + ((j - cj) / rj) ** 2 + ((k - ck) / rk) ** 2 < 1
    hu = np.where(body & (k >= 0), 40, -1000) + np.where(organ, 110, 0)
    return (hu + random.normal(0, 6, organ.shape)).astype(np.int16), organ.astype(np.uint8)


def easy_cohort(folder: Path, count: int = 6, folds: int = 2) -> Cohort:
    """A prepared cohort of `easy_case`."""
    source = folder / "source"
    for name in ("images", "labels"):
        (source / name).mkdir(parents=True)
    for seed in range(count):
        for name, array in zip(("images", "labels"), easy_case(seed), strict=True):
            sitk.WriteImage(to_image(array, GEOMETRY), str(source / name / f"case{seed}.nii.gz"))
    return prepare("folder", source, folder / "cohort", Preparation(folds=folds))

"""A model package whose networks can be reasoned about: every voxel above 120 HU is pancreas. Written without torch."""

from pathlib import Path
from typing import Any

import numpy as np
from Testing.helpers.model_cards import card_of, network_entry, preprocessing

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.models.package import ModelPackage, write_package

THRESHOLD_HU = 120.0
_ARGUMENTS = {"channels": [1], "kernels": [1], "norm": "batch", "convs": 1}


def write_bright_model(
    home: Path, name: str = "bright", threshold_hu: float = THRESHOLD_HU, **changes: Any
) -> ModelPackage:
    """The package in a store's folder ``home``: a localizer at 6 mm, a segmenter at 2 mm; and changes of its card."""
    networks = [
        network_entry(role, arguments=_ARGUMENTS, preprocessing=preprocessing(spacing_mm))
        for role, spacing_mm in (("localizer", 6.0), ("segmenter", 2.0))
    ]
    said = {"title": "Bright voxels", "description": "Calls every bright voxel pancreas.", **changes}
    card = card_of(*networks, name=name, **said)
    weights = _weights(threshold_hu)
    tensors = {f"{role}.{key}": value for role in ("localizer", "segmenter") for key, value in weights.items()}
    return write_package(home / "models" / name, card, tensors)


def a_patient(spacing: tuple[float, float, float] = (2.0, 2.0, 4.0)) -> tuple[Volume, np.ndarray]:
    """A body of 40 HU in air with one bright ellipsoid (180 HU), in noise; and the ellipsoid's mask."""
    geometry = Geometry((80, 70, 40), spacing, (12.0, -30.0, 400.0))
    k, j, i = np.ogrid[:40, :70, :80]
    body = ((i - 39.5) / 36) ** 2 + ((j - 34.5) / 30) ** 2 < 1
    organ = ((i - 42) / 14) ** 2 + ((j - 30) / 9) ** 2 + ((k - 19) / 5) ** 2 < 1
    hu = np.where(body & (k >= 0), 40, -1000) + np.where(organ, 140, 0)
    noise = np.random.default_rng(0).normal(0, 6, geometry.shape)
    return Volume((hu + noise).astype(np.int16), geometry), np.broadcast_to(organ, geometry.shape).astype(np.uint8)


def outside(mask: np.ndarray, box: Box) -> np.ndarray:
    """A mask without what lies in a box."""
    rest = mask.copy()
    rest[box.slices] = 0
    return rest


def _weights(threshold_hu: float) -> dict[str, np.ndarray]:
    def one(value: float) -> np.ndarray:
        return np.full((1,), value, dtype=np.float32)

    slope = 40.0  # the logit of pancreas against background
    return {
        "encoder.0.0.conv.weight": one(1.0).reshape(1, 1, 1, 1, 1),
        "encoder.0.0.norm.weight": one(1.0),
        "encoder.0.0.norm.bias": one(0.0),
        "encoder.0.0.norm.running_mean": one(0.0),
        "encoder.0.0.norm.running_var": one(1.0),
        "encoder.0.0.norm.num_batches_tracked": np.array(1, dtype=np.int64),
        "heads.0.weight": np.array([0.0, slope], dtype=np.float32).reshape(2, 1, 1, 1, 1),
        "heads.0.bias": np.array([0.0, -slope * threshold_hu / 200.0], dtype=np.float32),
    }

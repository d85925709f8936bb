"""CT synthesised from label maps: for what lies above and below the pancreas, which sparse slices never show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pancreasseg.lab.axial.augmentation import DISTANCE_MM, PIXEL_MM, Grid, field
from pancreasseg.lab.axial.cases import CLASSES, PANCREAS

#: Voxels of the maps in mm, all axes.
MAP_MM = 1.5
#: Tissue: portal-venous HU, spread between patients, texture. 1 to 8 are `CLASSES`; the rest see `TISSUES`.
HU: dict[int, tuple[float, float, float]] = {
    0: (-1000, 5, 3),
    1: (120, 18, 4),
    2: (95, 20, 8),
    3: (165, 30, 10),
    4: (10, 12, 3),
    5: (45, 18, 12),
    6: (110, 18, 4),
    7: (40, 60, 45),
    8: (55, 30, 25),
    9: (165, 30, 10),
    10: (155, 30, 4),
    11: (135, 30, 12),
    12: (150, 28, 6),
    13: (10, 60, 120),
    14: (50, 35, 40),
    15: (58, 8, 10),
    16: (260, 80, 110),
    17: (30, 10, 5),
    18: (-820, 40, 60),
    19: (140, 30, 10),
    20: (65, 20, 8),
    21: (110, 30, 30),
    22: (140, 30, 5),
    23: (5, 8, 3),
    24: (45, 10, 8),
    25: (-100, 12, 12),
    26: (10, 40, 30),
}
#: Tissues beyond `CLASSES` by the name of their structure in TotalSegmentator's maps.
TISSUES = {
    "kidney_right": 9,
    "aorta": 10,
    "inferior_vena_cava": 11,
    "portal_vein_and_splenic_vein": 12,
    "colon": 13,
    "small_bowel": 14,
    "spinal_cord": 17,
    "heart": 19,
    "adrenal_gland_left": 20,
    "adrenal_gland_right": 20,
    "costal_cartilages": 21,
    "urinary_bladder": 23,
    "prostate": 24,
}
MUSCLE, BONE, LUNG, VESSEL, ILIAC, FAT, SKIN = 15, 16, 18, 19, 22, 25, 26
STOMACH, DUODENUM, COLON, SMALL_BOWEL = 7, 8, 13, 14
#: Tissues without blood to speak of: contrast medium does not change them.
_NO_CONTRAST = frozenset((0, 4, COLON, SMALL_BOWEL, BONE, 17, LUNG, 23, FAT, SKIN))


class LabelMaps:
    """Label maps of bodies, and slices of CT made of them.

    Args:
        maps: uint8 (slices, rows, columns) of `MAP_MM` voxels, values are keys of `HU`; x left, y back, z up.
    """

    def __init__(self, maps: list[np.ndarray]) -> None:
        self.maps = maps

    @classmethod
    def load(cls, folder: Path, without: tuple[str, ...] = ()) -> LabelMaps:
        """The maps of a folder; those of held-out patients stay out."""
        chosen = [path for path in sorted(folder.glob("*.npz")) if path.stem not in without]
        return cls([np.load(path)["labels"] for path in chosen])

    def sample(self, rng: np.random.Generator, grid: Grid) -> tuple[Tensor, Tensor]:
        """HU of five slices (5, rows, columns) within the window, and labels uint8 of the middle one."""
        volume = self.maps[rng.integers(len(self.maps))]
        step = rng.uniform(*DISTANCE_MM) / MAP_MM
        tissue = _cut(rng, volume, step, grid)
        hu = _texture(rng, tissue, step * MAP_MM)
        target = tissue[2].clone()
        target[target >= len(CLASSES)] = 0
        return hu, target.to(torch.uint8)


def _cut(rng: np.random.Generator, volume: np.ndarray, step: float, grid: Grid) -> Tensor:
    """Five slices of a map at any height, more often at the pancreas; int64 (5, rows, columns)."""
    depth, height, width = volume.shape
    organ = np.flatnonzero((volume == PANCREAS).any((1, 2)))
    at_organ = rng.random() < 0.35 and organ.size > 0
    k = rng.uniform(organ[0] - 6, organ[-1] + 6) if at_organ else rng.uniform(0, depth - 1)
    slices = np.clip(np.round(k + step * np.arange(-2, 3)), 0, depth - 1).astype(int)
    row, column = height / 2 + rng.uniform(-25, 25), width / 2 + rng.uniform(-35, 35)
    x, y = grid
    places = torch.stack([(x + column) / width * 2 - 1, (y + row) / height * 2 - 1], -1)[None].float()
    labels = torch.from_numpy(volume[slices].astype(np.float32))[None]
    return F.grid_sample(labels, places, mode="nearest", align_corners=False)[0].long()


def _texture(rng: np.random.Generator, tissue: Tensor, distance: float) -> Tensor:
    """HU of five slices of tissue that lie ``distance`` mm apart."""
    shape = tuple(tissue.shape)

    def noise(mm: float) -> Tensor:
        return field(rng, shape, (max(1.0, mm / distance), mm / PIXEL_MM, mm / PIXEL_MM))

    def white(*size: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(size).astype(np.float32))

    mean, spread = _tissues(rng)
    hu = mean[tissue] + spread[tissue] * (0.6 * noise(5) + 0.6 * noise(12) + 0.5 * white(*shape))
    _fill_bowel(rng, hu, tissue, noise(20))
    hu[(tissue == PANCREAS) & (noise(5) > rng.uniform(0.9, 2.5))] = -60.0  # fatty lobules
    fat = tissue == FAT
    hu[fat & (noise(7).abs() < rng.uniform(0.02, 0.12))] = float(rng.uniform(0, 160))  # vessels, strands
    nodes = fat & (noise(18) > rng.uniform(1.3, 2.2))
    hu[nodes] = float(rng.uniform(20, 80)) + 20 * white(int(nodes.sum()))
    blur = rng.uniform(0.4, 0.9)
    smooth = torch.from_numpy(ndimage.gaussian_filter(hu.numpy(), (0, blur, blur)))
    return (smooth + torch.randn(shape) * float(rng.uniform(2, 12))).clamp(0, 250)


def _tissues(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """HU and texture of every tissue in one patient: unenhanced, portal-venous or stronger."""
    mean, spread = torch.zeros(len(HU)), torch.zeros(len(HU))
    enhancement = float(np.clip(rng.normal(1, 0.25), 0.3, 1.6))
    for tissue, (hu, between, texture) in HU.items():
        typical = hu if tissue in _NO_CONTRAST else 45 + (hu - 45) * enhancement
        mean[tissue] = typical + between * rng.standard_normal()
        spread[tissue] = texture * rng.uniform(0.5, 1.6)
    return mean, spread


def _fill_bowel(rng: np.random.Generator, hu: Tensor, tissue: Tensor, noise: Tensor) -> None:
    """Gas, and in every third patient oral contrast, in place."""
    bowel = (tissue == COLON) | (tissue == SMALL_BOWEL) | (tissue == STOMACH) | (tissue == DUODENUM)
    hu[bowel & (noise > rng.uniform(0.5, 1.6)) & (tissue != DUODENUM)] = -900.0
    if rng.random() < 0.35:
        hu[bowel & (noise < -rng.uniform(0.3, 1.2))] = float(rng.uniform(150, 450))

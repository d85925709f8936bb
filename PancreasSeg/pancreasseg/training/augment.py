"""Random views of a case: where the box lies, how it is turned and scaled, how the scanner saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pancreasseg.training.cases import Case

_FLOOR = -300.0  # HU outside a case; below every window


@dataclass(frozen=True)
class Spatial:
    """Strength of the spatial augmentation: degrees around x, y, z; factors along each axis around 1."""

    degrees: tuple[float, float, float] = (10.0, 8.0, 12.0)
    scale: float = 0.12


@dataclass(frozen=True)
class Intensity:
    """Strength of the intensity augmentation: HU and factors."""

    contrast: float = 0.15
    shift_hu: float = 10.0
    noise_hu: float = 14.0
    blur_voxels: float = 0.9


def view(
    case: Case,
    centre: Sequence[float],
    size: Sequence[int],
    random: np.random.Generator,
    spatial: Spatial,
    *,
    repeat_edge: bool,
) -> tuple[Tensor, Tensor]:
    """A turned and scaled block of a case.

    Args:
        case: where from.
        centre: index (k, j, i) of the block's middle.
        size: voxels of the block along k, j, i.
        random: source of the turn and scale.
        spatial: their strength.
        repeat_edge: what lies outside the case: its edge again, or air.

    Returns:
        HU and share of pancreas, float32 of shape ``size``.
    """
    angles = np.deg2rad(random.uniform(-1, 1, 3) * spatial.degrees)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *(float(a) for a in angles)).GetMatrix()
    scale = np.exp(random.uniform(-1, 1, 3) * spatial.scale)
    # grid_sample speaks of x, y, z from -1 to 1 over the input, here from edge to edge.
    shape = np.array(case.hu.shape[::-1], dtype=float)
    block = np.array(size[::-1], dtype=float)
    matrix = (np.asarray(turn).reshape(3, 3) * scale) * block / shape[:, None]
    offset = (2 * np.array(centre[::-1]) + 1) / shape - 1
    theta = torch.from_numpy(np.column_stack([matrix, offset]).astype(np.float32))[None]
    k, j, i = (int(n) for n in size)
    grid = F.affine_grid(theta, [1, 1, k, j, i], align_corners=False)
    both = torch.from_numpy(np.stack([case.hu.astype(np.float32) - np.float32(_FLOOR), case.truth.astype(np.float32)]))
    mode = "border" if repeat_edge else "zeros"
    hu, truth = F.grid_sample(both[None], grid, mode="bilinear", padding_mode=mode, align_corners=False)[0]
    return hu + _FLOOR, truth / 255


def scanner(hu: Tensor, random: np.random.Generator, strength: Intensity) -> Tensor:
    """Another contrast, brightness, sharpness and noise; HU in, HU out, any 3D shape."""
    hu = (hu - 60) * float(1 + random.uniform(-1, 1) * strength.contrast) + 60
    hu = hu + float(random.normal(0, strength.shift_hu))
    if random.random() < 0.3:
        width = float(random.uniform(0.3, strength.blur_voxels))
        kernel = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / width) ** 2)
        kernel /= kernel.sum()
        for axis in range(3):
            form = [1, 1, 1, 1, 1]
            form[2 + axis] = 5
            padding = [0, 0, 0]
            padding[axis] = 2
            hu = F.conv3d(hu[None, None], kernel.reshape(form), padding=padding)[0, 0]
    if random.random() < 0.6:
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        hu = hu + torch.randn(hu.shape, generator=generator) * float(random.uniform(0, strength.noise_hu))
    return hu


def whole_block(case: Case, size: Sequence[int], random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """For a localizer: a block around the middle of the scan, moved a little; air outside."""
    middle = (np.array(case.hu.shape) - 1) / 2 + random.normal(0, 4, 3)
    spare = np.maximum(np.array(case.hu.shape) - size, 0) / 2
    centre = middle + random.uniform(-1, 1, 3) * spare
    hu, share = view(case, centre.tolist(), size, random, Spatial(), repeat_edge=False)
    return scanner(hu, random, Intensity()), share


def jittered_box(
    case: Case, spacing_mm: float, random: np.random.Generator, multiple: int = 8, most: int = 620_000
) -> tuple[Tensor, Tensor]:
    """For a segmenter: a box around the pancreas as an imperfect localizer would give it.

    Each face lies 10 +- 8 mm (sometimes inside the organ) beyond the pancreas, and the whole box is moved by up to
    15 mm in some of the cases. Sizes are multiples of ``multiple`` voxels, at most ``most`` voxels in all.
    """
    occupied = np.argwhere(case.truth > 127)
    low, high = occupied.min(axis=0), occupied.max(axis=0) + 1
    low = low - random.normal(10, 8, 3) / spacing_mm
    high = high + random.normal(10, 8, 3) / spacing_mm
    if random.random() < 0.25:
        move = random.uniform(-15, 15, 3) / spacing_mm
        low, high = low + move, high + move
    extent = (high - low) * random.uniform(0.95, 1.1)
    size = np.maximum(np.rint(extent / multiple), 4).astype(int) * multiple
    while np.prod(size) > most:
        size[int(np.argmax(size))] -= multiple
    centre = (low + high - 1) / 2
    hu, share = view(case, centre.tolist(), size.tolist(), random, Spatial(), repeat_edge=True)
    return scanner(hu, random, Intensity()), share

"""Random views of a case: where the box lies, how the patient is turned and bent, how the scanner saw it.

All of it in torch, so that it runs where the network does. Turning, scaling and bending share one interpolation, and
only the part of the case that the view needs is read from its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pancreasseg.core import Box
from pancreasseg.grids.resample import AIR_HU
from pancreasseg.lab.cohorts import Sample

_SOFT_HU = 60.0  # contrast is stretched about this
_GAMMA_HU = (-160.0, 240.0)  # gamma acts between these
_STEEPEST = 0.3  # of the bending: neighbours never change places


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation; 0 switches a part off.

    Attributes:
        rotation_degrees: largest turn around x, y, z.
        scale: logarithm of the largest factor along each axis.
        elastic_mm: largest shift of a control point of the bending (cubic B-spline) along each axis.
        elastic_grid_mm: between control points.
        elastic_probability: of bending at all.
        flip: probability of mirroring along x, y, z. Organs are not symmetric: by default never.
        contrast: largest relative change of HU differences.
        shift_hu: standard deviation of the brightness.
        gamma: logarithm of the largest exponent, between -160 and 240 HU.
        gamma_probability: of a gamma at all.
        blur_mm: largest standard deviation of the blur.
        blur_probability: of a blur at all.
        low_resolution: largest factor by which voxels are made coarser and fine again; 1 switches it off.
        low_resolution_probability: of that; half of the times along z alone, as thick slices are.
        noise_hu: largest standard deviation of the noise.
        noise_probability: of noise at all.
    """

    rotation_degrees: tuple[float, float, float] = (10.0, 8.0, 12.0)
    scale: float = 0.12
    elastic_mm: float = 6.0
    elastic_grid_mm: float = 40.0
    elastic_probability: float = 0.3
    flip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contrast: float = 0.15
    shift_hu: float = 10.0
    gamma: float = 0.2
    gamma_probability: float = 0.3
    blur_mm: float = 1.2
    blur_probability: float = 0.3
    low_resolution: float = 2.0
    low_resolution_probability: float = 0.15
    noise_hu: float = 14.0
    noise_probability: float = 0.6

    def __post_init__(self) -> None:
        chances = (
            *self.flip,
            self.elastic_probability,
            self.gamma_probability,
            self.blur_probability,
            self.low_resolution_probability,
            self.noise_probability,
        )
        strengths = (self.scale, self.contrast, self.shift_hu, self.gamma, self.blur_mm, self.noise_hu)
        if min(chances) < 0 or max(chances) > 1 or min(strengths) < 0 or self.low_resolution < 1:
            raise ValueError(f"no such augmentation: {self}")
        if not 0 <= self.elastic_mm <= _STEEPEST * self.elastic_grid_mm:
            raise ValueError("the bending is too strong for the distance of its control points: it would fold")

    @classmethod
    def none(cls) -> Augmentation:
        """The case as it is."""
        return cls(
            rotation_degrees=(0.0, 0.0, 0.0),
            scale=0.0,
            elastic_mm=0.0,
            contrast=0.0,
            shift_hu=0.0,
            gamma=0.0,
            blur_mm=0.0,
            low_resolution=1.0,
            noise_hu=0.0,
        )


@dataclass(frozen=True)
class BoxJitter:
    """How far the box of a localizer is from the true one.

    Attributes:
        shift_mm: largest shift along each axis.
        scale: smallest and largest factor of the size along each axis.
    """

    shift_mm: float = 10.0
    scale: tuple[float, float] = (0.85, 1.2)


def view(
    sample: Sample,
    centre: Sequence[float],
    size: Sequence[int],
    augmentation: Augmentation,
    random: np.random.Generator,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """A block of a case, augmented. The same generator state gives the same block (on one kind of device).

    Args:
        sample: where from; its arrays may be mapped files.
        centre: continuous index (k, j, i) of the block's middle.
        size: voxels of the block along k, j, i.
        augmentation: how strongly.
        random: source of everything random.
        device: where to compute.

    Returns:
        HU (air where the scan does not reach) and share of pancreas (0 to 1), float32 of shape ``size``.
    """
    return view_with_organs(sample, centre, size, augmentation, random, device)[:2]


def view_with_organs(
    sample: Sample,
    centre: Sequence[float],
    size: Sequence[int],
    augmentation: Augmentation,
    random: np.random.Generator,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`view` with the sample's label map of organs, uint8 of shape ``size``, where it has one."""
    hu, share, organs = _seen(sample, centre, size, augmentation, random, torch.device(device))
    axes = [2 - axis for axis, chance in enumerate(augmentation.flip) if chance and random.random() < chance]
    if axes:
        hu, share = hu.flip(axes), share.flip(axes)
        organs = None if organs is None else organs.flip(axes)
    return scanned(hu, sample.geometry.spacing, augmentation, random), share, organs


def scanned(hu: Tensor, spacing: Sequence[float], augmentation: Augmentation, random: np.random.Generator) -> Tensor:
    """The same anatomy by another scanner: sharpness, voxel size, contrast, brightness, gamma and noise.

    Args:
        hu: HU, float32 (K, J, I).
        spacing: mm along x, y, z.
        augmentation: how strongly.
        random: source of everything random.
    """
    a = augmentation
    if a.blur_mm and random.random() < a.blur_probability:
        hu = blurred(hu, [float(random.uniform(0, a.blur_mm)) / s for s in spacing[::-1]])
    if a.low_resolution > 1 and random.random() < a.low_resolution_probability:
        factor = float(random.uniform(1, a.low_resolution))
        hu = coarsened(hu, (factor, 1.0, 1.0) if random.random() < 0.5 else (factor,) * 3)
    if a.contrast:
        hu = (hu - _SOFT_HU) * float(1 + random.uniform(-1, 1) * a.contrast) + _SOFT_HU
    if a.shift_hu:
        hu = hu + float(random.normal(0, a.shift_hu))
    if a.gamma and random.random() < a.gamma_probability:
        hu = with_gamma(hu, float(np.exp(random.uniform(-1, 1) * a.gamma)))
    if a.noise_hu and random.random() < a.noise_probability:
        generator = torch.Generator(hu.device).manual_seed(int(random.integers(2**31)))
        noise = torch.randn(hu.shape, generator=generator, device=hu.device)
        hu = hu + noise * float(random.uniform(0, a.noise_hu))
    return hu


def blurred(hu: Tensor, width: Sequence[float]) -> Tensor:
    """Gaussian blur of a (K, J, I) tensor; ``width`` is the standard deviation in voxels along each axis."""
    result = hu[None, None]
    for axis, sigma in enumerate(width):
        reach = min(int(np.ceil(3 * sigma)), hu.shape[axis] - 1)
        if sigma < 0.1 or reach < 1:
            continue
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=hu.device, dtype=hu.dtype) / sigma) ** 2)
        form, padding = [1, 1, 1, 1, 1], [0] * 6
        form[2 + axis] = 2 * reach + 1
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = reach
        result = F.conv3d(F.pad(result, padding, mode="replicate"), (kernel / kernel.sum()).reshape(form))
    return result[0, 0]


def coarsened(hu: Tensor, factors: Sequence[float]) -> Tensor:
    """A (K, J, I) tensor averaged to voxels that are ``factors`` times larger, and interpolated back."""
    k, j, i = (max(1, round(n / f)) for n, f in zip(hu.shape, factors, strict=True))
    coarse = F.adaptive_avg_pool3d(hu[None, None], (k, j, i))
    return F.interpolate(coarse, size=hu.shape, mode="trilinear", align_corners=False)[0, 0]


def with_gamma(hu: Tensor, gamma: float) -> Tensor:
    """HU between -160 and 240 bent by an exponent; the rest stays as it is."""
    low, high = _GAMMA_HU
    inside = ((hu - low) / (high - low)).clamp(0, 1) ** gamma * (high - low) + low
    return torch.where((hu > low) & (hu < high), inside, hu)


def jittered_box(box: Box, spacing: Sequence[float], jitter: BoxJitter, random: np.random.Generator) -> Box:
    """A box as an imperfect localizer would give it; not clipped to any volume.

    Args:
        box: the true one.
        spacing: mm along i, j, k.
        jitter: how imperfect.
        random: source of shift and factors.
    """
    start, stop = np.array(box.start, dtype=float), np.array(box.stop, dtype=float)
    middle = (start + stop) / 2 + random.uniform(-1, 1, 3) * jitter.shift_mm / np.asarray(spacing)
    half = (stop - start) / 2 * random.uniform(*jitter.scale, 3)
    low, high = np.floor(middle - half).astype(int), np.ceil(middle + half).astype(int)
    return Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def _seen(
    sample: Sample,
    centre: Sequence[float],
    size: Sequence[int],
    augmentation: Augmentation,
    random: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The block turned, scaled and bent: HU, share and organs."""
    shape, block = np.array(sample.hu.shape), np.array([int(n) for n in size])
    spacing = np.array(sample.geometry.spacing[::-1])
    matrix = matrix_of(augmentation, random)[::-1, ::-1] * spacing / spacing[:, None]  # voxels to voxels, along k, j, i
    bend = None
    if augmentation.elastic_mm and random.random() < augmentation.elastic_probability:
        bend = bending(block, spacing, augmentation, random)
    half = (block - 1) / 2
    reach = np.abs(matrix) @ half + (0.0 if bend is None else augmentation.elastic_mm / spacing) + 1
    low = np.clip(np.floor(np.array(centre) - reach), 0, shape - 1).astype(int)
    high = np.clip(np.ceil(np.array(centre) + reach) + 1, low + 1, shape).astype(int)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    # grid_sample speaks of x, y, z from -1 to 1 over the input, here from edge to edge.
    to_unit = 2 / (high - low)
    theta = np.column_stack([matrix * half, np.array(centre) - low]) * to_unit[:, None]
    theta[:, 3] += to_unit / 2 - 1
    theta = np.column_stack([theta[::-1, 2::-1], theta[::-1, 3]])
    k, j, i = (int(n) for n in block)
    turned = F.affine_grid(
        torch.from_numpy(theta.astype(np.float32)).to(device)[None], [1, 1, k, j, i], align_corners=True
    )
    if bend is not None:
        turned = turned + upsampled(bend, block, spacing, augmentation, device) * torch.from_numpy(
            (to_unit / spacing)[::-1].astype(np.float32)
        ).to(device)
    hu = torch.from_numpy(sample.hu[part].astype(np.float32)).to(device) - AIR_HU  # outside becomes 0: air
    share = torch.from_numpy(sample.truth[part].astype(np.float32)).to(device) / 255
    both = F.grid_sample(
        torch.stack([hu, share])[None], turned, mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]
    if sample.organs is None:
        return both[0] + AIR_HU, both[1], None
    organs = torch.from_numpy(sample.organs[part].astype(np.float32)).to(device)
    nearest = F.grid_sample(organs[None, None], turned, mode="nearest", padding_mode="zeros", align_corners=False)
    return both[0] + AIR_HU, both[1], nearest[0, 0].to(torch.uint8)


def matrix_of(augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    """3x3, mm of the block to mm of the case, along x, y, z."""
    angles = np.deg2rad(random.uniform(-1, 1, 3) * augmentation.rotation_degrees)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *(float(a) for a in angles)).GetMatrix()
    return np.asarray(turn).reshape(3, 3) * np.exp(random.uniform(-1, 1, 3) * augmentation.scale)


def bending(
    block: np.ndarray, spacing: np.ndarray, augmentation: Augmentation, random: np.random.Generator
) -> np.ndarray:
    """Shifts in mm along x, y, z of control points over the block, (K, J, I, 3)."""
    counts = [int(np.ceil(e / augmentation.elastic_grid_mm)) + 4 for e in block * spacing]
    return random.uniform(-1, 1, (*counts, 3)) * augmentation.elastic_mm


def upsampled(
    control: np.ndarray, block: np.ndarray, spacing: np.ndarray, augmentation: Augmentation, device: torch.device
) -> Tensor:
    """A cubic B-spline through shifts of control points at every voxel, float32 (1, K, J, I, 3)."""
    field = torch.from_numpy(control.astype(np.float32)).to(device)
    for axis in range(3):
        place = (np.arange(block[axis]) + 0.5) * spacing[axis] / augmentation.elastic_grid_mm + 1
        away = np.abs(place[:, None] - np.arange(control.shape[axis]))
        near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away) ** 3 / 6
        weights = np.where(away < 1, near, np.where(away < 2, far, 0.0))
        field = torch.tensordot(torch.from_numpy(weights.astype(np.float32)).to(device), field, dims=([1], [axis]))
        field = field.movedim(0, axis)
    return field[None]

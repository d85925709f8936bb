"""Crops of slices, bent and seen by other scanners."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pancreasseg.lab.axial.cases import OTHER, PANCREAS, UNKNOWN, SliceCase, bounds, middle

#: Rows and columns of a training crop, and mm of its pixels: 192 x 264 mm, most of a patient.
SIZE, PIXEL_MM = (128, 176), 1.5
#: Distances of neighbouring slices (mm).
DISTANCE_MM = (2.5, 7.0)
#: Less of the organ than this (mm²) is little for a slice.
SMALL_MM2 = 500
#: HU that the network's value 0 and a step of 1 stand for: the middle and half of the window.
MIDDLE_HU = 125.0

Grid = tuple[Tensor, Tensor]


def field(rng: np.random.Generator, shape: Sequence[int], scale: Sequence[float]) -> Tensor:
    """Smooth noise of about unit amplitude.

    Args:
        rng: source of chance.
        shape: of the result, three axes.
        scale: voxels from one independent value to the next, along each axis.
    """
    coarse = [max(2, int(n / step) + 2) for n, step in zip(shape, scale, strict=True)]
    noise = torch.from_numpy(rng.standard_normal(coarse).astype(np.float32))[None, None]
    return F.interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def bend(rng: np.random.Generator) -> Grid:
    """A random affine and elastic map: where each pixel of a crop lies from its middle, (x, y) in pixels.

    Turned by some 7 degrees, scaled by 0.75 to 1.3 (now and then to 2: localizers see coarser pixels), bent by up to
    about 5 mm. Never mirrored: a pancreas on the wrong side is no pancreas.
    """
    height, width = SIZE
    rows, columns = torch.arange(height) - height / 2 + 0.5, torch.arange(width) - width / 2 + 0.5
    gy, gx = torch.meshgrid(rows, columns, indexing="ij")
    angle, scale = rng.normal(0, 0.12), math.exp(rng.normal(0, 0.14))
    aspect, shear = math.exp(rng.normal(0, 0.06)), rng.normal(0, 0.05)
    if rng.random() < 0.3:
        scale *= rng.uniform(1.1, 1.5)
    x = (math.cos(angle) * gx - math.sin(angle) * gy) * scale * aspect + shear * gy
    y = (math.sin(angle) * gx + math.cos(angle) * gy) * scale / aspect
    if rng.random() < 0.5:
        coarse = torch.from_numpy(rng.normal(0, 1, (1, 2, 5, 6)).astype(np.float32)) * float(rng.uniform(0.7, 3.3))
        shift = F.interpolate(coarse, SIZE, mode="bicubic", align_corners=True)[0]
        x, y = x + shift[0], y + shift[1]
    return x, y


def crop(
    rng: np.random.Generator, case: SliceCase, grid: Grid, *, whole: bool, slab: bool, beyond: float = 0.0
) -> tuple[Tensor, Tensor]:
    """A crop of a case.

    Args:
        rng: source of chance.
        case: the patient.
        grid: from `bend`.
        whole: the case has slices above and below the organ, and most crops are to show those.
        slab: the case is cut down to the organ's surroundings, so crops stay near it.
        beyond: share of the crops that `emptied` makes of slices near the organ's ends.

    Returns:
        HU of five slices (5, rows, columns) and labels uint8 (rows, columns).
    """
    has = np.flatnonzero(case.pancreas.any((1, 2)))
    on_organ = has.size > 0 and rng.random() < (0.4 if whole else 0.85)
    index = int(rng.choice(has)) if on_organ else int(rng.integers(len(case.heights)))
    empty = beyond > 0 and rng.random() < beyond
    if empty:
        index = _near_an_end(rng, case, index)
    row, column = _centre(rng, case, index, near=slab or rng.random() < 0.65)
    height, width = case.ct.shape[1:]
    x, y = grid
    places = torch.stack(
        [(x * PIXEL_MM + column) / width * 2 - 1, (y * PIXEL_MM + row) / height * 2 - 1], -1
    )[None].float()  # fmt: skip
    chosen = case.neighbours(index, rng.uniform(*DISTANCE_MM))
    planes, truth = emptied(case, chosen) if empty else (case.ct[chosen], case.labels[index])
    slices = torch.from_numpy(planes.astype(np.float32))[None]
    if rng.random() < 0.35:  # pixels averaged two by two, as some archives keep them
        small = F.avg_pool2d(slices, 2, ceil_mode=True)
        slices = F.interpolate(small, size=(height, width), mode="bilinear")
    hu = F.grid_sample(slices, places, align_corners=False)[0]
    # Sampled as its complement: what lies outside comes out as 0, which is then UNKNOWN.
    known = torch.from_numpy((UNKNOWN - truth).astype(np.float32))[None, None]
    labels = UNKNOWN - F.grid_sample(known, places, mode="nearest", align_corners=False)[0, 0]
    return hu, labels.to(torch.uint8)


def emptied(case: SliceCase, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Slices whose pancreas has become fat, and the middle one's labels: what lies beyond the organ, of real patients.

    No manual slice above or below the pancreas exists in the sparse cohort, and a network that never saw one finds a
    pancreas in every slice. Fat is 0 in the common window.
    """
    planes = case.ct[list(indices)].copy()
    for plane, index in zip(planes, indices, strict=True):
        plane[ndimage.binary_dilation(case.labels[index] == PANCREAS, iterations=3)] = 0
    labels = case.labels[indices[len(indices) // 2]]
    return planes, np.where(labels == PANCREAS, OTHER, labels).astype(np.uint8)


def _near_an_end(rng: np.random.Generator, case: SliceCase, index: int) -> int:
    """A slice that shows little of the organ, mostly; else ``index``."""
    small = np.flatnonzero(case.pancreas.sum((1, 2)) < SMALL_MM2)
    return int(rng.choice(small)) if small.size and rng.random() < 0.8 else index


def _centre(rng: np.random.Generator, case: SliceCase, index: int, *, near: bool) -> tuple[float, float]:
    """Row and column to crop around: near the organ, or anywhere in the body."""
    here = np.asarray(case.labels[index] == PANCREAS)
    every = np.asarray(case.pancreas.any(0))
    top, bottom, left, right = bounds(np.asarray((case.ct > 30).any(0)))
    if not near:
        high, wide = bottom - top, right - left
        return (
            rng.uniform(top + 0.25 * high, bottom - 0.25 * high),
            rng.uniform(left + 0.2 * wide, right - 0.2 * wide),
        )
    share = rng.random()
    organ = middle(every) if every.any() else ((top + bottom) / 2, (left + right) / 2)
    spot = middle(here) if here.any() else organ
    row, column = (
        a * share + b * (1 - share) + rng.uniform(-r, r) for a, b, r in zip(spot, organ, (30, 45), strict=True)
    )
    return row, column


def scanner(rng: np.random.Generator, hu: Tensor) -> Tensor:
    """Another scanner, contrast phase and dose, ends of a scan; and from HU to network values.

    Args:
        rng: source of chance.
        hu: (5, rows, columns), 0 for all that is darker.

    Returns:
        Network values of the same shape, -1 to 1.
    """
    if rng.random() < 0.4:
        factor = rng.uniform(1.1, 1.6)
        small = F.interpolate(hu[None], (int(SIZE[0] / factor), int(SIZE[1] / factor)), mode="area")
        hu = F.interpolate(small, SIZE, mode="bilinear")[0]
    tissue = hu > 2
    if rng.random() < 0.85:
        gain, offset = math.exp(rng.normal(0, 0.2)), rng.normal(-5, 24)
        hu = torch.where(tissue, (hu - 60) * gain + 60 + offset, hu)
    if rng.random() < 0.25:
        hu = torch.where(tissue, hu + 12 * field(rng, (1, *SIZE), (1, 60, 60)), hu)
    if rng.random() < 0.55:
        hu = hu + _noise(rng, hu)
    hu = hu.clamp(0, 250).clone()
    if rng.random() < 0.2:
        hu[: 2 if rng.random() < 0.5 else 1] = hu[2]
    if rng.random() < 0.2:
        hu[3 if rng.random() < 0.5 else 4 :] = hu[2]
    return hu / MIDDLE_HU - 1


def _noise(rng: np.random.Generator, like: Tensor) -> Tensor:
    """Of 3 to 20 HU, of a sharp or a smooth kernel."""
    noise = torch.randn_like(like) * float(rng.uniform(3, 20))
    return 1.7 * F.avg_pool2d(noise[None], 3, 1, 1)[0] if rng.random() < 0.5 else noise

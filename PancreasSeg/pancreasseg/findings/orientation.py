"""Does the patient lie as the file says? Anatomy knows: spine behind, liver on the right, lungs above."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from pancreasseg.core import Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.findings.blocks import Blocks
from pancreasseg.grids.morphology import filled
from pancreasseg.grids.resample import nearest_axes

_BONE_HU = 180  # a block of a vertebra, of which much is marrow
_FEWEST_BONE = 4  # blocks in a slice
_FEWEST_SLICES = 8
_SPINE_IN_FRONT = 0.25  # at most this share of the slices has its bone behind the middle; 0.78 to 1 in real CTs
_LUNG_HU = (-950, -500)
_LUNG_INSIDE_HU = -930  # parenchyma; gas in the bowel lies below
_LUNG_ML = 300.0
_LUNG_PIECE_ML = 50.0
_LUNGS_BELOW = 0.35  # mean height of the lungs, 0 at the lower end of the scan; 0.77 to 0.97 in real CTs
_ORGAN_HU = (20, 220)
_ORGAN_NOISE_HU = 10
_LIVER_ML = 150.0  # eroded by two blocks
_LIVER_ALONE = 2.0  # times the next largest piece
_LIVER_MIRRORED = 0.45  # share of a liver's mirror image that is as even as an organ; 0.11 to 0.26 in real CTs
_LIVER_BELOW = 0.3  # its height in a scan of the whole abdomen; 0.58 to 0.9 in real CTs
_WHOLE_ABDOMEN_MM = 250.0
_LIVER_LEFT = 0.1  # of the body's width from its middle to the left; -0.16 to -0.25 in real CTs


def wrong_way_round(volume: Volume, blocks: Blocks) -> Iterator[Finding]:
    """Remarks on a patient who lies otherwise than the file says: upside down, back to front or mirrored.

    Whether the header or the order of the voxels is wrong makes no difference. Nothing is said where the spine, the
    lungs or the liver are not seen well. Situs inversus looks like a mirrored patient.

    Args:
        volume: the CT.
        blocks: of the same volume.
    """
    turned = _turned(volume, blocks)
    if not turned.body.any():
        return
    inside = filled(turned.body, slicewise=True)
    spine = _share_with_spine_behind(turned, inside)
    if spine is not None and spine <= _SPINE_IN_FRONT:
        yield _remark("patient-back-to-front", "the spine lies in front", "front and back", spine)
    lungs, liver = _height_of_lungs(turned, inside), _place_of_liver(turned, inside)
    if lungs is not None and lungs <= _LUNGS_BELOW:
        yield _remark("patient-upside-down", "the lungs lie at the lower end", "head and feet", lungs)
    if liver is None:
        return
    height, side = liver
    if lungs is None and height <= _LIVER_BELOW and len(inside) * turned.spacing[0] >= _WHOLE_ABDOMEN_MM:
        yield _remark("patient-upside-down", "the liver lies at the lower end", "head and feet", height)
    if side >= _LIVER_LEFT:
        yield _remark("patient-mirrored", "the liver lies on the left", "left and right", side)


def _remark(code: str, seen: str, axis: str, number: float) -> Finding:
    sentence = (
        f"The patient seems to lie the wrong way round: {seen}. {axis.capitalize()} are probably exchanged in the "
        "file; compare with the original, and trust neither the mask nor its place before."
    )
    return Finding(code, Severity.SERIOUS, sentence, number)


def _turned(volume: Volume, blocks: Blocks) -> Blocks:
    """The blocks with axes along superior, posterior, left."""
    back = tuple(n for n, (_, sign) in enumerate(nearest_axes(volume.geometry, "SPL")) if sign < 0)
    return blocks.flipped(back)


def _share_with_spine_behind(blocks: Blocks, inside: np.ndarray) -> float | None:
    """Share of the slices in which the bone of the body's middle third lies behind its middle."""
    behind = []
    for plane, body, within in zip(blocks.array, blocks.body, inside, strict=True):
        rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            continue
        third = slice(*(columns[0] + (columns[-1] - columns[0]) * np.array([1, 2]) // 3))
        bone = np.argwhere((plane > _BONE_HU)[:, third] & within[:, third])
        if len(bone) >= _FEWEST_BONE:
            behind.append(bone[:, 0].mean() > (rows[0] + rows[-1]) / 2)
    return float(np.mean(behind)) if len(behind) >= _FEWEST_SLICES else None


def _height_of_lungs(blocks: Blocks, inside: np.ndarray) -> float | None:
    """Mean height of the lungs, 0 at the lower and 1 at the upper end of the scan."""
    low, high = _LUNG_HU
    air = inside & ~blocks.body & (blocks.array > low) & (blocks.array < high)
    pieces, count = ndimage.label(air)
    large = 1 + np.flatnonzero(np.bincount(pieces.ravel())[1:] * blocks.ml >= _LUNG_PIECE_ML)
    lungs = np.isin(pieces, large) if count else air
    if np.count_nonzero(lungs) * blocks.ml < _LUNG_ML or np.median(blocks.array[lungs]) < _LUNG_INSIDE_HU:
        return None
    return float(np.argwhere(lungs)[:, 0].mean() / max(len(lungs) - 1, 1))


def _place_of_liver(blocks: Blocks, inside: np.ndarray) -> tuple[float, float] | None:
    """Height of the largest even organ, 0 to 1, and its side, -0.5 at the body's right to 0.5 at its left."""
    mean = ndimage.uniform_filter(blocks.array, 3)
    # Of the means, which hardly know the scan's noise.
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(mean**2, 3) - ndimage.uniform_filter(mean, 3) ** 2, 0))
    low, high = _ORGAN_HU
    even = inside & (mean > low) & (mean < high) & (spread < _ORGAN_NOISE_HU)
    pieces, count = ndimage.label(ndimage.binary_erosion(even, iterations=2))
    sizes = np.bincount(pieces.ravel())[1:]
    if not count or sizes.max() * blocks.ml < _LIVER_ML:
        return None
    if count > 1 and np.partition(sizes, -2)[-2] * _LIVER_ALONE > sizes.max():
        return None
    slices, rows, columns = np.nonzero(pieces == sizes.argmax() + 1)
    body = np.flatnonzero(blocks.body[np.unique(slices)].any(axis=(0, 1)))
    across = body[0] + body[-1] - columns
    if even[slices, rows, np.clip(across, 0, even.shape[2] - 1)].mean() > _LIVER_MIRRORED:
        return None  # the same on both sides: muscle, or a phantom
    height = slices.mean() / max(len(inside) - 1, 1)
    return float(height), float((columns.mean() - body[0]) / max(body[-1] - body[0], 1) - 0.5)

"""Do the slices of a CT belong together? Woven phases, slices of another brightness, slices without a picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pancreasseg.core.finding import Finding, Severity

_EVERY = 4  # pixels looked at along rows and columns
_TISSUE_HU = (-200, 300)  # fat, organs, vessels
_LEVELS = (5, 50, 95)  # percentiles of a slice: air, half of it, and the bright organs or bone
_AIR_BELOW_HU, _BELOW_AIR_HU = -500, -1200
_FEWEST_SLICES = 10
_LEAST_ALTERNATION_HU = 2.0
_LEAST_JUMP_HU = 300.0  # at all levels from one slice to the next, as no anatomy does; a lost intercept makes 1,024
_FLAT_HU = 1.0
_SHOWN = 3


def uneven(array: np.ndarray) -> Iterator[Finding]:
    """Remarks on slices that differ as those of one scan do not.

    Args:
        array: HU, shape (K, J, I).
    """
    looked_at = array[:, ::_EVERY, ::_EVERY]
    flat = np.ptp(looked_at.reshape(len(array), -1), axis=1) <= _FLAT_HU
    yield from _blank(flat)
    yield from _off_scale(looked_at, flat)
    difference = _woven(np.clip(looked_at, *_TISSUE_HU).mean(axis=(1, 2), dtype=float))
    if difference:
        sentence = (
            f"Slices that are {difference:.0f} HU brighter than their neighbours recur regularly: the volume is "
            "probably woven from two or three contrast phases or scans. Give one of them only."
        )
        yield Finding("slices-alternate", Severity.SERIOUS, sentence, difference)


def _blank(flat: np.ndarray) -> Iterator[Finding]:
    """Slices of one value between others with a picture; at the ends they are padding."""
    pictures = np.flatnonzero(~flat)
    if not pictures.size:
        return
    blank = np.flatnonzero(flat[: pictures[-1]])
    blank = blank[blank > pictures[0]]
    if blank.size:
        sentence = (
            f"{blank.size} slice{'s' if blank.size > 1 else ''} within the scan ({_listed(blank)}, counted from 1) "
            "hold no picture. Export or copy the CT again."
        )
        yield Finding("slices-blank", Severity.SERIOUS, sentence, float(blank.size))


def _off_scale(looked_at: np.ndarray, flat: np.ndarray) -> Iterator[Finding]:
    """Neighbours of which one was read on another scale, as without its rescale intercept: all of it is brighter."""
    levels = np.percentile(looked_at.reshape(len(looked_at), -1), _LEVELS, axis=1)
    air_alone = (levels[-1] < _AIR_BELOW_HU) & (levels[0] > _BELOW_AIR_HU)
    pictures = np.flatnonzero(~flat & ~air_alone)
    steps = np.diff(levels[:, pictures], axis=1)
    sizes = np.where((steps > 0).all(axis=0) | (steps < 0).all(axis=0), np.abs(steps).min(axis=0), 0)
    jumps = np.flatnonzero(sizes > _LEAST_JUMP_HU)
    if jumps.size:
        largest = float(sizes.max())
        sentence = (
            f"The brightness jumps by {largest:.0f} HU from one slice to the next (behind slice "
            f"{_listed(pictures[jumps])}, counted from 1): some slices are probably not in HU. Export the CT again."
        )
        yield Finding("slices-off-scale", Severity.SERIOUS, sentence, largest)


def _woven(tissue: np.ndarray) -> float:
    """HU by which every second or third slice is brighter than the others; 0 where there is no such pattern."""
    if len(tissue) < _FEWEST_SLICES:
        return 0.0
    return _every_second(tissue) or _every_third(tissue)


def _every_second(tissue: np.ndarray) -> float:
    steps = tissue[1:-1] - (tissue[:-2] + tissue[2:]) / 2
    steps[1::2] *= -1
    typical = float(np.median(steps))  # the body's ends are steps of their own
    spread = 1.5 * float(np.median(np.abs(steps - typical)))
    return abs(typical) if abs(typical) >= max(_LEAST_ALTERNATION_HU, 2 * spread) else 0.0


def _every_third(tissue: np.ndarray) -> float:
    off = tissue[1:-1] - (tissue[:-2] + tissue[1:-1] + tissue[2:]) / 3
    typical = np.array([np.median(off[start::3]) for start in range(3)])
    spread = 1.5 * float(np.median(np.abs(off - typical[np.arange(len(off)) % 3])))
    difference = float(np.ptp(typical))
    return difference if difference >= max(2 * _LEAST_ALTERNATION_HU, 4 * spread) else 0.0


def _listed(slices: np.ndarray) -> str:
    shown = ", ".join(str(k + 1) for k in slices[:_SHOWN])
    return f"{shown} and others" if len(slices) > _SHOWN else shown

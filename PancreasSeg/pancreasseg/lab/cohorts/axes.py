"""How the axes of a label map lie against its CT: turned copies of an array, and which of them fits the anatomy.

Label maps of public data sets often state an orientation that is not theirs. Whether a label lies on the pancreas can
be seen, though: inside it is soft tissue, while much of what surrounds it is fat, gas or vessel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy import ndimage

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError

_SOFT_HU = (-30.0, 220.0)  # pancreas with the noise of thin slices and some fat between its lobules
_FINE_MM = 2.0  # the comparison needs no finer voxels
_AROUND_MM = (1.0, 7.0)  # the shell compared with the inside: its nearest and farthest distance from the label
_SWAPS = {(0, 1, 2): "", (0, 2, 1): "swap-ij", (1, 0, 2): "swap-jk", (2, 1, 0): "swap-ik"}
_CYCLES = {(1, 2, 0): "cycle-1", (2, 0, 1): "cycle-2"}
_NAMES = {**_SWAPS, **_CYCLES}


@dataclass(frozen=True)
class AxisTurn:
    """A permutation of axes, then flips.

    Attributes:
        order: which stored array axis (0 = slices, 1 = rows, 2 = columns) each axis K, J, I of the result is.
        flipped: whether the result is reversed along K, J, I.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The turned array, a view."""
        return array.transpose(self.order)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the turned array."""
        return tuple(stored[axis] for axis in self.order)

    @property
    def name(self) -> str:
        """``stored``, or what is done, e.g. ``flip-j`` or ``swap-ij-flip-k``."""
        flips = "".join(axis for axis, flip in zip("ijk", self.flipped[::-1], strict=True) if flip)
        parts = [_NAMES[self.order], f"flip-{flips}" if flips else ""]
        return "-".join(part for part in parts if part) or "stored"

    @classmethod
    def named(cls, name: str) -> AxisTurn:
        """The turn of a name.

        Raises:
            InputError: there is no such turn.
        """
        for turn in TURNS:
            if turn.name == name:
                return turn
        raise InputError(
            "no-such-axes",
            f"There is no way to turn a label called {name!r}.",
            'Give "header", "auto", "stored", or axes such as flip-j, flip-ij or swap-ij-flip-k.',
        )


TURNS = tuple(
    AxisTurn(order, flipped)  # type: ignore[arg-type]
    for order in sorted(permutations(range(3)), key=lambda order: order != (0, 1, 2))
    for flipped in product((False, True), repeat=3)
)


@dataclass(frozen=True)
class Fit:
    """How a label lies in a CT.

    Attributes:
        inside: share of the label's voxels that are soft tissue (-30 to 220 HU), 0-1.
        around: the same share between 1 and 7 mm outside.
    """

    inside: float
    around: float

    @property
    def score(self) -> float:
        """Near 0 anywhere but on an organ with fat around it; on a pancreas mostly 0.2 to 0.5."""
        return self.inside - self.around


def fits(
    hu: np.ndarray, geometry: Geometry, label: np.ndarray, turns: Iterable[AxisTurn] = TURNS
) -> dict[AxisTurn, Fit]:
    """How well a label fits a CT under each turn that leaves it the CT's shape.

    Args:
        hu: HU (K, J, I).
        geometry: its grid.
        label: the label as stored, any type, non-zero inside; not empty.
        turns: which to try, by default all 48.
    """
    possible = [turn for turn in turns if turn.shape(label.shape) == hu.shape]
    if not possible:
        return {}
    stored_spacing = _stored_spacing(geometry, possible[0])
    steps = [max(1, round(_FINE_MM / s)) for s in stored_spacing]
    if not label[tuple(slice(None, None, step) for step in steps)].any():
        steps = [1, 1, 1]
    places, inside = _zones(label[tuple(slice(None, None, step) for step in steps)] != 0, stored_spacing, steps)
    places = places * steps
    found = {}
    for turn in possible:
        turned = places[:, turn.order]
        for axis in np.flatnonzero(turn.flipped):
            turned[:, axis] = hu.shape[axis] - 1 - turned[:, axis]
        values = hu[tuple(turned.T)]
        soft = (values >= _SOFT_HU[0]) & (values <= _SOFT_HU[1])
        around = soft[~inside]
        found[turn] = Fit(float(soft[inside].mean()), float(around.mean()) if around.size else 0.0)
    return found


def _stored_spacing(geometry: Geometry, turn: AxisTurn) -> list[float]:
    """Spacing along the array axes of the label as stored; its own header is not to be trusted."""
    along = geometry.spacing[::-1]
    spacing = [0.0, 0.0, 0.0]
    for result, stored in enumerate(turn.order):
        spacing[stored] = along[result]
    return spacing


def _zones(label: np.ndarray, spacing: list[float], steps: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, 3) of the voxels in and around a label, and which of them are inside."""
    fine = [s * step for s, step in zip(spacing, steps, strict=True)]
    reach = max(_AROUND_MM[1], 1.5 * max(fine))
    box = Box.of_mask(label)
    assert box is not None  # noqa: S101 - the caller's label is not empty
    pads = [int(np.ceil(reach / s)) for s in fine]
    start = np.maximum(np.array(box.start[::-1]) - pads, 0)
    stop = np.minimum(np.array(box.stop[::-1]) + pads, label.shape)
    crop = label[tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))]
    away = ndimage.distance_transform_edt(~crop, sampling=fine)
    zone = crop | ((away > _AROUND_MM[0]) & (away <= reach))
    return np.argwhere(zone) + start, crop[zone]

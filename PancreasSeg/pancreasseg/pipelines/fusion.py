"""How several masks become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

METHODS = ("majority", "soft")


@dataclass(frozen=True)
class Fused:
    """The voters' verdict; all arrays have one shape.

    Attributes:
        mask: bool.
        probability: float32, mean of the voters' probabilities.
        agreement: float32, share of the voters that agree with ``mask``.
    """

    mask: np.ndarray
    probability: np.ndarray
    agreement: np.ndarray


@dataclass(frozen=True)
class Opinion:
    """What a segmenter makes of a box; all arrays have the shape of the box.

    Attributes:
        probability: float32, of the pancreas.
        votes: that of each member of an ensemble; () where there is but one opinion.
        labels: uint8, the winning class of the network's card in every voxel; None where nobody asked for more than the
            pancreas.
    """

    probability: np.ndarray
    votes: tuple[np.ndarray, ...] = ()
    labels: np.ndarray | None = None

    def fused(self, threshold: float = 0.5) -> Fused:
        """The verdict, and how many members agree with it."""
        mask = self.probability >= threshold
        return Fused(mask, self.probability, agreement(self.votes or (self.probability,), mask, threshold))


def agreement(votes: Sequence[np.ndarray], mask: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Share of the votes that say what the mask says, float32; all arrays have one shape."""
    agreeing = np.zeros(mask.shape, dtype=np.float32)
    for vote in votes:
        agreeing += (vote >= threshold) == mask
    return agreeing / len(votes)


def fuse(probabilities: Sequence[np.ndarray], method: str = "majority", threshold: float = 0.5) -> Fused:
    """One mask from the probability maps of several voters.

    Args:
        probabilities: maps of one shape, 0 where a voter did not look.
        method: "majority": a voxel belongs to the pancreas when more than half of the voters put it above
            ``threshold`` (Zhao 2019, section 2.2.2; with two voters both must). "soft": when their mean does.
        threshold: on the native grid.

    Raises:
        ValueError: no maps, maps of different shapes, or an unknown method.
    """
    if not probabilities or any(p.shape != probabilities[0].shape for p in probabilities):
        raise ValueError("fusion needs at least one map, all of one shape")
    if method not in METHODS:
        raise ValueError(f"unknown fusion method {method!r}")
    count = len(probabilities)
    votes = np.zeros(probabilities[0].shape, dtype=np.uint8)
    mean = np.zeros(probabilities[0].shape, dtype=np.float32)
    for probability in probabilities:
        votes += probability >= threshold
        mean += probability
    mean /= count
    mask = votes * 2 > count if method == "majority" else mean >= threshold
    return Fused(mask, mean, np.where(mask, votes, count - votes).astype(np.float32) / count)

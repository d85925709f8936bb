"""Axial slices and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

#: Classes of the network, in the order of OBELISK-Net and of the label maps of Gibson (Zenodo 1169361).
CLASSES = (
    "background",
    "spleen",
    "pancreas",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "duodenum",
)
PANCREAS = 2
#: Not the pancreas, and which organ else is not known; or nothing known at all: the loss leaves both out where it must.
OTHER, UNKNOWN = 254, 255
#: HU that every cohort has: some public ones were clipped to this.
WINDOW_HU = (0.0, 250.0)
#: A neighbour farther from where it should lie than this (mm), or than this part of its distance, is none.
NEAR_MM, NEAR_SHARE = 3.5, 0.6


@dataclass(frozen=True)
class SliceCase:
    """One patient's slices, as many as there are, wherever they lie.

    Attributes:
        name: of the patient.
        ct: uint8 HU within `WINDOW_HU`, (slices, rows, columns) at 1 mm; columns to the left, rows to the back.
        labels: uint8 of the same shape: index in `CLASSES`, `OTHER` or `UNKNOWN`.
        heights: mm of each slice, ascending towards the head; gaps may differ.
    """

    name: str
    ct: np.ndarray
    labels: np.ndarray
    heights: np.ndarray

    @classmethod
    def load(cls, path: Path) -> SliceCase:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(path.stem, arrays["ct"], arrays["labels"], arrays["heights"])

    def save(self, folder: Path) -> None:
        """Write ``<name>.npz`` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{self.name}.npz", ct=self.ct, labels=self.labels, heights=self.heights)

    @property
    def pancreas(self) -> np.ndarray:
        """Bool of the pancreas."""
        return np.asarray(self.labels == PANCREAS)

    def pancreas_alone(self) -> SliceCase:
        """The same case without what is known of other organs."""
        return replace(
            self,
            labels=np.where(self.labels < len(CLASSES), np.where(self.pancreas, PANCREAS, OTHER), self.labels).astype(
                np.uint8
            ),
        )

    def neighbours(self, index: int, distance: float) -> list[int]:
        """Slices two and one ``distance`` (mm) below, the slice itself, one and two above; where none is, the inner."""
        inner = [self._near(index, self.heights[index] + side * distance) for side in (-1, 1)]
        outer = [self._near(index, self.heights[index] + 2 * side * distance) for side in (-1, 1)]
        below, above = (far if far != index else near for far, near in zip(outer, inner, strict=True))
        return [below, inner[0], index, inner[1], above]

    def _near(self, index: int, height: float) -> int:
        """The slice nearest to a height, or ``index`` where there is none near enough."""
        nearest = int(np.abs(self.heights - height).argmin())
        reach = max(NEAR_MM, abs(height - self.heights[index]) * NEAR_SHARE)
        return nearest if abs(self.heights[nearest] - height) <= reach else index


def load_group(folder: Path, without: Sequence[str] = ()) -> list[SliceCase]:
    """All cases of a folder, by name."""
    return [SliceCase.load(path) for path in sorted(folder.glob("*.npz")) if path.stem not in without]


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and last-plus-one row and column of a mask (rows, columns) that is not empty."""
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Row and column in the middle of a mask's bounds."""
    top, bottom, left, right = bounds(mask)
    return (top + bottom) / 2, (left + right) / 2

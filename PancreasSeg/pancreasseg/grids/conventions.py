"""How networks that were trained elsewhere were made to see a CT; see `pancreasseg.grids.whole_grid`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMES = ("nnunet", "totalsegmentator")
INTENSITIES = ("window", "z-score", "z-score-nonzero", "unit-range")
#: Slices much thicker than wide are resampled on their own (nnU-Net's value).
ANISOTROPY = 3.0


@dataclass(frozen=True)
class Conventions:
    """How a network was trained to see a CT, where that is not this project's own way.

    Attributes:
        scheme: "nnunet": intensities first, then splines between outer voxel faces. "totalsegmentator": splines between
            the centres of the outer voxels, HU cut to whole numbers, then intensities.
        order: of the spline.
        order_across: of the spline from slice to slice, where that is done apart.
        separate: whether it is; None: where voxels are more than `ANISOTROPY` times longer than wide.
        transposition: the network's axes among z, y, x of the card's orientation.
        dimensions: 3, or 2 for networks that see single slices, which keep their distance.
        intensities: "window" (the card's window, scale and shift), or from the CT itself: "z-score", "z-score-nonzero"
            or "unit-range".
        step: distance of neighbouring tiles as a part of the tile.
        mirror_axes: the network's axes along which it was trained to see mirrored CTs.
    """

    scheme: str = "nnunet"
    order: int = 3
    order_across: int = 0
    separate: bool | None = None
    transposition: tuple[int, int, int] = (0, 1, 2)
    dimensions: int = 3
    intensities: str = "window"
    step: float = 0.5
    mirror_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES or self.intensities not in INTENSITIES or self.dimensions not in (2, 3):
            raise ValueError("no such scheme, intensities or dimensions")
        if not (0 <= self.order <= 5 and 0 <= self.order_across <= 5):
            raise ValueError("splines have an order of 0 to 5")
        if sorted(self.transposition) != [0, 1, 2]:
            raise ValueError("the transposition names each axis once")
        if not set(self.mirror_axes) <= {0, 1, 2} or len(set(self.mirror_axes)) < len(self.mirror_axes):
            raise ValueError("mirror axes are among 0, 1 and 2")
        if not 0.1 <= self.step <= 1:
            raise ValueError("the step of the tiles is 0.1 to 1")

    def as_dict(self) -> dict[str, Any]:
        """The entry of a model card."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

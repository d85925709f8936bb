"""The CT in coarse blocks, for looking at the patient as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from pancreasseg.core import Volume
from pancreasseg.grids.means import block_means
from pancreasseg.grids.resample import nearest_axes

_BLOCK_MM = 4.0
_BODY_HU = -300
_PADDING_HU = -1100  # below air: what scanners write outside the round field of view


@dataclass(frozen=True)
class Blocks:
    """Mean HU of blocks of about 4 mm, which removes most of the noise.

    Attributes:
        array: float32, (slice, row, column) with slices across the patient, whatever the volume's axes are.
        spacing: mm along the same axes.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, volume: Volume) -> Blocks:
        """Average a volume; what does not fill a block at the end of an axis is left out."""
        geometry = volume.geometry
        factors = [
            int(np.clip(round(_BLOCK_MM / s), 1, n)) for s, n in zip(geometry.spacing, geometry.size, strict=True)
        ]
        array = block_means(volume.array, factors).astype(np.float32)
        order = [axis for axis, _ in nearest_axes(geometry, "SPL")]
        steps = [geometry.spacing[axis] * factors[axis] for axis in order]
        return cls(np.transpose(array, [2 - axis for axis in order]), (steps[0], steps[1], steps[2]))

    def flipped(self, axes: tuple[int, ...]) -> Blocks:
        """The same patient with some axes the other way round; the body is not looked for again."""
        if not axes:
            return self
        other = Blocks(np.flip(self.array, axes), self.spacing)
        other.__dict__["body"] = np.flip(self.body, axes)  # where cached_property keeps it
        return other

    @property
    def ml(self) -> float:
        """Volume of a block."""
        return float(np.prod(self.spacing)) / 1000

    @cached_property
    def body(self) -> np.ndarray:
        """Bool: the largest piece of tissue, without table and blankets; lungs are outside."""
        across = np.zeros((3, 3, 3), dtype=bool)
        across[1] = ndimage.generate_binary_structure(2, 1)
        # Continued beyond its border, so that opening does not nibble where the body leaves the image.
        tissue = np.pad(self.array > _BODY_HU, 2, mode="edge")
        tissue = ndimage.binary_opening(tissue, across)[2:-2, 2:-2, 2:-2]
        pieces, count = ndimage.label(tissue)
        return np.asarray(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1) if count else tissue

    def cut_off(self, least_mm: float) -> float:
        """Share of the body's slices in which at least ``least_mm`` of it lie at the image's edge.

        The edge is the border of the slices, or of the round field of view where its outside is padded below -1100 HU.
        """
        inside = np.pad(self.array >= _PADDING_HU, ((0, 0), (1, 1), (1, 1)))
        cross = np.zeros((3, 3, 3), dtype=bool)
        cross[1] = True
        edge = ~ndimage.binary_erosion(inside, cross, border_value=1)[:, 1:-1, 1:-1]
        contact = np.count_nonzero(self.body & edge, axis=(1, 2)) * min(self.spacing[1:])
        slices = np.count_nonzero(self.body.any(axis=(1, 2)))
        return float(np.count_nonzero(contact >= least_mm) / slices) if slices else 0.0

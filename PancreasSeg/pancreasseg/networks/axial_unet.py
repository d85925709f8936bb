"""A 2D U-Net over axial slices that sees the neighbours of each slice (2.5D).

It learns from single labelled slices as they are, where a 3D network would need dense volumes, and runs quickly on
CPUs: batch norm folds into the convolutions. Residual blocks follow He 2016 (arXiv:1512.03385), the rest Ronneberger
2015 (arXiv:1505.04597).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

#: Slices in one pass: with fewer, oneDNN spends its time on bringing the weights into order for each pass; the maps of
#: more do not fit into the caches of CPUs.
CHUNK = 8
#: Pixels that a block sees beyond the one that it answers for.
REACH = 2

#: Rows and columns.
Window = tuple[slice, slice]


class AxialBlock(nn.Module):
    """Two convolutions with batch norm; the input, projected where its shape changes, joins before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.batch1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.batch2 = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.skip: nn.Module = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = F.relu(self.batch1(self.conv1(x)), inplace=True)
        return F.relu(self.batch2(self.conv2(y)).add_(self.skip(x)), inplace=True)


@dataclass(frozen=True)
class _Step:
    """One level of the decoder.

    Attributes:
        seen: rows and columns that are computed.
        right: those of them that the border of ``seen`` does not reach.
    """

    seen: Window
    right: Window

    @classmethod
    def for_window(cls, keep: Window, size: Sequence[int]) -> _Step:
        """``keep`` and as much around it as a block reaches, from an even pixel to an even one."""
        starts = [max(0, span.start - REACH) // 2 * 2 for span in keep]
        stops = [min(edge, -(-(span.stop + REACH) // 2) * 2) for span, edge in zip(keep, size, strict=True)]
        rows, columns = (slice(a, b) for a, b in zip(starts, stops, strict=True))
        down, right = (slice(span.start - a, span.stop - a) for span, a in zip(keep, starts, strict=True))
        return cls((rows, columns), (down, right))


def halved(window: Window) -> Window:
    """A window of even bounds on the next coarser level."""
    rows, columns = (slice(span.start // 2, span.stop // 2) for span in window)
    return rows, columns


class AxialUNet(nn.Module):
    """U-Net for a slice and its neighbours.

    Args:
        slices: channels of the input, one a slice: the slice itself in the middle.
        classes: channels of the output, background included.
        channels: width of each level, finest first; each level halves the one before.
        drop: share of the deepest features left out in training.

    Raises:
        ValueError: an even number of slices, or fewer than two levels.
    """

    #: All of it computes in the type of its weights: half precision needs no autocast.
    one_type = True
    #: It can answer for some rows and columns alone.
    windows = True

    def __init__(
        self,
        slices: int = 5,
        classes: int = 2,
        channels: Sequence[int] = (32, 64, 96, 160, 256),
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        if slices < 1 or slices % 2 == 0 or len(channels) < 2:
            raise ValueError("an axial U-Net needs an odd number of slices and at least two levels")
        inputs = (slices, *channels[:-1])
        self.down = nn.ModuleList(
            AxialBlock(i, o, 1 if level == 0 else 2) for level, (i, o) in enumerate(zip(inputs, channels, strict=True))
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, width, 2, 2) for width, deep in pairwise(channels))
        self.merge = nn.ModuleList(AxialBlock(2 * width, width) for width in channels[:-1])
        self.drop = nn.Dropout2d(drop)
        self.head = nn.Conv2d(channels[0], classes, 1)
        self.half_head = nn.Conv2d(channels[1], classes, 1)
        self.multiple = 2 ** (len(channels) - 1)

    def forward(self, x: Tensor, keep: Window | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of single slices or of volumes.

        Args:
            x: (N, slices, H, W), or (N, slices, D, H, W) whose channels are the neighbours of each of the D slices.
            keep: rows and columns that are asked for; the same logits as those of all, with less to do.

        Returns:
            (N, classes, ...) of the input's size. In training, of single slices only: that, and the logits of the
            second level at half the size.
        """
        keep = keep or (slice(0, x.shape[-2]), slice(0, x.shape[-1]))
        if x.dim() == 4:
            maps = self._maps(self._padded(x), keep)
            full = self.head(maps[0])
            return (full, self.half_head(maps[1])) if self.training else full
        return torch.stack([self._volume(volume, keep) for volume in x])

    def _volume(self, volume: Tensor, keep: Window) -> Tensor:
        """(slices, D, H, W) -> (classes, D, rows, columns), some slices at a time."""
        parts = volume.transpose(0, 1).split(CHUNK)
        return torch.cat([self.head(self._maps(self._padded(part), keep)[0]) for part in parts]).transpose(0, 1)

    def _maps(self, x: Tensor, keep: Window) -> tuple[Tensor, Tensor]:
        """Features of the first level of the decoder, where they are asked for, and of the second."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.drop(skips.pop())
        steps = self._steps(keep, skips)
        half = x = x[(..., *halved(steps[-1].seen))]
        for level, step in reversed(list(enumerate(steps))):
            half = x
            x = self.merge[level](torch.cat((self.up[level](x), skips[level][(..., *step.seen)]), dim=1))
            x = x[(..., *step.right)]
        return x, half

    def _steps(self, keep: Window, skips: Sequence[Tensor]) -> list[_Step]:
        """What the decoder computes on each level, finest first, to know the features of a window."""
        steps: list[_Step] = []
        for level in range(len(self.up)):
            steps.append(_Step.for_window(keep, skips[level].shape[-2:]))
            keep = halved(steps[-1].seen)
        return steps

    def _padded(self, x: Tensor) -> Tensor:
        """Extended by its edge to whole cells of the deepest level, in the layout that CPUs run fastest."""
        high, wide = (-n % self.multiple for n in x.shape[2:])
        return F.pad(x, (0, wide, 0, high), mode="replicate").contiguous(memory_format=torch.channels_last)

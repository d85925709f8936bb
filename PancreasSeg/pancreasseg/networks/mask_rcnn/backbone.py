"""The features of a slice: a residual network (He 2016) and a feature pyramid on it (Lin 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

BLOCKS = ("bottleneck", "basic")
NORMS = ("group", "batch")
STEMS = (2, 4)


def _norm(kind: str, channels: int) -> nn.Module:
    """Group norm does not depend on how few slices fit into a step (Wu 2018: 32 groups; fewer in narrow networks)."""
    if kind == "group":
        return nn.GroupNorm(math.gcd(32, max(1, channels // 4)), channels)
    return nn.BatchNorm2d(channels)


class ConvNorm(nn.Sequential):
    """Convolution (no bias: the norm has one), norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = _norm(norm, outputs)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")


class Residual(nn.Module):
    """Two 3x3 convolutions ("basic"), or 1x1, 3x3, 1x1 through a quarter of the channels ("bottleneck")."""

    def __init__(self, inputs: int, outputs: int, stride: int, kind: str, norm: str) -> None:
        super().__init__()
        if kind == "basic":
            layers = [ConvNorm(inputs, outputs, 3, stride, norm), ConvNorm(outputs, outputs, 3, 1, norm)]
        else:
            inner = max(1, outputs // 4)
            layers = [
                ConvNorm(inputs, inner, 1, 1, norm),
                ConvNorm(inner, inner, 3, stride, norm),
                ConvNorm(inner, outputs, 1, 1, norm),
            ]
        self.layers = nn.ModuleList(layers)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, J, I) -> (N, outputs, ...), each size divided by the stride, rounded up."""
        result = x
        for number, layer in enumerate(self.layers):
            result = layer(result if number == 0 else F.relu(result))
        return F.relu(result + self.shortcut(x))


class Pyramid(nn.Module):
    """Residual network with a feature pyramid: one map a level, all of the same width, and one coarser than them all.

    Args:
        in_channels: channels of the input.
        channels: width of each level, finest first.
        blocks: residual blocks of each level.
        block: "bottleneck" or "basic".
        stem: channels of the first convolution.
        stem_stride: pixels a pixel of the finest level: 4, or 2 for coarse slices.
        norm: "group" or "batch".
        width: channels of the pyramid.

    Raises:
        ValueError: a value that is not one of those offered, or not one of ``blocks`` for each of ``channels``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        blocks: Sequence[int],
        block: str,
        stem: int,
        stem_stride: int,
        norm: str,
        width: int,
    ) -> None:
        super().__init__()
        if block not in BLOCKS or norm not in NORMS or stem_stride not in STEMS:
            raise ValueError(f"block is one of {BLOCKS}, norm one of {NORMS}, stem_stride one of {STEMS}")
        if len(channels) != len(blocks) or not channels:
            raise ValueError(f"{len(channels)} levels need as many numbers of blocks, not {len(blocks)}")
        self.stem = ConvNorm(in_channels, stem, 7, 2, norm)
        self.pooled = stem_stride == 4
        stages, inputs = [], stem
        for level, (outputs, count) in enumerate(zip(channels, blocks, strict=True)):
            stride = 1 if level == 0 else 2
            stages.append(
                nn.Sequential(
                    Residual(inputs, outputs, stride, block, norm),
                    *(Residual(outputs, outputs, 1, block, norm) for _ in range(count - 1)),
                )
            )
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        #: Pixels of the slice a pixel of each level.
        self.strides = tuple(stem_stride * 2**level for level in range(len(channels) + 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, J, I) -> maps (N, width, ...) of the levels, finest first, and the one beyond the last."""
        x = F.relu(self.stem(x))
        if self.pooled:
            x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        merged = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            merged[level] = merged[level] + F.interpolate(merged[level + 1], size=merged[level].shape[2:])
        features = [layer(m) for layer, m in zip(self.output, merged, strict=True)]
        return [*features, F.max_pool2d(features[-1], 1, 2)]

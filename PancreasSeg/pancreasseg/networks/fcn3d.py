"""The 3D fully convolutional network of Roth 2017: a 3D U-Net of valid convolutions.

Roth, Oda et al. 2017, "Hierarchical 3D fully convolutional networks for multi-organ segmentation" (arXiv:1704.06382),
after Çiçek 2016: two 3x3x3 convolutions a level that see no padding, so every output voxel has seen real surroundings
alone. With the published four levels a tile of 132 x 132 x 116 voxels gives 44 x 44 x 28.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class ValidBlock(nn.Sequential):
    """Two valid 3x3x3 convolutions, each with batch norm and ReLU: 4 voxels less along every axis."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__(
            nn.Sequential(nn.Conv3d(inputs, middle, 3, bias=False), nn.BatchNorm3d(middle), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv3d(middle, outputs, 3, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)),
        )


class FCN3d(nn.Module):
    """3D U-Net of valid convolutions.

    While training, or with ``padded`` off, the output is smaller than the input by `margin` voxels at every face. Else
    the input's edge is repeated so far that the output has the input's size.

    Args:
        in_channels: channels of the input.
        classes: channels of the output, background included.
        channels: of the first convolution of each level, finest first; the second has twice as many (published: 32-64,
            64-128, 128-256, 256-512).

    Raises:
        ValueError: less than two levels.
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, channels: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError("at least two levels are needed")
        self.padded = True
        self.levels = len(channels)
        before = (in_channels, *(2 * width for width in channels[:-1]))
        self.down = nn.ModuleList(ValidBlock(n, w, 2 * w) for n, w in zip(before, channels, strict=True))
        lower = range(self.levels - 1)
        # A level's output has as many channels as its skip connection, 2w; the bottom's has 2w as well.
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(2 * channels[n + 1], 2 * channels[n + 1], 2, stride=2) for n in lower
        )
        self.merge = nn.ModuleList(
            ValidBlock(2 * channels[n + 1] + 2 * channels[n], 2 * channels[n], 2 * channels[n]) for n in lower
        )
        self.head = nn.Conv3d(2 * channels[0], classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight)

    @property
    def margin(self) -> int:
        """Voxels that the output lacks at every face; 44 for the published four levels."""
        return _lost(self.levels) // 2

    def tile(self, output: int) -> int:
        """The smallest input size along one axis whose output has at least ``output`` voxels."""
        bottom = 1
        while _input(bottom, self.levels) - 2 * self.margin < output:
            bottom += 1
        return _input(bottom, self.levels)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, A, B, C) for an input of shape (N, in_channels, A, B, C); see above for the sizes."""
        if self.training or not self.padded:
            return self.valid(x)
        m = self.margin
        return self.valid(F.pad(x, (m,) * 6, mode="replicate"))

    def valid(self, x: Tensor) -> Tensor:
        """Logits of the voxels at least `margin` away from every face.

        Sizes that do not suit the poolings are extended at their ends by repeating the edge.

        Raises:
            ValueError: the input is not larger than twice the margin.
        """
        wanted = [n - 2 * self.margin for n in x.shape[2:]]
        if min(wanted) < 1:
            raise ValueError(f"inputs need more than {2 * self.margin} voxels along every axis")
        missing = [self.tile(w) - n for w, n in zip(wanted, x.shape[2:], strict=True)]
        if any(missing):
            x = F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for level in reversed(range(self.levels - 1)):
            x = self.up[level](x)
            x = self.merge[level](torch.cat((x, _middle(skips[level], x)), dim=1))
        return self.head(x)[:, :, : wanted[0], : wanted[1], : wanted[2]]


def _middle(x: Tensor, like: Tensor) -> Tensor:
    """The middle of a map, as large as another."""
    a, b, c = ((n - m) // 2 for n, m in zip(x.shape[2:], like.shape[2:], strict=True))
    i, j, k = like.shape[2:]
    return x[:, :, a : a + i, b : b + j, c : c + k]


def _lost(levels: int) -> int:
    """Voxels lost along an axis: 4 at the bottom; above it 4 down, 4 up and twice what is lost below."""
    return 4 if levels == 1 else 8 + 2 * _lost(levels - 1)


def _input(bottom: int, levels: int) -> int:
    """Input size along an axis for ``bottom`` voxels after the deepest block."""
    size = bottom + 4
    for _ in range(levels - 1):
        size = 2 * size + 4
    return size

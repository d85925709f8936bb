"""OBELISK-Net and the plain U-Net that it was compared with (Heinrich, Oktay, Bouteldja 2019, Medical Image Analysis).

OBELISK-Net replaces the deep levels of a U-Net by two sparse layers: the smoothed input is sampled at learned offsets
around every point of a coarse grid, and 1x1x1 convolutions make features of the samples. The names of the parameters
are those of the published weights. Spatial axes are (x, y, z) of orientation LAI; the published weights want 144
voxels along each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class _NamedLayers(nn.Module):
    """Convolutions ``conv<name>`` with batch norms ``batch<name>`` and one leaky slope."""

    slope: float

    def _add(self, name: str, inputs: int, outputs: int, stride: int = 1) -> None:
        self.add_module(f"conv{name}", nn.Conv3d(inputs, outputs, 3, stride, 1))
        self.add_module(f"batch{name}", nn.BatchNorm3d(outputs))

    def _layer(self, name: str, x: Tensor) -> Tensor:
        x = self.get_submodule(f"batch{name}")(self.get_submodule(f"conv{name}")(x))
        return F.leaky_relu(x, self.slope, inplace=True)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=False)


class ObeliskHybrid(_NamedLayers):
    """OBELISK-Net, the hybrid of a shallow convolutional path and two sparse layers; 229,217 parameters.

    Args:
        classes: channels of the output, background included.
    """

    slope = 0.025

    def __init__(self, classes: int = 9) -> None:
        super().__init__()
        self._add("0", 1, 4)
        self._add("1", 4, 16, stride=2)
        self._add("11", 16, 16)
        self._add("2", 16, 32, stride=2)
        self._add("22", 32, 32)
        self._add("3", 32, 32)
        # Offsets in grid_sample's units (the input spans -1..1) and order (last axis first).
        self.offset1 = nn.Parameter(torch.randn(1, 128, 1, 1, 3) * 0.05)
        self.offset2 = nn.Parameter(torch.randn(1, 512, 1, 1, 3) * 0.05)
        self._add_sparse("1", samples=128, groups=2, outputs=16)
        self._add_sparse("2", samples=512, groups=4, outputs=32)
        self._add("6bU", 64, 32)
        self._add("6U", 64, 12)
        self._add("7U", 16, classes)
        self.conv77U = nn.Conv3d(classes, classes, 1)

    def _add_sparse(self, name: str, samples: int, groups: int, outputs: int) -> None:
        self.add_module(f"linear{name}a", nn.Conv3d(samples, 128, 1, groups=groups, bias=False))
        width = 128
        for before, layer in zip("abc", "bcd", strict=True):
            self.add_module(f"batch{name}{before}", nn.BatchNorm3d(width))
            self.add_module(f"linear{name}{layer}", nn.Conv3d(width, 32, 1, bias=False))
            width += 32
        self.add_module(f"batch{name}d", nn.BatchNorm3d(width))
        self.add_module(f"linear{name}e", nn.Conv3d(width, outputs, 1, bias=False))

    def _sparse(self, name: str, image: Tensor, offsets: Tensor, size: Sequence[int]) -> Tensor:
        """Sample ``image`` around a grid of ``size`` points; three densely connected 1x1x1 layers on the samples."""
        samples = sample_moved(image, offsets, size)
        x = F.leaky_relu(self.get_submodule(f"linear{name}a")(samples), self.slope, inplace=True)
        for before, layer in zip("abc", "bcd", strict=True):
            norm, linear = self.get_submodule(f"batch{name}{before}"), self.get_submodule(f"linear{name}{layer}")
            x = torch.cat((x, F.leaky_relu(linear(norm(x)), self.slope, inplace=True)), dim=1)
        x = self.get_submodule(f"linear{name}e")(self.get_submodule(f"batch{name}d")(x))
        return F.leaky_relu(x, self.slope, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, X, Y, Z) for HU / 1024 + 1 of shape (N, 1, X, Y, Z)."""
        smooth = F.avg_pool3d(x, 3, stride=1, padding=1)
        smoother = F.avg_pool3d(smooth, 3, stride=1, padding=1)
        full = self._layer("0", x)
        half = self._layer("11", self._layer("1", full))
        quarter = self._layer("3", self._layer("22", self._layer("2", half)))
        a, b, c = quarter.shape[2:]
        sparse1 = self._sparse("1", smooth, self.offset1, (a, b, c))
        # The second grid is halved along the first and last axis only, as in the published network.
        sparse2 = self._sparse("2", smoother, self.offset2, (max(a // 2, 1), b, max(c // 2, 1)))
        x = self._layer("6bU", torch.cat((quarter, _enlarge(sparse2, quarter)), dim=1))
        x = self._layer("6U", torch.cat((_enlarge(x, half), _enlarge(sparse1, half), half), dim=1))
        x = self._layer("7U", torch.cat((_enlarge(x, full), full), dim=1))
        return self.conv77U(x)


def sample_moved(image: Tensor, offsets: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear samples of a one-channel image.

    Args:
        image: (N, 1, X, Y, Z).
        offsets: (1, samples, 1, 1, 3).
        size: points of the regular grid along each axis, from border to border.

    Returns:
        (N, samples, *size); 0 outside the image.
    """
    batch, count = image.shape[0], offsets.shape[1]
    lines = [torch.linspace(-1, 1, n, device=image.device, dtype=offsets.dtype) for n in size]
    first, second, third = torch.meshgrid(*lines, indexing="ij")
    grid = torch.stack((third, second, first), dim=-1).reshape(1, 1, -1, 1, 3)
    points = (grid + offsets).expand(batch, -1, -1, -1, -1)
    # PyTorch 0.4, with which the weights were trained, knew only align_corners=True.
    samples = F.grid_sample(image.to(points.dtype), points, mode="bilinear", padding_mode="zeros", align_corners=True)
    return samples.reshape(batch, count, *size)


class ObeliskUNet(_NamedLayers):
    """The all-convolutional U-Net of the same paper; 883,740 parameters.

    Its published code keeps 3D dropout switched on at inference; here there is none.

    Args:
        classes: channels of the output, background included.
    """

    slope = 0.1
    _WIDTHS = (5, 14, 28, 42, 56, 70)
    _DECODER = ("6dU", "6cU", "6bU", "6U", "7U")

    def __init__(self, classes: int = 9) -> None:
        super().__init__()
        widths = self._WIDTHS
        self._add("0", 1, widths[0])
        for level in range(1, len(widths)):
            self._add(f"{level}", widths[level - 1], widths[level], stride=2)
            self._add(f"{level}{level}", widths[level], widths[level])
        deep = widths[-1]
        for name, skip in zip(self._DECODER, reversed(widths[:-1]), strict=True):
            outputs = classes if name == "7U" else skip
            self._add(name, deep + skip, outputs)
            deep = outputs
        self.conv77U = nn.Conv3d(classes, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, X, Y, Z) for HU of shape (N, 1, X, Y, Z)."""
        maps = [self._layer("0", x)]
        for level in range(1, len(self._WIDTHS)):
            maps.append(self._layer(f"{level}{level}", self._layer(f"{level}", maps[-1])))
        x = maps.pop()
        for name in self._DECODER:
            skip = maps.pop()
            x = self._layer(name, torch.cat((_enlarge(x, skip), skip), dim=1))
        return self.conv77U(x)

"""A 3D U-Net: plain or residual encoder, instance or batch norm, deep supervision, any input size.

The plain network with instance norm is that of nnU-Net (Isensee 2021, Nature Methods 18:203); with a residual encoder
it is the ResEnc variant (Isensee 2024, arXiv:2404.09556). Batch norm suits CPUs: at inference it folds into the
convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Size = int | Sequence[int]

BLOCKS = ("plain", "residual")
NORMS = ("instance", "batch")
UPSAMPLINGS = ("transposed", "linear")


def _triple(value: Size) -> tuple[int, int, int]:
    """One number for all axes, or one along each of the tensor's three spatial axes."""
    sizes = (value,) * 3 if isinstance(value, int) else tuple(int(v) for v in value)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"{value!r} is neither a positive number nor three of them")
    return (sizes[0], sizes[1], sizes[2])


def _same(size: tuple[int, int, int]) -> tuple[int, int, int]:
    """The padding that keeps the size for odd kernels."""
    a, b, c = (n // 2 for n in size)
    return (a, b, c)


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    return nn.BatchNorm3d(channels)


class ConvNormAct(nn.Sequential):
    """Convolution (no bias: the norm has one), norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: Size, norm: str, slope: float) -> None:
        size = _triple(kernel)
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, size, _triple(stride), _same(size), bias=False)
        self.norm = _norm(norm, outputs)
        self.act = nn.LeakyReLU(slope, inplace=True)


class ResidualBlock(nn.Module):
    """Two convolutions with norms; the input, projected where its shape changes, joins before the last activation."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: Size, norm: str, slope: float) -> None:
        super().__init__()
        size, step = _triple(kernel), _triple(stride)
        self.first = ConvNormAct(inputs, outputs, size, step, norm, slope)
        self.conv = nn.Conv3d(outputs, outputs, size, 1, _same(size), bias=False)
        self.norm = _norm(norm, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or step != (1, 1, 1):
            self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, step, bias=False), _norm(norm, outputs))
        self.act = nn.LeakyReLU(slope, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, ...) -> (N, outputs, ...), each spatial size divided by the stride, rounded up."""
        return self.act(self.norm(self.conv(self.first(x))) + self.shortcut(x))


class UpBlock(nn.Module):
    """Brings the deeper map to the size of the skip connection, joins both, two convolutions."""

    def __init__(
        self, deep: int, skip: int, kernel: Size, stride: Size, norm: str, slope: float, upsampling: str, convs: int
    ) -> None:
        super().__init__()
        self.interpolate = upsampling == "linear"
        step = _triple(stride)
        # A 1x1 convolution and linear interpolation commute; reducing the channels first is the cheaper order.
        self.up: nn.Module = (
            nn.Conv3d(deep, skip, 1, bias=False)
            if self.interpolate
            else nn.ConvTranspose3d(deep, skip, step, step, bias=False)
        )
        self.convs = nn.Sequential(
            ConvNormAct(2 * skip, skip, kernel, 1, norm, slope),
            *(ConvNormAct(skip, skip, kernel, 1, norm, slope) for _ in range(convs - 1)),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, deep, small) and (N, skip, large) -> (N, skip, large)."""
        x = self.up(x)
        d, h, w = skip.shape[2:]
        if self.interpolate:
            x = F.interpolate(x, size=(d, h, w), mode="trilinear", align_corners=False)
        else:
            x = x[:, :, :d, :h, :w]  # an odd size was rounded up on the way down
        return self.convs(torch.cat((x, skip), dim=1))


class UNet3d(nn.Module):
    """3D U-Net for inputs of any size.

    Args:
        in_channels: channels of the input.
        classes: channels of the output, background included.
        channels: width of each level, finest first; one more level for each further entry.
        strides: down-sampling before each level but the first: a number, or three along the tensor's spatial axes.
            Default 2 everywhere.
        kernels: kernel size of each level, odd, given like ``strides``. Default 3 everywhere.
        block: "plain" or "residual" (the encoder's; the decoder is plain).
        norm: "instance" or "batch".
        upsampling: "transposed" (learned) or "linear" (interpolation).
        convs: convolutions a level in encoder and decoder (residual: ``convs // 2`` blocks of two in the encoder).
        deep_supervision: further outputs, of the levels below the finest, that training returns.
        slope: of the leaky ReLU.

    Raises:
        ValueError: arguments that do not make a network.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        channels: Sequence[int] = (16, 32, 64, 128),
        strides: Sequence[Size] | None = None,
        kernels: Sequence[Size] | None = None,
        block: str = "plain",
        norm: str = "instance",
        upsampling: str = "transposed",
        convs: int = 2,
        deep_supervision: int = 0,
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        levels = len(channels)
        steps = [_triple(s) for s in (strides if strides is not None else [2] * (levels - 1))]
        sizes = [_triple(k) for k in (kernels if kernels is not None else [3] * levels)]
        if levels < 1 or len(steps) != levels - 1 or len(sizes) != levels:
            raise ValueError(f"{levels} levels need {levels - 1} strides and {levels} kernels")
        if any(k % 2 == 0 for size in sizes for k in size):
            raise ValueError("kernel sizes must be odd")
        for value, allowed in ((block, BLOCKS), (norm, NORMS), (upsampling, UPSAMPLINGS)):
            if value not in allowed:
                raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        if not 0 <= deep_supervision < levels:
            raise ValueError(f"{levels} levels allow 0 to {levels - 1} deep supervision outputs")
        if convs < 1 or (block == "residual" and convs % 2):
            raise ValueError("convs must be at least 1, and even with residual blocks")

        down = [(1, 1, 1), *steps]
        self._shrink = tuple(math.prod(step[axis] for step in down) for axis in range(3))
        self.encoder = nn.ModuleList()
        for level, width in enumerate(channels):
            inputs = channels[level - 1] if level else in_channels
            make, count = (ResidualBlock, convs // 2) if block == "residual" else (ConvNormAct, convs)
            first = make(inputs, width, sizes[level], down[level], norm, slope)
            rest = (make(width, width, sizes[level], 1, norm, slope) for _ in range(count - 1))
            self.encoder.append(nn.Sequential(first, *rest))
        self.decoder = nn.ModuleList(
            UpBlock(channels[i + 1], channels[i], sizes[i], down[i + 1], norm, slope, upsampling, convs)
            for i in reversed(range(levels - 1))
        )
        self.heads = nn.ModuleList(nn.Conv3d(channels[level], classes, 1) for level in range(deep_supervision + 1))
        self._initialise(slope)

    def _initialise(self, slope: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=slope)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits for an input of shape (N, in_channels, A, B, C).

        Returns:
            (N, classes, A, B, C). While training with deep supervision a list: that, then the outputs of the levels
            below at their own, smaller sizes.
        """
        size = x.shape[2:]
        x = self._padded(x)
        skips: list[Tensor] = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        maps = [skips.pop()]
        for up in self.decoder:
            maps.append(up(maps[-1], skips.pop()))
        maps.reverse()
        logits = self.heads[0](maps[0])[:, :, : size[0], : size[1], : size[2]]
        if self.training and len(self.heads) > 1:
            return [logits, *(head(m) for head, m in zip(list(self.heads)[1:], maps[1:], strict=False))]
        return logits

    def _padded(self, x: Tensor) -> Tensor:
        """Norms have no statistics for a single voxel: an input that would shrink to one is extended by its edge."""
        bottom = [math.ceil(n / s) for n, s in zip(x.shape[2:], self._shrink, strict=True)]
        if math.prod(bottom) > 1:
            return x
        return F.pad(x, (0, 2 * self._shrink[2] - x.shape[4], 0, 0, 0, 0), mode="replicate")

"""The U-Nets of nnU-Net v2, plain and with a residual encoder, in two or three dimensions and of any depth.

Parameters are called as in `dynamic_network_architectures` (Isensee 2021, Nature Methods 18:203; residual encoder:
Isensee 2024, arXiv:2404.09556), so published weights map onto them by name. There every tensor has up to four names
(``all_modules``, ``decoder.encoder``); here each has one, see `own_names`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

NORMS = ("instance", "batch", "none")
ACTIVATIONS = ("leaky-relu", "relu")

Size = int | Sequence[int]
_Value = TypeVar("_Value")

_CONVS: dict[int, tuple[type[nn.Module], type[nn.Module], type[nn.Module]]] = {
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.AvgPool3d),
}


class InstanceNorm(nn.Module):
    """Instance norm with learned scale and shift that keeps the channels-last layout, at any precision."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, ...) -> the same shape."""
        if x.is_cuda:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        # Group norm with one channel a group is the same; on CPUs torch's instance norm copies a channels-last input
        # and takes five times as long.
        return F.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)


class _Style:
    """What all layers of one network share."""

    def __init__(self, dimensions: int, bias: bool, norm: str, eps: float, activation: str, slope: float) -> None:
        if dimensions not in _CONVS:
            raise ValueError("a network has 2 or 3 dimensions")
        if norm not in NORMS or activation not in ACTIVATIONS:
            raise ValueError(f"norms are {', '.join(NORMS)}; activations are {', '.join(ACTIVATIONS)}")
        self.dimensions = dimensions
        self.bias = bias
        self.norm_kind = norm
        self.eps = eps
        self.slope = slope if activation == "leaky-relu" else 0.0
        self.conv_class, self.transposed, self.pool = _CONVS[dimensions]

    def sizes(self, value: Size) -> tuple[int, ...]:
        """One number for all axes, or one along each."""
        sizes = (value,) * self.dimensions if isinstance(value, int) else tuple(int(v) for v in value)
        if len(sizes) != self.dimensions or min(sizes) < 1:
            raise ValueError(f"{value!r} is neither a positive number nor {self.dimensions} of them")
        return sizes

    def conv(self, inputs: int, outputs: int, kernel: Size, stride: Size, bias: bool) -> nn.Module:
        """A convolution that keeps the size but for its stride."""
        size = self.sizes(kernel)
        if any(n % 2 == 0 for n in size):
            raise ValueError("kernel sizes must be odd")
        return self.conv_class(inputs, outputs, size, self.sizes(stride), tuple(n // 2 for n in size), bias=bias)

    def norm(self, channels: int) -> nn.Module:
        """The norm that follows a convolution."""
        if self.norm_kind == "instance":
            return InstanceNorm(channels, self.eps)
        if self.norm_kind == "none":
            return nn.Identity()
        return (nn.BatchNorm3d if self.dimensions == 3 else nn.BatchNorm2d)(channels, eps=self.eps)

    def act(self) -> nn.Module:
        """The activation."""
        return nn.LeakyReLU(self.slope, inplace=True)


class _Unit(nn.Sequential):
    """Convolution, norm, activation (or none)."""

    def __init__(
        self, style: _Style, inputs: int, outputs: int, kernel: Size, stride: Size = 1, *, act: bool = True,
        bias: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = style.conv(inputs, outputs, kernel, stride, style.bias if bias is None else bias)
        self.norm = style.norm(outputs)
        if act:
            self.nonlin = style.act()


class _Stack(nn.Module):
    """Units one after the other, the first with a stride."""

    def __init__(self, style: _Style, count: int, inputs: int, outputs: int, kernel: Size, stride: Size = 1) -> None:
        super().__init__()
        first = _Unit(style, inputs, outputs, kernel, stride)
        self.convs = nn.Sequential(first, *(_Unit(style, outputs, outputs, kernel) for _ in range(count - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class _ResidualBlock(nn.Module):
    """Two convolutions; the input joins before the last activation, average-pooled where there is a stride."""

    def __init__(self, style: _Style, inputs: int, outputs: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.conv1 = _Unit(style, inputs, outputs, kernel, stride)
        self.conv2 = _Unit(style, outputs, outputs, kernel, act=False)
        self.nonlin2 = style.act()
        steps = style.sizes(stride)
        skip: list[nn.Module] = [style.pool(steps, steps)] if max(steps) > 1 else []
        if inputs != outputs:
            skip.append(_Unit(style, inputs, outputs, 1, act=False, bias=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))


class _Blocks(nn.Module):
    """Residual blocks one after the other, the first with a stride."""

    def __init__(self, style: _Style, count: int, inputs: int, outputs: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        first = _ResidualBlock(style, inputs, outputs, kernel, stride)
        self.blocks = nn.Sequential(
            first, *(_ResidualBlock(style, outputs, outputs, kernel, 1) for _ in range(count - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class _Encoder(nn.Module):
    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None) -> None:
        super().__init__()
        if stem is not None:
            self.stem = stem
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        if hasattr(self, "stem"):
            x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class _Decoder(nn.Module):
    def __init__(
        self, style: _Style, channels: Sequence[int], kernels: Sequence[Size], strides: Sequence[Size],
        counts: Sequence[int], classes: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for count, level in zip(counts, reversed(range(len(channels) - 1)), strict=True):
            step, width = style.sizes(strides[level + 1]), channels[level]
            self.transpconvs.append(style.transposed(channels[level + 1], width, step, step, bias=style.bias))
            self.stages.append(_Stack(style, count, 2 * width, width, kernels[level]))
            self.seg_layers.append(style.conv(width, classes, 1, 1, bias=True))

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps.pop()
        for up, stage in zip(self.transpconvs, self.stages, strict=True):
            x = stage(torch.cat((up(x), maps.pop()), dim=1))
        return self.seg_layers[-1](x)


class _UNet(nn.Module):
    """Encoder and decoder; a network of two dimensions takes volumes too, as slices along their first axis."""

    def __init__(self, dimensions: int, encoder: _Encoder, decoder: _Decoder) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, ...) of an input (N, in_channels, ...) whose sizes its strides divide."""
        if self.dimensions == 2 and x.ndim == 5:
            slices = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
            return self.decoder(self.encoder(slices)).unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        return self.decoder(self.encoder(x))


class PlainConvUNet(_UNet):
    """nnU-Net's plain U-Net.

    Args:
        channels: width of each stage, finest first.
        strides: down-sampling before each stage, the first one included: numbers, or one along each axis.
        kernels: odd kernel size of each stage, given like ``strides``.
        convs: convolutions of each stage of the encoder.
        decoder_convs: convolutions of each stage of the decoder, coarsest first.
        classes: channels of the output.
        in_channels: channels of the input.
        dimensions: 2 or 3.
        bias: of the convolutions.
        norm: "instance", "batch" or "none".
        eps: of the norm.
        activation: "leaky-relu" or "relu".
        slope: of the leaky ReLU.

    Raises:
        ValueError: arguments that do not make a network.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Size],
        kernels: Sequence[Size],
        convs: Sequence[int],
        decoder_convs: Sequence[int],
        classes: int,
        in_channels: int = 1,
        dimensions: int = 3,
        bias: bool = True,
        norm: str = "instance",
        eps: float = 1e-5,
        activation: str = "leaky-relu",
        slope: float = 0.01,
    ) -> None:
        style = _Style(dimensions, bias, norm, eps, activation, slope)
        _check(channels, strides, kernels, convs, decoder_convs)
        stages = [
            nn.Sequential(_Stack(style, count, inputs, outputs, kernel, stride))
            for count, inputs, outputs, kernel, stride in zip(
                convs, (in_channels, *channels), channels, kernels, strides, strict=False
            )
        ]
        decoder = _Decoder(style, channels, kernels, strides, decoder_convs, classes)
        super().__init__(dimensions, _Encoder(stages, None), decoder)


class ResidualEncoderUNet(_UNet):
    """nnU-Net's U-Net with a residual encoder.

    Args:
        channels: width of each stage, finest first.
        strides: down-sampling before each stage, the first one included: numbers, or one along each axis.
        kernels: odd kernel size of each stage, given like ``strides``.
        blocks: residual blocks of each stage of the encoder.
        decoder_convs: convolutions of each stage of the decoder, coarsest first.
        classes: channels of the output.
        stem_channels: width of the convolution before the first stage; that of the first stage by default.
        in_channels, dimensions, bias, norm, eps, activation, slope: as for `PlainConvUNet`.

    Raises:
        ValueError: arguments that do not make a network.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Size],
        kernels: Sequence[Size],
        blocks: Sequence[int],
        decoder_convs: Sequence[int],
        classes: int,
        stem_channels: int | None = None,
        in_channels: int = 1,
        dimensions: int = 3,
        bias: bool = True,
        norm: str = "instance",
        eps: float = 1e-5,
        activation: str = "leaky-relu",
        slope: float = 0.01,
    ) -> None:
        style = _Style(dimensions, bias, norm, eps, activation, slope)
        _check(channels, strides, kernels, blocks, decoder_convs)
        width = channels[0] if stem_channels is None else stem_channels
        stages = [
            _Blocks(style, count, inputs, outputs, kernel, stride)
            for count, inputs, outputs, kernel, stride in zip(
                blocks, (width, *channels), channels, kernels, strides, strict=False
            )
        ]
        decoder = _Decoder(style, channels, kernels, strides, decoder_convs, classes)
        super().__init__(dimensions, _Encoder(stages, _Stack(style, 1, in_channels, width, kernels[0])), decoder)


def own_names(state: Mapping[str, _Value], keep: Callable[[str], bool] = lambda _: True) -> dict[str, _Value]:
    """The entries of a state dict of `dynamic_network_architectures` under the names that the networks here use.

    Tensors that stand there several times are taken once; so are prefixes that data parallelism and compilation add.
    """
    own = {}
    for name, value in state.items():
        plain = name.removeprefix("module.").removeprefix("_orig_mod.")
        if ".all_modules." not in plain and not plain.startswith("decoder.encoder.") and keep(plain):
            own[plain] = value
    return own


def _check(
    channels: Sequence[int],
    strides: Sequence[Size],
    kernels: Sequence[Size],
    counts: Sequence[int],
    decoder_counts: Sequence[int],
) -> None:
    stages = len(channels)
    if stages < 2 or {len(strides), len(kernels), len(counts), len(decoder_counts) + 1} != {stages}:
        raise ValueError(f"{stages} stages need as many strides, kernels and counts, and a decoder of {stages - 1}")
    if min(*channels, *counts, *decoder_counts) < 1:
        raise ValueError("widths and counts must be positive")

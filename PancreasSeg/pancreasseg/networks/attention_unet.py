"""Attention U-Net: a 3D U-Net whose skip connections are gated by what the coarser levels have seen.

Oktay, Schlemper et al. 2018, "Attention U-Net: Learning where to look for the pancreas" (arXiv:1804.03999). Grid
attention: the gating signal is the next coarser feature map, not one global vector. The published CT network fuses two
gates a level; the same with more heads is the multi-head variant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pancreasseg.networks.unet3d import NORMS, ConvNormAct


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.InstanceNorm3d(channels, affine=True) if kind == "instance" else nn.BatchNorm3d(channels)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=False)


class AttentionGate(nn.Module):
    """Additive grid attention: alpha = sigmoid(ψᵀ · ReLU(W_x x + W_g g + b_g) + b_ψ), up-sampled to x (equations 1-2).

    W_x is a 2x2x2 convolution of stride 2 without bias; W_g and ψ are 1x1x1. The output is norm(1x1x1 conv(alpha · x)).

    Args:
        skip: channels of x.
        gating: channels of g.
        inner: channels in which both are compared.
        norm: "instance" or "batch".
    """

    def __init__(self, skip: int, gating: int, inner: int, norm: str) -> None:
        super().__init__()
        self.of_skip = nn.Conv3d(skip, inner, 2, stride=2, bias=False)
        self.of_gating = nn.Conv3d(gating, inner, 1)
        self.psi = nn.Conv3d(inner, 1, 1)
        self.out = nn.Sequential(nn.Conv3d(skip, skip, 1), _norm(norm, skip))

    def attention(self, x: Tensor, g: Tensor) -> Tensor:
        """Alpha at the size of x: (N, skip, A, B, C) and (N, gating, smaller) -> (N, 1, A, B, C), 0 to 1."""
        a, b, c = x.shape[2:]
        reduced = self.of_skip(F.pad(x, (0, c % 2, 0, b % 2, 0, a % 2)))  # an odd size loses nothing
        compared = F.relu(reduced + _enlarge(self.of_gating(g), reduced))
        return _enlarge(torch.sigmoid(self.psi(compared)), x)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """The gated features, shaped as x."""
        return self.out(self.attention(x, g) * x)


class AttentionGates(nn.Module):
    """Several gates that look at the same maps with weights of their own, concatenated and fused by 1x1x1."""

    def __init__(self, heads: int, skip: int, gating: int, inner: int, norm: str) -> None:
        super().__init__()
        self.heads = nn.ModuleList(AttentionGate(skip, gating, inner, norm) for _ in range(heads))
        self.fuse = ConvNormAct(heads * skip, skip, 1, 1, norm, 0.0)

    def attention(self, x: Tensor, g: Tensor) -> Tensor:
        """Alpha of every head: (N, heads, A, B, C)."""
        return torch.cat([gate.attention(x, g) for gate in self._gates()], dim=1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """The fused gated features, shaped as x."""
        return self.fuse(torch.cat([gate(x, g) for gate in self._gates()], dim=1))

    def _gates(self) -> list[AttentionGate]:
        return [gate for gate in self.heads if isinstance(gate, AttentionGate)]


class AttentionUNet(nn.Module):
    """Attention U-Net for inputs of any size.

    The finest skip connection has no gate; every other one is gated by the decoder's map below it, the deepest by the
    bottom itself. The logits of all decoder levels are up-sampled, concatenated and fused by a 1x1x1 convolution, which
    is the deep supervision of the published network. Published: 4 poolings, 16 to 256 channels, batch norm.

    Args:
        in_channels: channels of the input.
        classes: channels of the output, background included.
        channels: width of each level, finest first.
        heads: gates a level (published CT network: 2).
        norm: "batch" or "instance".

    Raises:
        ValueError: arguments that do not make a network.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        heads: int = 2,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"{norm!r} is not one of {', '.join(NORMS)}")
        if len(channels) < 2 or heads < 1:
            raise ValueError("at least two levels and one head are needed")

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                ConvNormAct(inputs, outputs, 3, 1, norm, 0.0), ConvNormAct(outputs, outputs, 3, 1, norm, 0.0)
            )

        self.encoder = nn.ModuleList(
            block(before, width) for before, width in zip((in_channels, *channels[:-1]), channels, strict=True)
        )
        self.gating = ConvNormAct(channels[-1], channels[-1], 1, 1, norm, 0.0)
        levels = range(len(channels) - 1)
        self.gates = nn.ModuleDict(
            {str(level): AttentionGates(heads, channels[level], channels[level + 1], channels[level], norm)
             for level in levels if level > 0}
        )  # fmt: skip
        self.up = nn.ModuleList(nn.ConvTranspose3d(channels[n + 1], channels[n], 2, stride=2) for n in levels)
        self.decoder = nn.ModuleList(block(2 * channels[level], channels[level]) for level in levels)
        self.heads = nn.ModuleList(nn.Conv3d(channels[level], classes, 1) for level in levels)
        self.fuse = nn.Conv3d(classes * len(levels), classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, A, B, C) for an input of shape (N, in_channels, A, B, C)."""
        size = x.shape[2:]
        maps, _ = self._decoded(_padded(x))
        scales = [_enlarge(head(m), maps[0]) for head, m in zip(self.heads, maps, strict=True)]
        return self.fuse(torch.cat(scales, dim=1))[:, :, : size[0], : size[1], : size[2]]

    def attention(self, x: Tensor) -> list[Tensor]:
        """Where each gated level looks, coarsest last: (N, heads, A, B, C) at the input's own size, 0 to 1."""
        size = x.shape[2:]
        padded = _padded(x)
        _, inputs = self._decoded(padded)
        result = []
        for level, (skip, signal) in sorted(inputs.items()):
            alpha = _enlarge(self._gate(level).attention(skip, signal), padded)
            result.append(alpha[:, :, : size[0], : size[1], : size[2]])
        return result

    def _gate(self, level: int) -> AttentionGates:
        gate = self.gates[str(level)]
        assert isinstance(gate, AttentionGates)  # noqa: S101 - for the type checker
        return gate

    def _decoded(self, x: Tensor) -> tuple[list[Tensor], dict[int, tuple[Tensor, Tensor]]]:
        """The decoder's maps, finest first, and for each gated level its skip map and gating signal."""
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(F.max_pool3d(x, 2, ceil_mode=True) if skips else x)
            skips.append(x)
        x = signal = self.gating(skips.pop())
        maps: list[Tensor] = []
        inputs: dict[int, tuple[Tensor, Tensor]] = {}
        for level in reversed(range(len(skips))):
            skip = skips[level]
            gated = skip
            if level > 0:
                inputs[level] = (skip, signal)
                gated = self._gate(level)(skip, signal)
            a, b, c = skip.shape[2:]
            # An odd size was rounded up on the way down.
            x = signal = self.decoder[level](torch.cat((gated, self.up[level](x)[:, :, :a, :b, :c]), dim=1))
            maps.insert(0, x)
        return maps, inputs


def _padded(x: Tensor) -> Tensor:
    """At least 32 voxels an axis, so that every level keeps more than one for its norm; the edge is repeated."""
    a, b, c = (max(0, 32 - n) for n in x.shape[2:])
    return F.pad(x, (0, c, 0, b, 0, a), mode="replicate") if a or b or c else x

"""Networks by name, as model cards name them."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from pancreasseg.core.errors import ModelError
from pancreasseg.networks.attention_unet import AttentionUNet
from pancreasseg.networks.axial_unet import AxialUNet
from pancreasseg.networks.fcn3d import FCN3d
from pancreasseg.networks.foreign import OnnxNetwork, TorchScriptNetwork
from pancreasseg.networks.mask_rcnn import MaskRCNN
from pancreasseg.networks.nnunet import PlainConvUNet, ResidualEncoderUNet
from pancreasseg.networks.obelisk import ObeliskHybrid, ObeliskUNet
from pancreasseg.networks.unet3d import UNet3d

_NETWORKS: dict[str, type[nn.Module]] = {
    "unet3d": UNet3d,
    "obelisk-hybrid": ObeliskHybrid,
    "obelisk-unet": ObeliskUNet,
    "attention-unet": AttentionUNet,
    "fcn3d": FCN3d,
    "mask-rcnn": MaskRCNN,
    "axial-unet": AxialUNet,
    "plain-conv-unet": PlainConvUNet,
    "residual-encoder-unet": ResidualEncoderUNet,
    "onnx": OnnxNetwork,
    "torchscript": TorchScriptNetwork,
}

NAMES = tuple(_NETWORKS)


def build(name: str, **arguments: Any) -> nn.Module:
    """A network with fresh weights, in training mode.

    Args:
        name: one of `NAMES`.
        arguments: of its class, as in the card's ``arguments``.

    Raises:
        ModelError: unknown network, or arguments that it does not have or cannot be built with.
    """
    if name not in _NETWORKS:
        raise ModelError(
            "unknown-network",
            f'There is no network "{name}" in this version; it has {", ".join(NAMES)}.',
            "Update PancreasSeg, or use another model package.",
        )
    network = _NETWORKS[name]
    unknown = sorted(set(arguments) - set(inspect.signature(network).parameters))
    if unknown:
        raise ModelError(
            "bad-network-arguments",
            f'The network "{name}" has no argument {", ".join(unknown)}.',
            "The model card was written for another version; update PancreasSeg.",
        )
    try:
        return network(**arguments)
    except ModelError:
        raise
    except Exception as error:  # a network may trip over foreign arguments in any way
        raise ModelError(
            "bad-network-arguments",
            f'The network "{name}" cannot be built from the arguments in the card: {error}.',
            "Correct the card, or install the model package again.",
        ) from error


def _reason(error: Exception) -> str:
    """The first line of what was said, which torch may follow with a page."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


__all__ = [
    "NAMES",
    "AttentionUNet",
    "AxialUNet",
    "FCN3d",
    "MaskRCNN",
    "ObeliskHybrid",
    "ObeliskUNet",
    "PlainConvUNet",
    "ResidualEncoderUNet",
    "UNet3d",
    "build",
]

"""Where a network with attention gates looks, as maps on the CT's own grid."""

from __future__ import annotations

import numpy as np
import torch

from pancreasseg.errors import ModelError
from pancreasseg.networks.attention_unet import AttentionUNet
from pancreasseg.pipelines.base import Stage
from pancreasseg.volume import Box, Volume
from pancreasseg.volume.resample import from_grid


def attention_maps(stage: Stage, volume: Volume, box: Box) -> dict[str, np.ndarray]:
    """The attention coefficients of every gate over a box.

    Args:
        stage: whose network is an `AttentionUNet`; of an ensemble the first member is asked.
        volume: the CT.
        box: the region, for example around the pancreas; the network looks at it in one piece.

    Returns:
        "level 1, head 1" and so on, finest gated level first: float32 of ``box.shape``, 0 to 1.

    Raises:
        ModelError: the network has no attention gates.
    """
    network = stage.predictor.networks[0]
    if not isinstance(network, AttentionUNet):
        raise ModelError(
            "no-attention",
            f'The network "{stage.card.network}" has no attention gates.',
            "Choose a model with the network attention-unet, for example one trained by the recipe oktay2018.",
        )
    array, grid = stage.prepare(volume, box)
    image = torch.from_numpy(np.ascontiguousarray(array))[None, None].to(stage.predictor.hardware.device)
    with torch.inference_mode():
        levels = network.to(image.device).attention(image)
    return {
        f"level {number}, head {head + 1}": from_grid(alpha.float().cpu().numpy(), grid, volume.geometry, box)
        for number, level in enumerate(levels, start=1)
        for head, alpha in enumerate(level[0])
    }

"""Where a network with attention gates looks, as maps on the CT's own grid. Imports no torch before it looks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError, ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Attention

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.pipelines.base import Pipeline, Stage

GATED = "attention-unet"

#: What `AttentionUNet` takes where a card does not say.
CHANNELS = (16, 32, 64, 128, 256)
HEADS = 2


def gated(packages: Iterable[ModelPackage], roles: Collection[str]) -> NetworkCard | None:
    """The network with attention gates among those that play these roles, the last of several; loads no torch."""
    cards = [card for package in packages for card in package.card.networks if card.role in roles]
    return next((card for card in reversed(cards) if map_names(card)), None)


def gated_stage(pipeline: Pipeline) -> Stage:
    """The stage of a pipeline whose network has attention gates, the last of several.

    Raises:
        ModelError: none has.
    """
    for stage in reversed(pipeline.stages):
        if map_names(stage.card):
            return stage
    raise no_attention([package.card.name for package in pipeline.models])


def no_attention(models: Sequence[str]) -> ModelError:
    """The error for models without attention gates."""
    return ModelError(
        "no-attention",
        f'The model "{" + ".join(models)}" has no attention gates, so there are no attention maps.',
        f"Choose a model with the network {GATED}, for example one trained by the recipe oktay2018.",
    )


def map_names(card: NetworkCard) -> tuple[str, ...]:
    """The maps of a network: for each level with gates, finest first, the mean of its heads and every head.

    "level-1-mean", "level-1-head-1", "level-1-head-2", "level-2-mean" and so on. Level 1 is the finest that has gates;
    a network without gates has no maps.
    """
    if card.network != GATED:
        return ()
    levels = len(card.arguments.get("channels", CHANNELS)) - 2
    kinds = ("mean", *(f"head-{head}" for head in range(1, _heads(card) + 1)))
    return tuple(f"level-{level}-{kind}" for level in range(1, levels + 1) for kind in kinds)


def attention_maps(
    stage: Stage, volume: Volume, box: Box, progress: Progress | None = None, *, names: Collection[str] | None = None
) -> Attention:
    """The attention coefficients of the gates over a box.

    The network looks at as much around the box as at training time: its patch. A box larger than that is looked at in
    overlapping patches, blended as probabilities are.

    Args:
        stage: whose network has attention gates; of an ensemble the first member is asked.
        volume: the CT.
        box: the region, for example around the pancreas; clipped to the CT.
        progress: receives progress, notices and cancels.
        names: which of `map_names` to bring to the CT's grid; all by default.

    Raises:
        InputError: the box does not meet the volume, or there is no map of such a name.
        ModelError: the network has no attention gates.
        RunError: out of memory on every rung of the ladder.
        Cancelled: the person cancelled.
    """
    from pancreasseg.grids.resample import from_grid

    known = map_names(stage.card)
    if not known:
        raise no_attention([stage.package.card.name])
    wanted = known if names is None else tuple(name for name in known if name in names)
    if not wanted or (names is not None and set(names) - set(known)):
        raise InputError("unknown-map", "There is no such attention map.", f"Choose among {', '.join(known)}.")
    progress = progress or Progress()
    box = box.clip(volume.geometry)
    if box.voxels == 0:
        raise InputError("box-outside-volume", "The box lies outside the volume.", "Move the box over the pancreas.")
    with progress.stage("attention"):
        array, grid = stage.prepare(volume, _view(stage, volume, box))
        alphas = stage.run(array, progress, members=[0], sliding=True, read=_read)
        heads = _heads(stage.card)
        maps = {}
        for name in wanted:
            level, kind = divmod(known.index(name), heads + 1)
            own = alphas[level * heads : (level + 1) * heads]
            maps[name] = from_grid(own.mean(axis=0) if kind == 0 else own[kind - 1], grid, volume.geometry, box)
    return Attention(box, maps)


def _heads(card: NetworkCard) -> int:
    return int(card.arguments.get("heads", HEADS))


def _read(network: nn.Module, image: Tensor) -> Tensor:
    """The coefficients of all heads of all levels, finest level first: (1, levels * heads, A, B, C)."""
    import torch

    from pancreasseg.networks.attention_unet import AttentionUNet

    assert isinstance(network, AttentionUNet)  # noqa: S101 - for the type checker
    return torch.cat(network.attention(image), dim=1)


def _view(stage: Stage, volume: Volume, box: Box) -> Box:
    """The box with as much around it as the network's patch holds; itself where the network has none."""
    from pancreasseg.grids.resample import nearest_axes

    preprocessing = stage.card.preprocessing
    if preprocessing.patch is None:
        return box
    margin = [0, 0, 0]
    steps = stage.grid(volume.geometry, box).spacing
    axes = nearest_axes(volume.geometry, preprocessing.orientation)
    for (axis, _), voxels, step in zip(axes, preprocessing.patch, steps, strict=True):
        spacing = volume.geometry.spacing[axis]
        margin[axis] = max(0, math.floor((voxels * step / spacing - box.size[axis]) / 2))
    return box.pad(margin, margin).clip(volume.geometry)

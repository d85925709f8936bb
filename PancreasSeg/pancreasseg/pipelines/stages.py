"""A network of a package as the stage that knows how to run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.trained_stage import TrainedStage
from pancreasseg.pipelines.whole_volume import WholeVolumePipeline

if TYPE_CHECKING:
    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.models.package import ModelPackage


def stage_of(package: ModelPackage, card: NetworkCard, hardware: Hardware, role: str | None = None) -> Stage:
    """The stage for a network, ready to run.

    Args:
        package: where the weights come from.
        card: the network.
        hardware: device and precision to begin with.
        role: that it plays; its own by default.

    Raises:
        ModelError: its weights are damaged, or do not fit the network in the card.
    """
    if card.conventions is not None:
        return TrainedStage(package, card, hardware)
    if role == "localizer" and card.role == "whole-volume":
        return LookoutStage(package, card, hardware)
    return Stage(package, card, hardware)


class LookoutStage(Stage):
    """A network that must see the whole upper abdomen, as a localizer: it looks from where it has to."""

    def pancreas(
        self,
        volume: Volume,
        box: Box,  # noqa: ARG002  (it would be cut off from what the network has to see)
        progress: Progress,
        *,
        sliding: bool = False,
    ) -> tuple[np.ndarray, Geometry]:
        """Pancreas probability over the view that the network needs, and its grid."""
        view = WholeVolumePipeline(self).localize(volume, _Within(progress)).box
        return super().pancreas(volume, view, progress, sliding=sliding)


class _Within(Progress):
    """The progress of a step within a step: it is not told apart, but cancel and notices go through."""

    def __init__(self, outer: Progress) -> None:
        super().__init__(notify=outer.notice)
        self._outer = outer

    def check(self) -> None:
        """Raise `Cancelled` when the person has asked to stop."""
        self._outer.check()

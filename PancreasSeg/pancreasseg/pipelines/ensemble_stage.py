"""Several packages as one segmenter: the mean of their probabilities, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.fusion import Opinion

if TYPE_CHECKING:
    from pancreasseg.models.package import ModelPackage


class EnsembleStage(Stage):
    """A soft vote of the segmenters of several packages, each seen to in its own way.

    The first one's card counts, and on its grid the pancreas is given where a grid is asked for; its other classes are
    the ensemble's.

    Args:
        stages: the segmenters.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        self.package = stages[0].package
        self.card = stages[0].card
        self.predictor = stages[0].predictor

    @property
    def packages(self) -> tuple[ModelPackage, ...]:
        """Those of all segmenters."""
        return tuple(package for stage in self.stages for package in stage.packages)

    def pancreas(
        self, volume: Volume, box: Box, progress: Progress, *, sliding: bool = False
    ) -> tuple[np.ndarray, Geometry]:
        """Pancreas probability over ``box`` on the first one's grid; the others do not speak here."""
        return self.stages[0].pancreas(volume, box, progress, sliding=sliding)

    def pancreas_on_box(self, volume: Volume, box: Box, progress: Progress) -> np.ndarray:
        """The mean probability in the volume's own voxels inside ``box``."""
        return self.opinion_on_box(volume, box, progress).probability

    def opinion_on_box(self, volume: Volume, box: Box, progress: Progress, *, structures: bool = False) -> Opinion:
        """The mean probability, each package's vote, and the first one's other classes."""
        progress.extend(len(self.stages) - 1)
        opinions = [stage.opinion_on_box(volume, box, progress, structures=structures) for stage in self.stages]
        votes = tuple(opinion.probability for opinion in opinions)
        return Opinion(np.asarray(np.mean(votes, axis=0), dtype=np.float32), votes, opinions[0].labels)

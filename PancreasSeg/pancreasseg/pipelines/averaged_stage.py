"""A segmenter that looks several times: at other pixel sizes, and at HU a little brighter or darker."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.fusion import Opinion

if TYPE_CHECKING:
    from pancreasseg.models.package import ModelPackage


class AveragedStage(Stage):
    """The mean of what one segmenter sees in several views of a box; each view is a vote.

    The first look is the plain one: its other classes are told, and its grid is given where one is asked for.

    Args:
        stage: the segmenter.
        scales: sizes of its pixels within the slice, as parts of the card's; only for a network with a spacing of its
            own that no conventions bind.
        shifts_hu: what is added to the CT.
    """

    def __init__(self, stage: Stage, scales: Sequence[float] = (), shifts_hu: Sequence[float] = ()) -> None:
        self.stage = stage
        self.package, self.card, self.predictor = stage.package, stage.card, stage.predictor
        self.scaled = [scaled for scaled in (_scaled(stage, scale) for scale in scales) if scaled is not None]
        self.shifts_hu = tuple(shifts_hu)

    @property
    def packages(self) -> tuple[ModelPackage, ...]:
        """Those of the segmenter."""
        return self.stage.packages

    def pancreas(
        self, volume: Volume, box: Box, progress: Progress, *, sliding: bool = False
    ) -> tuple[np.ndarray, Geometry]:
        """Pancreas probability over ``box`` on the network's own grid, seen once."""
        return self.stage.pancreas(volume, box, progress, sliding=sliding)

    def pancreas_on_box(self, volume: Volume, box: Box, progress: Progress) -> np.ndarray:
        """The mean probability in the volume's own voxels inside ``box``."""
        return self.opinion_on_box(volume, box, progress).probability

    def opinion_on_box(self, volume: Volume, box: Box, progress: Progress, *, structures: bool = False) -> Opinion:
        """The mean probability, each view's vote, and the plain look's other classes."""
        progress.extend((len(self.scaled) + len(self.shifts_hu)) * self.predictor.members)
        plain = self.stage.opinion_on_box(volume, box, progress, structures=structures)
        votes = [plain.probability]
        votes += [stage.pancreas_on_box(volume, box, progress) for stage in self.scaled]
        for shift in self.shifts_hu:
            votes.append(self.stage.pancreas_on_box(_shifted(volume, shift), box, progress))
        return Opinion(np.asarray(np.mean(votes, axis=0), dtype=np.float32), tuple(votes), plain.labels)


def _scaled(stage: Stage, scale: float) -> Stage | None:
    """The same network for pixels of another size; None where it cannot be asked for."""
    way = stage.card.preprocessing
    if way.spacing_mm is None or stage.card.conventions is not None or scale == 1:
        return None
    x, y, z = way.spacing_mm
    other = copy(stage)
    other.card = replace(stage.card, preprocessing=replace(way, spacing_mm=(x * scale, y * scale, z)))
    return other


def _shifted(volume: Volume, shift_hu: float) -> Volume:
    """The CT with a constant added, in its own type where that is exact."""
    whole = volume.array.dtype.kind == "i" and float(shift_hu).is_integer()
    return replace(volume, array=volume.array + (volume.array.dtype.type(shift_hu) if whole else np.float32(shift_hu)))

"""Trains a network that finds the organ in axial slices: Mask R-CNN in a recipe, on one fold of a cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pancreasseg.core.errors import InputError
from pancreasseg.inference.hardware import DTYPES, Hardware
from pancreasseg.lab.cohorts import Case, Cohort, Sample
from pancreasseg.lab.training.augmentation import Augmentation, view
from pancreasseg.lab.training.part import PartLoop
from pancreasseg.lab.training.recipes.recipe import Part
from pancreasseg.lab.training.team import ALONE, Team
from pancreasseg.models.package import ModelPackage
from pancreasseg.networks.mask_rcnn import Maps, MaskRCNN, paste

#: Slices of watched cases in one validation, all cases together, and at least so many of each.
WATCHED, WATCHED_EACH = 48, 4
#: Detections of watched slices count from this score.
SCORE = 0.5
_STILL = Augmentation.none()


class SliceLoop(PartLoop):
    """The training of Mask R-CNN on the training cases of a fold.

    A case whose turn it is gives one slice with its neighbours, turned and bent with the whole case around it. Boxes
    and masks to learn from are those of the truth in the middle slice.

    Args:
        part: what to train.
        cohort: where the cases are.
        cases: the training cases of a fold.
        output: folder for checkpoint and log.
        hardware: device and precision.
        team: the processes that train together.
        start: a package whose weights the network begins with.

    Raises:
        InputError: the network wants another number of neighbouring slices, or is none for slices.
    """

    def __init__(
        self,
        part: Part,
        cohort: Cohort,
        cases: Sequence[Case],
        output: Path,
        hardware: Hardware,
        team: Team = ALONE,
        start: ModelPackage | None = None,
    ) -> None:
        super().__init__(part, cohort, cases, output, hardware, team, start)
        wanted = self.network.in_channels if isinstance(self.network, MaskRCNN) else None
        if wanted != part.sampling.size[2] or wanted % 2 == 0:
            raise InputError(
                "bad-setting",
                f"The {part.role} needs examples of an odd number of slices, as many as its network has in_channels.",
                "Set sampling.size and arguments.in_channels together.",
            )

    def example(self, case: Case, augmentation: Augmentation, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Network values (1, slices, J, I) of some slice, and the share of pancreas (1, 1, J, I) in its middle one."""
        sample = self.cohort.sample(case, self.part.grid)
        columns, rows, _ = self.part.sampling.size
        depth, *plane = sample.hu.shape
        if random.random() < self.part.sampling.foreground:
            box = self._box(case, sample)
            place = int(random.integers(box.start[2], box.stop[2]))
        else:
            place = int(random.integers(depth))
        spare = np.maximum(np.array(plane) - (rows, columns), 0) / 2
        j, i = (np.array(plane) - 1) / 2 + random.uniform(-1, 1, 2) * spare
        return self._slice(sample, (place, float(j), float(i)), (rows, columns), augmentation, random)

    def loss(self, outputs: Maps, truth: Tensor, step: int) -> Tensor:
        """The sum of the losses of Mask R-CNN."""
        assert isinstance(self.network, MaskRCNN)  # noqa: S101 - checked when it was made
        random = torch.Generator().manual_seed(self._seed(step))
        with self._autocast():
            losses = self.network.losses(outputs, truth[:, 0], random)
        return torch.stack(list(losses.values())).sum()

    def score(self) -> float:
        """Mean DSC of the watched cases between the masks found in some of their slices and the truth there."""
        return float(np.mean([self._score(case) for case in self.monitored])) if self.monitored else math.nan

    def _score(self, case: Case) -> float:
        sample = self.cohort.sample(case, self.part.grid)
        box = self._box(case, sample)
        depth, *plane = sample.hu.shape
        count = max(WATCHED_EACH, WATCHED // len(self.monitored))
        around = (box.stop[2] - box.start[2]) / 2  # half of the slices lie above and below the organ
        places = np.unique(np.rint(np.linspace(box.start[2] - around, box.stop[2] + around, count)).clip(0, depth - 1))
        middle = ((plane[0] - 1) / 2, (plane[1] - 1) / 2)
        common = total = 0
        for place in places:
            still = np.random.default_rng(0)
            x, truth = self._slice(sample, (int(place), *middle), (plane[0], plane[1]), _STILL, still)
            maps = self.forward(self.average, x)
            assert isinstance(self.average, MaskRCNN)  # noqa: S101 - checked when it was made
            with self._autocast():
                boxes, scores, masks = self.average.detect(maps)[0]
            sure = scores >= SCORE
            found = paste(masks[sure], boxes[sure], plane).cpu() >= 0.5
            wanted = truth[0, 0] >= 0.5
            common += int((found & wanted).sum())
            total += int(found.sum()) + int(wanted.sum())
        return 2 * common / total if total else 1.0

    def _slice(
        self,
        sample: Sample,
        centre: tuple[float, float, float],
        plane: tuple[int, int],
        augmentation: Augmentation,
        random: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:
        count = self.part.sampling.size[2]
        hu, share = view(sample, centre, (count, *plane), augmentation, random)
        values = self.part.preprocessing.normalise(hu)
        return values[None], share[None, count // 2][None]

    def _autocast(self) -> torch.autocast:
        dtype = DTYPES[self.hardware.precision]
        return torch.autocast(self.hardware.device, dtype, enabled=dtype != torch.float32)

    def _seed(self, step: int) -> int:
        random = np.random.default_rng([self.schedule.seed, 5, step, self.team.rank])
        return int(random.integers(2**31))

"""Trains one network of a recipe on one fold of a cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pancreasseg.core import Box
from pancreasseg.core.errors import InputError
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.cohorts import Case, Cohort, Sample
from pancreasseg.lab.training import losses
from pancreasseg.lab.training.augmentation import Augmentation, jittered_box, view_with_organs
from pancreasseg.lab.training.loop import Batch, Loop
from pancreasseg.lab.training.recipes.recipe import Part
from pancreasseg.lab.training.start import start_of
from pancreasseg.lab.training.team import ALONE, Team
from pancreasseg.models.package import ModelPackage
from pancreasseg.networks import build
from pancreasseg.networks.fcn3d import FCN3d

Centre = tuple[float, float, float]
Shape = tuple[int, int, int]

_STILL = Augmentation.none()


class PartLoop(Loop):
    """The training of one network on the training cases of a fold.

    Every epoch sees every case once, in an order of its own. Some of the training cases are kept apart to watch the
    training; the held-out cases of the fold never come here.

    Args:
        part: what to train.
        cohort: where the cases are.
        cases: the training cases of a fold.
        output: folder for checkpoint and log.
        hardware: device and precision.
        team: the processes that train together.
        start: a package whose weights the network begins with, where it has not begun yet; None for fresh ones.

    Raises:
        InputError: that package has no network that fits.
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
        self.part = part
        self.cohort = cohort
        self.cases, self.monitored = split(cases, part.monitored, part.schedule.seed)
        self._boxes: dict[str, Box] = {}
        torch.manual_seed(part.schedule.seed)
        network = build(part.network, **part.network_arguments)
        if start is not None:
            network.load_state_dict(start_of(start, part, network.state_dict()))
        super().__init__(part.role, network, part.schedule, output, hardware, team)
        if isinstance(self.average, FCN3d):
            self.average.padded = False  # watched as it learns: without invented surroundings

    def epoch(self, step: int) -> int:
        """The epoch of a step, both counted from 0."""
        return step * self.schedule.batch * self.team.size // len(self.cases)

    def batch(self, step: int) -> Batch:
        """Augmented views of the cases whose turn it is; stacked where they have one size."""
        pairs = []
        for place in range(self.schedule.batch):
            index = (step * self.team.size + self.team.rank) * self.schedule.batch + place
            random = np.random.default_rng([self.schedule.seed, 1, index])
            epoch, within = divmod(index, len(self.cases))
            order = np.random.default_rng([self.schedule.seed, 2, epoch]).permutation(len(self.cases))
            pairs.append(self.example(self.cases[order[within]], self.part.augmentation, random))
        if len({x.shape for x, _ in pairs}) == 1:
            return [(torch.cat([x for x, _ in pairs]), torch.cat([truth for _, truth in pairs]))]
        return pairs

    def example(self, case: Case, augmentation: Augmentation, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Network values (1, 1, K, J, I) and truth (1, classes, K, J, I) of one view of a case, on the run's device."""
        sample = self.cohort.sample(case, self.part.grid, organs=bool(self.part.organs))
        centre, size = self._place(case, sample, random)
        hu, share, organs = view_with_organs(sample, centre, size, augmentation, random, self.hardware.device)
        values = self.part.preprocessing.normalise(hu)
        truth = self._truth(case, share, organs)[None]
        reach = self.part.sampling.candidate_voxels
        if reach:
            truth = truth * _dilated(truth[0, 0] <= 0.5, reach)
        return values[None, None], truth

    def _truth(self, case: Case, share: Tensor, organs: Tensor | None) -> Tensor:
        """Share of every class, (classes, K, J, I); what is not pancreas belongs to the organ there."""
        part = self.part
        truth = torch.zeros((len(part.classes), *share.shape), device=share.device)
        truth[0] = 1 - share
        if organs is not None and case.organs is not None:
            known = {name: index for index, name in enumerate(part.classes)}
            own = torch.tensor([0, *(known.get(name, 0) for name in case.organs.names)], device=share.device)
            there = own[organs.long()]
            for index in there.unique():
                truth[index] = (1 - share) * (there == index)
        truth[part.pancreas] = share
        return truth

    def loss(self, outputs: Any, truth: Tensor, step: int) -> Tensor:
        """The part's loss, on all levels that the network returns; without the rim that valid convolutions lose."""
        if isinstance(outputs, Tensor):
            truth = _middle(truth, outputs)
        return losses.supervised(self._objective(step), outputs, truth)

    def score(self) -> float:
        """Mean DSC of the pancreas over one plain view of each watched case."""
        found = []
        for case in self.monitored:
            x, truth = self.example(case, _STILL, np.random.default_rng([self.schedule.seed, 3]))
            logits = self.forward(self.average, x).float()
            organ = self.part.pancreas
            mask = logits.softmax(1)[0, organ].cpu() >= 0.5
            reference = _middle(truth, logits)[0, organ].cpu() >= 0.5
            total = int(mask.sum()) + int(reference.sum())
            found.append(2 * int((mask & reference).sum()) / total if total else 1.0)
        return float(np.mean(found)) if found else math.nan

    def _objective(self, step: int) -> losses.Loss:
        settings = self.part.objective
        if settings.loss == "zhao":
            weight = losses.center_weight(self.epoch(step), settings.center_weight, settings.center_epochs)
            return partial(losses.zhao, center=weight, organ=self.part.pancreas)
        plain: dict[str, losses.Loss] = {
            "dice": losses.soft_dice,
            "dice-all": partial(losses.soft_dice, background=True),
            "dice+ce": losses.dice_cross_entropy,
            "weighted-ce": losses.weighted_cross_entropy,
        }
        return plain[settings.loss]

    def _place(self, case: Case, sample: Sample, random: np.random.Generator) -> tuple[Centre, Shape]:
        """Middle (index k, j, i) and size (K, J, I) of the next view of a case."""
        sampling = self.part.sampling
        shape, size = np.array(sample.hu.shape), np.array(sampling.size[::-1])
        spare = np.maximum(shape - size, 0) / 2
        centre = (shape - 1) / 2
        if sampling.kind == "whole":
            centre = centre + random.uniform(-1, 1, 3) * spare
        elif sampling.kind == "patch":
            if random.random() < sampling.foreground:
                centre = np.clip(self._voxel(case, sample, random), centre - spare, centre + spare)
            else:
                centre = centre + random.uniform(-1, 1, 3) * spare
        else:
            box = self._example_box(case, sample, random)
            centre = (np.array(box.start[::-1]) + np.array(box.stop[::-1]) - 1) / 2
            wanted = np.ceil(np.array(box.shape) / sampling.multiple).astype(int) * sampling.multiple
            size = np.minimum(wanted, size)
        return (float(centre[0]), float(centre[1]), float(centre[2])), (int(size[0]), int(size[1]), int(size[2]))

    def _example_box(self, case: Case, sample: Sample, random: np.random.Generator) -> Box:
        """The true box with its margin, jittered where the recipe says so, clipped as the pipeline does."""
        sampling = self.part.sampling
        spacing = sample.geometry.spacing
        margin = [sampling.margin_voxels + round(sampling.margin_mm / s) for s in spacing]
        box = self._box(case, sample).pad(margin, margin)
        if sampling.jitter is not None:
            box = jittered_box(box, spacing, sampling.jitter, random)
        return box.clip(sample.geometry)

    def _voxel(self, case: Case, sample: Sample, random: np.random.Generator) -> np.ndarray:
        """Index (k, j, i) of some voxel of the pancreas; of several organs, half of the times of one of the others."""
        if sample.organs is not None and case.organs is not None and random.random() < 0.5:
            others = [n for n, name in enumerate(case.organs.names, start=1) if name in self.part.organs]
            organ = np.flatnonzero(sample.organs == others[int(random.integers(len(others)))])
            if len(organ):  # a gallbladder may have been removed
                return np.array(np.unravel_index(organ[int(random.integers(len(organ)))], sample.organs.shape))
        box = self._box(case, sample)
        inside = np.argwhere(np.asarray(sample.truth[box.slices]) > 127)
        if len(inside) == 0:
            inside = np.argwhere(np.asarray(sample.truth[box.slices]) > 0)
        return np.asarray(inside[int(random.integers(len(inside)))] + np.array(box.start[::-1]))

    def _box(self, case: Case, sample: Sample) -> Box:
        if case.id not in self._boxes:
            truth = np.asarray(sample.truth)
            box = Box.of_mask(truth > 127) or Box.of_mask(truth)
            if box is None:
                raise InputError(
                    "label-empty", f"The label of case {case.id} is empty.", "Prepare the cohort again without it."
                )
            self._boxes[case.id] = box
        return self._boxes[case.id]


def _dilated(mask: Tensor, reach: int) -> Tensor:
    """A mask (K, J, I) with all voxels up to ``reach`` away along each axis; float (1, 1, K, J, I)."""
    result = mask.float()[None, None]
    for axis in range(3):  # a cube is the same along one axis after the other, and much faster
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * reach + 1, reach
        result = F.max_pool3d(result, kernel, 1, padding)
    return result


def _middle(truth: Tensor, outputs: Tensor) -> Tensor:
    """The middle of a truth, as large as the outputs."""
    a, b, c = ((n - m) // 2 for n, m in zip(truth.shape[2:], outputs.shape[2:], strict=True))
    i, j, k = outputs.shape[2:]
    return truth[:, :, a : a + i, b : b + j, c : c + k]


def split(cases: Sequence[Case], part: float, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Cases to learn from, and cases to watch the training on; groups (copies of a scan) stay together.

    At least one group is watched when ``part`` is above 0 and there are two.
    """
    groups = sorted({case.group for case in cases})
    if part <= 0 or len(groups) < 2:
        return tuple(cases), ()
    count = min(max(1, round(part * len(groups))), len(groups) - 1)
    watched = set(np.random.default_rng([seed, 4]).permutation(groups)[:count].tolist())
    return (
        tuple(case for case in cases if case.group not in watched),
        tuple(case for case in cases if case.group in watched),
    )

"""The training loop: batches from several sources, losses that count only what is known, checkpoints.

A run is described by a `Plan` and kept in one checkpoint file, from which the same call goes on.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset

from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import DTYPES, Hardware
from pancreasseg.io.atomic import atomic_write
from pancreasseg.lab.axial.augmentation import bend, crop, scanner
from pancreasseg.lab.axial.cases import CLASSES, PANCREAS, UNKNOWN, SliceCase
from pancreasseg.lab.axial.synthesis import LabelMaps
from pancreasseg.networks import AxialUNet

_log = logging.getLogger(__name__)

#: Weights of the terms: other organs, and all of them at half the resolution.
ORGANS, HALF = 0.5, 0.4
#: Pixels with organ labels below which their term is weakened: a few must not shout.
FEW_PIXELS = 5000
SAVE_EVERY = 400


@dataclass(frozen=True)
class Source:
    """Where crops come from.

    Attributes:
        weight: share of the crops.
        cases: patients, or maps to synthesise CT of.
        whole: the cases have slices above and below the organ.
        slab: the cases are cut down to the organ's surroundings.
        beyond: share of the crops whose pancreas becomes fat, see `augmentation.emptied`.
    """

    weight: float
    cases: Sequence[SliceCase] | LabelMaps
    whole: bool = False
    slab: bool = False
    beyond: float = 0.0

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Network values (5, rows, columns) and labels (rows, columns)."""
        grid = bend(rng)
        if isinstance(self.cases, LabelMaps):
            hu, labels = self.cases.sample(rng, grid)
        else:
            case = self.cases[int(rng.integers(len(self.cases)))]
            hu, labels = crop(rng, case, grid, whole=self.whole, slab=self.slab, beyond=self.beyond)
        return scanner(rng, hu), labels


@dataclass(frozen=True)
class Plan:
    """How long and how to train.

    Attributes:
        steps: of the optimizer.
        rate: highest learning rate; it rises for ``warm_up`` steps and falls along a cosine.
        batch: crops a step.
        decay: weight decay of AdamW.
        averaging: of the weights that are kept (exponential moving average).
        channels: widths of the network; below 16 the backward pass of torch 2.13 corrupts memory on CPUs.
        seed: of everything that is left to chance.
    """

    steps: int = 3000
    rate: float = 2e-3
    warm_up: int = 100
    batch: int = 8
    decay: float = 1e-3
    averaging: float = 0.997
    channels: tuple[int, ...] = (32, 64, 96, 160, 256)
    seed: int = 1
    weights: dict[str, float] = field(default_factory=dict)


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches from sources by their weights."""

    def __init__(self, sources: Sequence[Source], size: int, seed: int) -> None:
        self.sources, self.size, self.seed = sources, size, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        number = worker.id if worker is not None else 0
        rng = np.random.default_rng((self.seed, number))
        torch.manual_seed(self.seed + 1000 * number)
        weights = np.array([source.weight for source in self.sources], float)
        while True:
            samples = [self._source(rng, weights).sample(rng) for _ in range(self.size)]
            yield torch.stack([x for x, _ in samples]), torch.stack([labels for _, labels in samples])

    def _source(self, rng: np.random.Generator, weights: np.ndarray) -> Source:
        return self.sources[rng.choice(len(weights), p=weights / weights.sum())]


def pancreas_logit(logits: Tensor) -> Tensor:
    """Logit of the pancreas against all else: (N, classes, H, W) -> (N, H, W)."""
    others = torch.cat((logits[:, :PANCREAS], logits[:, PANCREAS + 1 :]), dim=1)
    return logits[:, PANCREAS] - torch.logsumexp(others, dim=1)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice and cross entropy of the pancreas where it is known, cross entropy of the organs where they are.

    Args:
        logits: (N, classes, H, W).
        labels: uint8 (N, H, W), see `SliceCase`.
    """
    logits = logits.float()
    known, truth = (labels != UNKNOWN).float(), (labels == PANCREAS).float()
    score = pancreas_logit(logits)
    share = torch.sigmoid(score) * known
    entropy = F.binary_cross_entropy_with_logits(score, truth, reduction="none") * known
    overlap = (2 * (share * truth).sum((1, 2)) + 20) / (share.sum((1, 2)) + truth.sum((1, 2)) + 20)
    named = labels < len(CLASSES)
    organs = F.cross_entropy(logits, labels.long().where(named, -1), ignore_index=-1, reduction="sum")
    organs = organs / named.sum().clamp(min=FEW_PIXELS)
    return entropy.sum() / known.sum().clamp(min=1) + (1 - overlap).mean() + ORGANS * organs


def weights(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint, to begin another training with."""
    return dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["mean"])


class Training:
    """One network in training.

    Args:
        plan: how to train.
        sources: what on.
        folder: for the checkpoint ``<name>.pt`` and the log ``<name>.jsonl``.
        name: of the run.
        hardware: device and precision.
        start: weights to begin with, where there is no checkpoint yet.
    """

    def __init__(
        self,
        plan: Plan,
        sources: Sequence[Source],
        folder: Path,
        name: str,
        hardware: Hardware,
        start: dict[str, Tensor] | None = None,
    ) -> None:
        self.plan, self.sources, self.hardware = plan, sources, hardware
        self.checkpoint, self.log = folder / f"{name}.pt", folder / f"{name}.jsonl"
        torch.manual_seed(plan.seed)
        self.network, self.mean = (self._built() for _ in range(2))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), plan.rate, weight_decay=plan.decay)
        self.step = 0
        if self.checkpoint.exists():
            self._resume()
        else:
            self.network.load_state_dict(start or self.network.state_dict())
            self.mean.load_state_dict(self.network.state_dict())

    def _built(self) -> AxialUNet:
        network = AxialUNet(classes=len(CLASSES), channels=self.plan.channels).to(self.hardware.device)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.hardware.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def run(self, workers: int = 1, progress: Progress | None = None) -> AxialUNet:
        """Train to the end of the plan.

        Args:
            workers: processes that make crops; 0 makes them here.
            progress: advanced after every step; cancel takes effect there.

        Returns:
            The averaged network.
        """
        if self.step >= self.plan.steps:
            return self.mean.eval()
        batches = Batches(self.sources, self.plan.batch, self.plan.seed * 7919 + self.step)
        began, first, running = time.monotonic(), self.step, 0.0
        for x, labels in DataLoader(batches, batch_size=None, num_workers=workers):
            if self.step >= self.plan.steps:
                break
            value = self.advance(x.to(self.hardware.device), labels.to(self.hardware.device))
            if progress is not None:
                progress.advance()
            running = value if self.step == first + 1 else 0.98 * running + 0.02 * value
            if self.step % 50 == 0:
                self._note(running, (time.monotonic() - began) / (self.step - first))
            if self.step % SAVE_EVERY == 0 or self.step == self.plan.steps:
                self.save()
        return self.mean.eval()

    def advance(self, x: Tensor, labels: Tensor) -> float:
        """One step of the optimizer; the loss."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.network.train()
        dtype = DTYPES[self.hardware.precision]
        with torch.autocast(self.hardware.device, dtype, enabled=dtype != torch.float32):
            full, half = self.network(x)
        value = loss(full, labels) + HALF * loss(half, labels[:, ::2, ::2])
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 3)
        self.optimizer.step()
        self._average()
        return float(value.detach())

    def _rate(self) -> float:
        warm = min(1.0, self.step / self.plan.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.plan.steps))
        return self.plan.rate * warm * (0.99 * cosine + 0.01)

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 - min(self.plan.averaging, self.step / (self.step + 10))
        for kept, now in zip(self.mean.state_dict().values(), self.network.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(now, share)
            else:
                kept.copy_(now)

    def _note(self, value: float, seconds: float) -> None:
        facts: dict[str, Any] = {"step": self.step, "loss": round(value, 4), "seconds": round(seconds, 3)}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
        _log.info("step %d of %d, loss %.3f, %.2f s a step", self.step, self.plan.steps, value, seconds)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "plan": asdict(self.plan),
        }
        with atomic_write(self.checkpoint) as partial:
            torch.save(state, partial)

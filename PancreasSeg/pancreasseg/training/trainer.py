"""The training loop: resumable, logged, with averaged weights."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pancreasseg.networks import build
from pancreasseg.training.cases import Case
from pancreasseg.training.loss import dice, dice_and_cross_entropy

_log = logging.getLogger(__name__)

_OFTEN = 20  # steps between checkpoints, and between looks for new cases

Sampler = Callable[[Case, np.random.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """Everything that trains one network.

    Attributes:
        role: of the network in its package; also the name of its files.
        network, arguments: for `pancreasseg.networks.build`.
        spacing_mm: isotropic voxel size of the input.
        window_hu: HU are clipped to this and mapped to -1 .. 1.
        sampler: an augmented view of a case: HU and share of pancreas, float32 (K, J, I).
        patch: voxels along x, y, z of a sliding window, for pipelines without a localizer.
        steps: optimiser steps, one case each.
        learning_rate: the highest, after the warm-up; falls to zero as a cosine.
        weight_decay: of AdamW.
        averaging: decay of the exponential moving average of the weights, which is what ships.
        seed: of everything random.
        operating_point: probability that the exported network reports as one half. A localizer wants every part of
            the organ in its box and so a low one.
    """

    role: str
    network: str
    arguments: dict[str, Any]
    spacing_mm: float
    window_hu: tuple[float, float]
    sampler: Sampler
    patch: tuple[int, int, int]
    steps: int
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    averaging: float = 0.995
    warm_up: int = 60
    seed: int = 7
    operating_point: float = 0.5

    @property
    def scale(self) -> float:
        """Factor from HU to network values."""
        return 2 / (self.window_hu[1] - self.window_hu[0])

    @property
    def shift(self) -> float:
        """Added after `scale`."""
        return -1 - self.window_hu[0] * self.scale

    def normalise(self, hu: Tensor) -> Tensor:
        """HU to network values, as the card's preprocessing says."""
        return hu.clamp(*self.window_hu) * self.scale + self.shift


class Trainer:
    """Trains the network of a recipe; every `run` continues where the last one, or the last process, stopped.

    Args:
        recipe: what to train.
        cases: folder with cases named as `pancreasseg.training.cases.case_path` says; it may still be filling.
        output: folder for the checkpoint ``<role>.pt`` and the log ``<role>.csv``.
        held_out: seeds of cases for validation; they lie in the same folder and are never trained on.
        bf16: compute in bfloat16 where that is faster; weights stay float32.
    """

    def __init__(self, recipe: Recipe, cases: Path, output: Path, held_out: frozenset[int], *, bf16: bool) -> None:
        self.recipe = recipe
        self.cases = cases
        self.output = output
        self.held_out = held_out
        self.bf16 = bf16
        torch.manual_seed(recipe.seed)
        self.network = build(recipe.network, **recipe.arguments)
        self.average = build(recipe.network, **recipe.arguments).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step = 0
        self._recent: list[float] = []
        if self.checkpoint.exists():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """Where the state of the training lies."""
        return self.output / f"{self.recipe.role}.pt"

    @property
    def log(self) -> Path:
        """Step, seconds, learning rate, mean loss and validation DSC, one line every validation."""
        return self.output / f"{self.recipe.role}.csv"

    @property
    def finished(self) -> bool:
        """All steps done."""
        return self.step >= self.recipe.steps

    def run(self, until: int) -> None:
        """Train up to step ``until`` (at most the recipe's), validate, log and save."""
        until = min(until, self.recipe.steps)
        started, first = time.monotonic(), self.step
        paths: list[Path] = []
        while self.step < until:
            if (self.step - first) % _OFTEN == 0:
                paths = self._training_paths()
                if self.step > first:
                    self.save()
            # A generator a step: resuming draws what an unbroken run would have drawn.
            random = np.random.default_rng([self.recipe.seed, self.step])
            case = Case.load(paths[int(random.integers(len(paths)))])
            self._recent.append(self._update(*self.recipe.sampler(case, random)))
            self.step += 1
        self._record((time.monotonic() - started) / max(1, self.step - first), self.validate(), len(paths))
        self.save()

    def validate(self) -> float:
        """Mean DSC of the averaged weights on one fixed augmented view of each held-out case."""
        scores = []
        for seed in sorted(self.held_out):
            path = self.cases / f"{self.recipe.role}-{seed}.npy"
            hu, share = self.recipe.sampler(Case.load(path), np.random.default_rng([self.recipe.seed, seed]))
            with torch.inference_mode(), self._precision():
                logits = self.average.eval()(self.recipe.normalise(hu)[None, None])
            scores.append(dice(logits.float().softmax(1)[0, 1], share))
        return float(np.mean(scores)) if scores else math.nan

    def _training_paths(self) -> list[Path]:
        paths = sorted(self.cases.glob(f"{self.recipe.role}-*.npy"))
        paths = [path for path in paths if int(path.stem.rsplit("-", 1)[1]) not in self.held_out]
        if not paths:
            raise FileNotFoundError(f"no {self.recipe.role} cases in {self.cases}")
        return paths

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)

    def _update(self, hu: Tensor, share: Tensor) -> float:
        recipe = self.recipe
        done = self.step / recipe.steps
        rate = recipe.learning_rate * min(1.0, (self.step + 1) / recipe.warm_up) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        with self._precision():
            logits = self.network(recipe.normalise(hu)[None, None])
        loss = dice_and_cross_entropy(logits, share[None])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        decay = min(recipe.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)
        return float(loss.detach())

    def _record(self, seconds: float, score: float, cases: int) -> None:
        """Append a line to the log."""
        loss = float(np.mean(self._recent)) if self._recent else math.nan
        self._recent = []
        rate = self.optimiser.param_groups[0]["lr"]
        new = not self.log.exists()
        with self.log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds_per_step", "cases", "learning_rate", "loss", "validation_dsc"])
            writer.writerow([self.step, f"{seconds:.3f}", cases, f"{rate:.2e}", f"{loss:.4f}", f"{score:.4f}"])
        _log.info(
            "%s: step %d of %d, %.2f s a step, %d cases, loss %.3f, validation DSC %.3f",
            self.recipe.role, self.step, self.recipe.steps, seconds, cases, loss, score,
        )  # fmt: skip

    def save(self) -> None:
        """Write the checkpoint, complete or not at all."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])

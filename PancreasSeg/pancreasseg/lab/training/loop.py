"""The training loop: one network, resumable to the same result, logged, with averaged weights and early stop."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pancreasseg.core.errors import RunError
from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import DTYPES, Hardware
from pancreasseg.io.atomic import atomic_write
from pancreasseg.lab.training.team import ALONE, Team

OPTIMISERS = ("adam", "adamw", "sgd")
DECAYS = ("constant", "cosine")
COLUMNS = ("step", "seconds_per_step", "waiting", "learning_rate", "loss", "score")
_LOOK_AHEAD = 3  # batches
_HASHES = 3  # the checkpoint that is being written, the one before it, and the one before that
_STATE = {"step", "network", "average", "optimiser", "scaler", "history", "recent", "best", "best_weights", "stale"}

#: Inputs (n, channels, K, J, I) and truths (n, classes, K, J, I) of one step; several pairs where sizes differ.
Batch = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how one network is optimised.

    Attributes:
        steps: optimiser steps.
        batch: cases a step (and process).
        optimiser: "adam" (weight decay as L2), "adamw" or "sgd" (Nesterov off).
        learning_rate: the highest.
        momentum: of SGD.
        weight_decay: of the optimiser.
        warm_up: steps in which the learning rate rises from 0.
        decay: of the learning rate: "constant", or "cosine" to 0 at the last step.
        averaging: decay of the exponential moving average of the weights, which is what ships; 0 ships the last ones.
        clip: largest norm of the gradient; 0 leaves it.
        every: steps between two validations; each also writes the log and a checkpoint.
        patience: validations without a better score before training stops early and the best weights ship; 0: never.
        seed: of everything random.
    """

    steps: int
    batch: int = 1
    optimiser: str = "adam"
    learning_rate: float = 1e-4
    momentum: float = 0.99
    weight_decay: float = 0.0
    warm_up: int = 0
    decay: str = "constant"
    averaging: float = 0.0
    clip: float = 0.0
    every: int = 100
    patience: int = 0
    seed: int = 7

    def __post_init__(self) -> None:
        for value, allowed in ((self.optimiser, OPTIMISERS), (self.decay, DECAYS)):
            if value not in allowed:
                raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        if min(self.steps, self.batch, self.every) < 1:
            raise ValueError("steps, batch and every must be at least 1")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay == "cosine" else 1.0
        return self.learning_rate * rising * falling


#: What trains most networks where no paper says otherwise: AdamW that warms up and falls as a cosine, averaged weights,
#: clipped gradients.
STEADY = Schedule(
    steps=10_000,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=1e-4,
    warm_up=200,
    decay="cosine",
    averaging=0.999,
    clip=5.0,
    every=500,
)


class Loop(ABC):
    """Trains one network; `run` continues where the last run, or the last process, stopped.

    A subclass says what a step's batch is, what its loss is and how good the network is. Whatever is random in a batch
    must follow from the step's number alone: then a run that was killed ends with the weights of an unbroken one.

    Args:
        name: of the files: the checkpoint ``<name>.pt``, the one before it, their hashes and the log ``<name>.csv``.
        network: with fresh weights.
        schedule: how to optimise it.
        output: folder for the files.
        hardware: device and precision; weights stay float32.
        team: the processes that train together.

    Raises:
        RunError: the checkpoint in ``output`` is damaged, and the one before it too, or belongs to another network.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        schedule: Schedule,
        output: Path,
        hardware: Hardware | None = None,
        team: Team = ALONE,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.output = output
        self.hardware = hardware or Hardware("cpu", "f32")
        self.team = team
        self.network = network.to(self.hardware.device)
        self.average = deepcopy(self.network).requires_grad_(False)
        self.optimiser = _optimiser(self.network, schedule)
        self._scaler = torch.amp.GradScaler(self.hardware.device, enabled=self.hardware.precision == "fp16")
        self.step = 0
        self.history: list[tuple[float, ...]] = []
        self.best = -math.inf
        self._best_weights: dict[str, Tensor] | None = None
        self._stale = 0
        self._recent: list[float] = []
        self._resume()

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """What step ``step`` learns from; called ahead of time in another thread."""

    @abstractmethod
    def loss(self, outputs: Any, truth: Tensor, step: int) -> Tensor:
        """The loss of the network's outputs."""

    @abstractmethod
    def score(self) -> float:
        """How good the averaged weights are now, larger is better; NaN when there is nothing to measure on."""

    @property
    def checkpoint(self) -> Path:
        """Where the state of the training lies."""
        return self.output / f"{self.name}.pt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last one."""
        return self.output / f"{self.name}.previous.pt"

    @property
    def hashes(self) -> Path:
        """The SHA256 of the checkpoints, a line each."""
        return self.output / f"{self.name}.sha256"

    @property
    def log(self) -> Path:
        """A line every validation; its columns are `COLUMNS`."""
        return self.output / f"{self.name}.csv"

    @property
    def finished(self) -> bool:
        """All steps done, or stopped early."""
        return self.step >= self.schedule.steps or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """The score has not become better for too long."""
        return 0 < self.schedule.patience <= self._stale

    def weights(self) -> dict[str, Tensor]:
        """What ships: the averaged weights, those of the best validation when there may be an early stop."""
        return self._best_weights if self._best_weights is not None else self.average.state_dict()

    def run(self, until: int | None = None, progress: Progress | None = None) -> None:
        """Train to the end, or up to step ``until``.

        Raises:
            RunError: the loss is not a number any more.
            OutputError: a checkpoint cannot be written; the one before it is whole.
            Cancelled: the person cancelled; the next run continues from the last checkpoint.
        """
        progress = progress or Progress()
        end = self.schedule.steps if until is None else min(until, self.schedule.steps)
        if self.finished or self.step >= end:
            return
        started, waited, first = time.monotonic(), 0.0, self.step
        with progress.stage(self.name, end - self.step), _Ahead(self.batch, self.step, end) as ahead:
            while self.step < end and not self.finished:
                asked = time.monotonic()
                batch = ahead.next()
                waited += time.monotonic() - asked
                self._recent.append(self._update(batch))
                self.step += 1
                if self.step % self.schedule.every == 0 or self.step == self.schedule.steps:
                    seconds = time.monotonic() - started
                    self._validate(seconds / (self.step - first), waited / seconds)
                    self.save()
                    started, waited, first = time.monotonic(), 0.0, self.step
                progress.advance()
        self.save()

    def forward(self, network: nn.Module, x: Tensor) -> Any:
        """Outputs of a network in the precision of this run."""
        device, dtype = self.hardware.device, DTYPES[self.hardware.precision]
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            return network(x.to(device))

    def _update(self, batch: Batch) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for x, truth in batch:
            loss = self.loss(self.forward(self.network, x), truth.to(self.hardware.device), self.step) / len(batch)
            self._scaler.scale(loss).backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise RunError(
                "loss-not-finite",
                f"The training of the {self.name} failed at step {self.step}: the loss is not a number any more.",
                "Train with a smaller learning rate, or in precision f32 or bf16.",
            )
        self.team.average_gradients(self.network)
        self._scaler.unscale_(self.optimiser)
        if self.schedule.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self._follow()
        return total

    def _follow(self) -> None:
        """Move the averaged weights; early ones are forgotten faster."""
        decay = min(self.schedule.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)

    def _validate(self, seconds: float, waiting: float) -> None:
        self.average.eval()
        with torch.inference_mode():
            score = self.team.from_leader(self.score())
        loss = float(np.mean(self._recent))
        self.history.append((self.step, seconds, waiting, self.schedule.rate(self.step - 1), loss, score))
        self._recent = []
        self._stale += not math.isnan(score)
        if score > self.best:
            self.best, self._stale = score, 0
            if self.schedule.patience:
                self._best_weights = {k: v.detach().clone() for k, v in self.average.state_dict().items()}

    def save(self) -> None:
        """Write the checkpoint and the log, complete or not at all; the checkpoint before is kept.

        Raises:
            OutputError: the disk is full, and the like.
        """
        if not self.team.leads:
            return
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "history": self.history,
            "recent": self._recent,
            "best": self.best,
            "best_weights": self._best_weights,
            "stale": self._stale,
        }
        # Through memory: torch's own writer hides a full disk behind an error of its own.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        hashes = [hashlib.sha256(buffer.getbuffer()).hexdigest(), *self._known_hashes()]
        with atomic_write(self.hashes) as partial:  # first: whichever of the files is there, its hash is known
            partial.write_text("\n".join(hashes[:_HASHES]) + "\n", encoding="ascii")
        with atomic_write(self.checkpoint) as partial:
            partial.write_bytes(buffer.getbuffer())
            if self.checkpoint.exists():
                self.checkpoint.replace(self.previous)
        with atomic_write(self.log) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for step, *numbers in self.history:
                writer.writerow([int(step), *(f"{n:.4g}" for n in numbers)])

    def _resume(self) -> None:
        found = [path for path in (self.checkpoint, self.previous) if path.exists()]
        known = self._known_hashes()
        for path in found:
            state = _read_checkpoint(path, known, self.hardware.device)
            if state is not None:  # else something stronger than us damaged it: the one before is whole
                self._load(state)
                return
        if found:
            raise RunError(
                "bad-checkpoint",
                f"The checkpoints of the {self.name} in {self.output} are damaged.",
                "Remove them to begin anew.",
            )

    def _known_hashes(self) -> list[str]:
        """SHA256 of the checkpoints that may be there, the newest first; none where an older version wrote them."""
        try:
            return self.hashes.read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return []

    def _load(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                "other-checkpoint",
                f"The checkpoint of the {self.name} in {self.output} belongs to another network or recipe.",
                "Choose another output folder, or remove the checkpoint to begin anew.",
            ) from error
        self._scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])
        self.history = [tuple(row) for row in state["history"]]
        self._recent = list(state["recent"])
        self.best, self._stale = float(state["best"]), int(state["stale"])
        self._best_weights = state["best_weights"]


def _read_checkpoint(path: Path, hashes: Sequence[str], device: str) -> dict[str, Any] | None:
    """A whole checkpoint; None for one that is damaged in any way."""
    try:
        content = path.read_bytes()
        if hashes and hashlib.sha256(content).hexdigest() not in hashes:
            return None
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception:  # of any kind: damaged pickles and zips raise whatever comes
        return None
    return state if isinstance(state, dict) and set(state) >= _STATE else None


class _Ahead:
    """Makes the batches of coming steps in another thread, a few more than are wanted now: some take longer.

    Args:
        make: the batch of a step.
        step: the first.
        end: the one after the last.
    """

    def __init__(self, make: Callable[[int], Batch], step: int, end: int) -> None:
        self._make = make
        self._steps = iter(range(step, end))
        self._thread = ThreadPoolExecutor(1)
        self._coming: deque[Future[Batch]] = deque()
        for _ in range(_LOOK_AHEAD):
            self._submit()

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def next(self) -> Batch:
        """The batch of the next step."""
        batch = self._coming.popleft().result()
        self._submit()
        return batch

    def _submit(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            self._coming.append(self._thread.submit(self._make, step))


def _optimiser(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=schedule.momentum, weight_decay=decay)
    kind = torch.optim.Adam if schedule.optimiser == "adam" else torch.optim.AdamW
    return kind(network.parameters(), lr=rate, weight_decay=decay)

"""Progress with the stage and the seconds left, and the place where Cancel takes effect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pancreasseg.core.errors import Cancelled
from pancreasseg.core.finding import Finding


@dataclass(frozen=True)
class Update:
    """One progress event: ``done`` of ``total`` steps of ``stage``.

    ``fraction`` (0-1) and ``seconds_left`` (None while too early to tell) speak of the whole run.
    """

    stage: str
    done: int
    total: int
    fraction: float
    seconds_left: float | None


class Progress:
    """Counts the work of one run.

    A pipeline first calls `plan` with its stages and their relative cost, then enters each with `stage` and calls
    `advance` after every patch. Every call looks whether the person has cancelled and raises `Cancelled` if so.

    Args:
        report: called with every `Update`.
        cancelled: asked between patches; true means stop now.
        notify: called with what the person must know while the run goes on, such as running out of memory.
        clock: seconds, monotonic; replaced in tests.
    """

    def __init__(
        self,
        report: Callable[[Update], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        notify: Callable[[Finding], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._cancelled = cancelled
        self._notify = notify
        self._clock = clock
        self._started = clock()
        self._ahead: dict[str, float] = {}  # relative cost of the stages not finished yet
        self._behind = 0.0  # relative cost of the finished ones
        self._name = ""
        self._done = 0
        self._total = 1
        self.timings: dict[str, float] = {}
        self.notices: list[Finding] = []

    def plan(self, stages: Sequence[tuple[str, float]]) -> None:
        """Announce stages that are to come as (name, relative cost)."""
        for name, cost in stages:
            self._ahead.setdefault(name, cost)

    def check(self) -> None:
        """Raise `Cancelled` when the person has asked to stop."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[None]:
        """Enter a stage of ``total`` steps; its wall time in seconds is added to ``timings[name]``."""
        self._name, self._done, self._total = name, 0, max(total, 1)
        started = self._clock()
        self._emit()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + self._clock() - started
        self._behind += self._ahead.pop(name, 0.0)
        self.check()

    def notice(self, finding: Finding) -> None:
        """Tell the person at once, and keep the finding for the result."""
        self.notices.append(finding)
        if self._notify is not None:
            self._notify(finding)

    def extend(self, steps: int) -> None:
        """Add steps to the present stage: tiles that became smaller, a box that grew."""
        self._total += steps

    def advance(self, steps: int = 1) -> None:
        """Count finished steps of the present stage."""
        self._done = min(self._done + steps, self._total)
        self._emit()

    def _emit(self) -> None:
        self.check()
        if self._report is None:
            return
        planned = self._behind + sum(self._ahead.values())
        here = self._done / self._total
        fraction = (self._behind + self._ahead.get(self._name, 0.0) * here) / planned if planned > 0 else here
        elapsed = self._clock() - self._started
        left = elapsed * (1 - fraction) / fraction if fraction > 0.05 else None
        self._report(Update(self._name, self._done, self._total, fraction, left))

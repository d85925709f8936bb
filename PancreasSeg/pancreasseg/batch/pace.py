"""How fast a cohort goes: cases a minute, and the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_WINDOW = 100  # cases; the pace of late says more about what is left than that of the first hour


class Pace:
    """Counts cases as they come.

    Args:
        total: how many there are.
        clock: seconds, monotonic; replaced in tests.

    Attributes:
        done: cases that came, whatever became of them.
        failed: of them.
        kept: of them, those of an earlier run, which cost next to no time.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = self.failed = self.kept = 0
        self._clock = clock
        self._times = deque([clock()], maxlen=_WINDOW + 1)

    def count(self, *, failed: bool = False, kept: bool = False) -> None:
        """One more case has come."""
        self.done += 1
        self.failed += failed
        self.kept += kept
        if kept:
            self._times[-1] = self._clock() if len(self._times) == 1 else self._times[-1]
        else:
            self._times.append(self._clock())

    @property
    def a_minute(self) -> float | None:
        """Cases a minute, of those that were segmented; None while too early to tell."""
        cases, seconds = len(self._times) - 1, self._times[-1] - self._times[0]
        return 60 * cases / seconds if cases >= 1 and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all are done; None while too early to tell."""
        pace = self.a_minute
        return None if pace is None else 60 * (self.total - self.done) / pace

    def words(self) -> str:
        """``"30.2 a minute, 1 h 05 min left"``; empty while too early to tell."""
        pace, left = self.a_minute, self.seconds_left
        return "" if pace is None or left is None else f"{pace:.1f} a minute, {duration(left)} left"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes + (rest >= 30), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"

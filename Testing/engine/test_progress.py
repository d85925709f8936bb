"""Progress speaks of the whole run and stops when asked."""

import pytest

from pancreasseg.core.errors import Cancelled
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress, Update


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_fraction_and_seconds_left_follow_the_announced_cost() -> None:
    clock, updates = Clock(), []
    progress = Progress(updates.append, clock=clock)
    progress.plan([("coarse", 1.0), ("fine", 3.0)])
    with progress.stage("coarse"):
        clock.now = 2.0
        progress.advance()
    with progress.stage("fine", 2):
        clock.now = 4.0
        progress.advance()
    last: Update = updates[-1]
    assert (last.stage, last.done, last.total) == ("fine", 1, 2)
    assert last.fraction == pytest.approx(2.5 / 4)
    assert last.seconds_left == pytest.approx(4.0 * 1.5 / 2.5)
    assert progress.timings == {"coarse": 2.0, "fine": 2.0}


def test_fraction_never_falls_and_ends_at_one() -> None:
    updates: list[Update] = []
    progress = Progress(updates.append)
    progress.plan([("a", 1.0), ("b", 1.0)])
    for name in ("a", "b"):
        with progress.stage(name, 3):
            for _ in range(3):
                progress.advance()
    fractions = [u.fraction for u in updates]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)


def test_cancel_raises_at_the_next_step() -> None:
    asked = False
    progress = Progress(cancelled=lambda: asked)
    progress.advance()
    asked = True
    with pytest.raises(Cancelled):
        progress.advance()


def test_notices_reach_the_person_and_the_result() -> None:
    told: list[Finding] = []
    progress = Progress(notify=told.append)
    finding = Finding("out-of-memory", Severity.WARNING, "Memory ran out.")
    progress.notice(finding)
    assert told == progress.notices == [finding]

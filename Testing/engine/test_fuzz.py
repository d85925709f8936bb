"""The fuzzer notices what it is there for, and a short run of every target ends without a crash."""

from pathlib import Path

import pytest
from Testing.fuzz.__main__ import main
from Testing.fuzz.apart import fuzz, targets

SEEDS = range(6)  # with the doubles' odds some of them misbehave and some do not


def misbehaving(name: str, **how: float) -> tuple[int, list[int], set[str]]:
    tally = fuzz(f"Testing.helpers.fuzz_double:{name}", inputs=len(SEEDS), **how)
    return tally.tried, [crash.seed for crash in tally.crashes], {crash.what for crash in tally.crashes}


def test_outcomes_are_counted_and_come_again_with_the_seed() -> None:
    first, again = (fuzz("Testing.helpers.fuzz_double:good", inputs=20, seed=5) for _ in range(2))
    assert first == again
    assert first.tried == 20
    assert first.accepted > 0
    assert set(first.refused) == {"not-good"}
    assert first.crashes == []


@pytest.mark.parametrize(
    ("name", "what", "limit"),
    [
        ("raises", "ZeroDivisionError at fuzz_double.py", 20.0),
        ("dies", "process ended (-11)", 20.0),
        ("hangs", "no answer in 1 s", 1.0),
        ("swallows memory", "MemoryError", 20.0),
    ],
)
def test_what_a_target_may_not_do_is_a_crash_of_its_seed_alone(name: str, what: str, limit: float) -> None:
    tried, seeds, whats = misbehaving(name, limit=limit)
    assert tried == len(SEEDS)
    assert 0 < len(seeds) < len(SEEDS)
    assert all(what in one for one in whats)


def test_an_answer_that_is_none_is_a_crash() -> None:
    assert misbehaving("says nothing")[1] == list(SEEDS)


def test_the_time_is_kept(tmp_path: Path) -> None:
    tally = fuzz("Testing.helpers.fuzz_double:good", seconds=0.2)
    assert tally.tried > 0


@pytest.mark.parametrize("name", targets())
def test_a_short_run_of_every_target_ends_without_a_crash(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", name, "--inputs", "8"]) == 0, capsys.readouterr().out
    assert "8 tried" in capsys.readouterr().out


def test_the_report_states_what_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(iter(targets()))
    assert main(["--target", name, "--inputs", "3", "--report", str(tmp_path / "fuzzing.md")]) == 0
    assert f"| {name} | 3 |" in (tmp_path / "fuzzing.md").read_text()

"""A table that grows while rows come, as CSV and Parquet; and how fast they come."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pancreasseg.batch.pace import Pace, duration
from pancreasseg.batch.table import LiveTable, Row, write_parquet, write_table
from pancreasseg.core.errors import OutputError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def a_row(name: str) -> Row:
    return {"ct": name, "state": "done"}


def test_writing_a_long_table_costs_a_small_share_of_the_time_and_the_end_is_always_written() -> None:
    clock, written = Clock(), []

    def slow(path: Path, rows: list[Row]) -> None:
        clock.now += 1.0
        written.append([row["ct"] for row in rows])

    table = LiveTable(Path("t.csv"), ["a", "b", "c", "d"], slow, clock)
    for name in ("c", "a", "d"):
        table.add(a_row(name))
        clock.now += 5
    assert written == [["c"]]
    clock.now += 20
    table.add(a_row("b"))
    assert written[1:] == [["a", "b", "c", "d"]]
    table.finish()
    assert len(written) == 2, "nothing had come since"


def test_a_row_that_comes_again_replaces_the_first() -> None:
    table = LiveTable(Path("t.csv"), ["a"], lambda path, rows: None)
    table.add({"ct": "a", "state": "failed"})
    table.add(a_row("a"))
    assert table.rows == [a_row("a")]


def test_a_table_that_cannot_be_written_is_said_at_the_end_alone() -> None:
    def busy(path: Path, rows: list[Row]) -> None:
        raise OutputError("cannot-write", "open elsewhere")

    table = LiveTable(Path("t.csv"), ["a", "b"], busy)
    table.add(a_row("a"))
    table.save()
    with pytest.raises(OutputError):
        table.finish()


def test_parquet_has_numbers_where_all_values_are_and_text_elsewhere(tmp_path: Path) -> None:
    rows = [
        {"ct": "a", "volume (ml)": 1.5, "hd (mm)": float("inf"), "mixed": 1.0, "none": None},
        {"ct": "b", "mixed": "no"},
    ]
    assert write_parquet(tmp_path / "t.parquet", rows)
    table = pq.read_table(tmp_path / "t.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "double", "double", "string", "string"]
    assert table.to_pydict()["volume (ml)"] == [1.5, None]
    write_table(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == ",".join(table.column_names)


def test_without_pyarrow_the_table_is_csv_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not write_parquet(tmp_path / "t.parquet", [a_row("a")])
    assert not list(tmp_path.iterdir())


def test_the_pace_is_that_of_cases_that_were_segmented() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.words() == ""
    for _ in range(4):
        clock.now += 0.5
        pace.count(kept=True)
    assert pace.a_minute is None
    for failed in (False, True):
        clock.now += 30
        pace.count(failed=failed)
    assert (pace.done, pace.kept, pace.failed) == (6, 4, 1)
    assert pace.a_minute == pytest.approx(2.0)
    assert pace.seconds_left == pytest.approx(120)
    assert pace.words() == "2.0 a minute, 2 min left"


def test_the_pace_of_late_counts() -> None:
    clock = Clock()
    pace = Pace(1000, clock)
    for seconds in [60] * 50 + [6] * 100:
        clock.now += seconds
        pace.count()
    assert pace.a_minute == pytest.approx(10)


def test_times_are_said_as_people_do() -> None:
    assert [duration(s) for s in (0, 59.4, 61, 3569, 3600, 7530)] == [
        "0 s", "59 s", "1 min", "59 min", "1 h 00 min", "2 h 06 min"
    ]  # fmt: skip

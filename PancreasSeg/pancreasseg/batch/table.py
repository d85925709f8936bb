"""One row for each CT: what it measured, or what is wrong with it."""

from __future__ import annotations

import csv
import importlib.util
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.core.errors import OutputError, PancreasSegError
from pancreasseg.core.measurement import Code, Measurement

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "cohort.csv"
PARQUET = "cohort.parquet"
VOLUME = "volume (ml)"
Row = dict[str, Any]
_SHARE = 0.05  # of the time may go into writing a table that becomes longer and longer


def done_row(name: str, path: str, document: Mapping[str, Any], *, kept: bool) -> Row:
    """The row of a CT with a result, from what result.json holds."""
    findings = [f["code"] for f in document["findings"] if f["severity"] != "info"]
    numbers = {}
    for measurement in map(measurement_of, document["measurements"]):
        unit = f" ({measurement.unit_text})" if measurement.unit_text else ""
        numbers[f"{measurement.name}{unit}"] = measurement.value
    state = {"ct": name, "input": path, "state": "done", "kept": "yes" if kept else "no", "code": "", "message": ""}
    return {**state, "findings": " ".join(findings), **_export_cells(document.get("exports")), **numbers}


def measurement_of(entry: Mapping[str, Any]) -> Measurement:
    """A measurement as result.json holds it, where an infinite value is the string "inf"."""
    value = entry["value"]
    number = float(value) if isinstance(value, str) else value
    return Measurement(**{**entry, "value": number, "code": Code(**entry["code"])})


def _export_cells(exports: Mapping[str, Any] | None) -> dict[str, str]:
    if not exports or not (exports["files"] or exports["refused"]):
        return {}
    refused = "; ".join(f"{form}: {why}" for form, why in exports["refused"].items())
    return {"exported": " ".join(exports["files"]), "not exported": refused}


def failed_row(name: str, path: str, error: PancreasSegError, more: str = "") -> Row:
    """The row of a CT that could not be segmented."""
    message = f"{error} {more}".strip()
    return {"ct": name, "input": path, "state": "failed", "kept": "no", "code": error.code, "message": message}


class LiveTable:
    """A table that is written while rows come, at most so often that the writing costs a small share of the time.

    Args:
        path: of the CSV file.
        order: names of the cases in the order of the table.
        write: writes the rows.
        clock: seconds, monotonic; replaced in tests.

    Attributes:
        rows: so far, in the order of the table.
    """

    def __init__(
        self,
        path: Path,
        order: Sequence[str],
        write: Callable[[Path, Sequence[Row]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._write_rows = write
        self._clock = clock
        self._place = {name: number for number, name in enumerate(order)}
        self._rows: dict[str, Row] = {}
        self._trouble: OutputError | None = None
        self._not_before = clock()
        self._behind = False

    @property
    def rows(self) -> list[Row]:
        """See the class."""
        return sorted(self._rows.values(), key=lambda row: self._place[row["ct"]])

    def add(self, row: Row) -> None:
        """A case's row; a later one of the same case replaces it.

        That the file cannot be written (it is open in another program) ends nothing; it is tried again.
        """
        self._rows[row["ct"]] = row
        self._behind = True
        if self._clock() >= self._not_before:
            self._write()

    def finish(self) -> None:
        """Write what is not written yet.

        Raises:
            OutputError: it cannot be.
        """
        self.save()
        if self._trouble is not None:
            raise self._trouble

    def save(self) -> None:
        """Write what is not written yet, if it can be."""
        if self._behind:
            self._write()

    def _write(self) -> None:
        started = self._clock()
        try:
            self._write_rows(self._path, self.rows)
        except OutputError as error:
            self._trouble = error
        else:
            self._trouble, self._behind = None, False
        ended = self._clock()
        self._not_before = ended + (ended - started) / _SHARE


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table; it appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    from pancreasseg.io.atomic import atomic_write

    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of all rows, in the order in which they first come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def write_parquet(path: Path, rows: Sequence[Row]) -> bool:
    """Write the same table as Parquet, where pyarrow is installed: numbers as float64, all else as text.

    Returns:
        Whether it was written.

    Raises:
        OutputError: it cannot be written.
    """
    from pancreasseg.io.atomic import atomic_write

    if importlib.util.find_spec("pyarrow") is None:
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({column: _column([row.get(column) for row in rows]) for column in columns_of(rows)})
    with atomic_write(path) as partial:
        pq.write_table(table, partial)
    return True


def _column(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    known = [value for value in values if value is not None]
    if known and all(isinstance(value, (int, float)) for value in known):
        return pa.array(values, pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())

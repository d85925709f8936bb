"""One row for each CT: what it measured, or what is wrong with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.core.measurement import Code, Measurement

TABLE = "cohort.csv"
Row = dict[str, Any]


def done_row(name: str, path: str, document: Mapping[str, Any], *, kept: bool) -> Row:
    """The row of a CT with a result, from what result.json holds."""
    findings = [f["code"] for f in document["findings"] if f["severity"] != "info"]
    numbers = {}
    for entry in document["measurements"]:
        measurement = Measurement(**{**entry, "code": Code(**entry["code"])})
        unit = f" ({measurement.unit_text})" if measurement.unit_text else ""
        numbers[f"{measurement.name}{unit}"] = measurement.value
    state = {"ct": name, "input": path, "state": "done", "kept": "yes" if kept else "no", "code": "", "message": ""}
    return {**state, "findings": " ".join(findings), **numbers}


def failed_row(name: str, path: str, error: PancreasSegError, more: str = "") -> Row:
    """The row of a CT that could not be segmented."""
    message = f"{error} {more}".strip()
    return {"ct": name, "input": path, "state": "failed", "kept": "no", "code": error.code, "message": message}


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table; it appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    from pancreasseg.io.atomic import atomic_write

    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")

"""All CTs one after the other; none stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pancreasseg.batch.apart import ModelsNotLoaded
from pancreasseg.batch.case import Case, kept
from pancreasseg.batch.inputs import printable
from pancreasseg.batch.table import Row, done_row, failed_row, write_table
from pancreasseg.core.errors import Cancelled, OutputError, explain

Run = Callable[[Case], dict[str, Any]]


def run_all(cases: Sequence[Case], settings: Mapping[str, Any], run: Run, table: Path) -> Iterator[Row]:
    """Rows of the CTs as they come; the table is written anew after each.

    Args:
        cases: in the order of the table.
        settings: from `Settings.identity`; results of the same settings and CT are kept.
        run: segments a case and returns what result.json holds.
        table: where the rows are written. That it cannot be (it is open in another program) ends nothing; it is tried
            again after the next CT.

    Raises:
        ModelError: the models cannot be loaded, so no CT can be segmented.
        OutputError: the disk is full, or the table could not be written at the end.
    """
    rows: list[Row] = []
    for case in cases:
        rows.append(_row(case, settings, run))
        trouble = _write(table, rows)
        yield rows[-1]
    if cases and trouble is not None:
        raise trouble


def _row(case: Case, settings: Mapping[str, Any], run: Run) -> Row:
    path = printable(case.path)
    try:
        document = kept(case, settings)
        if document is not None:
            return done_row(case.name, path, document, kept=True)
        return done_row(case.name, path, run(case), kept=False)
    except Cancelled:
        raise
    except ModelsNotLoaded as failure:
        raise failure.error from failure
    except Exception as error:  # also what nobody foresaw: it is this CT's row
        told = explain(error)
        if told.code == "disk-full":
            raise told from error
        stale = "The results in its folder are of an earlier run." if _has_results(case) else ""
        return failed_row(case.name, path, told, stale)


def _has_results(case: Case) -> bool:
    from pancreasseg.io.write import RESULT

    return (case.folder / RESULT).exists()


def _write(table: Path, rows: Sequence[Row]) -> OutputError | None:
    try:
        write_table(table, rows)
    except OutputError as error:
        return error
    return None

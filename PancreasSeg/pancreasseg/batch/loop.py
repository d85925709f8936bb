"""All CTs one after the other; none stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pancreasseg.batch.apart import ModelsNotLoaded
from pancreasseg.batch.case import Case, Settings, complete_exports, kept
from pancreasseg.batch.inputs import printable
from pancreasseg.batch.table import LiveTable, Row, done_row, failed_row, write_table
from pancreasseg.core.errors import Cancelled, explain

Run = Callable[[Case], dict[str, Any]]


def run_all(
    cases: Sequence[Case], settings: Settings, identity: Mapping[str, Any], run: Run, table: Path
) -> Iterator[Row]:
    """Rows of the CTs as they come; the table is written while they do.

    Args:
        cases: in the order of the table.
        settings: of all of them.
        identity: from ``settings.identity``; results of the same settings and CT are kept.
        run: segments a case and returns what result.json holds.
        table: where the rows are written. That it cannot be (it is open in another program) ends nothing; it is tried
            again after the next CT.

    Raises:
        ModelError: the models cannot be loaded, so no CT can be segmented.
        OutputError: the disk is full, or the table could not be written at the end.
    """
    written = LiveTable(table, [case.name for case in cases], write_table)
    try:
        for case in cases:
            row = row_of(case, settings, identity, run)
            written.add(row)
            yield row
    except BaseException:
        written.save()
        raise
    written.finish()


def row_of(case: Case, settings: Settings, identity: Mapping[str, Any], run: Run) -> Row:
    """The row of a case: kept, segmented now, or what is wrong with it.

    Raises:
        Cancelled: by the person.
        PancreasSegError: no further case can be run: the models cannot be loaded, or the disk is full.
    """
    path = printable(case.path)
    try:
        document = kept(case, identity)
        if document is not None:
            exports = complete_exports(case, settings).as_dict()
            return done_row(case.name, path, {**document, "exports": exports}, kept=True)
        return done_row(case.name, path, run(case), kept=False)
    except Cancelled:
        raise
    except ModelsNotLoaded as failure:
        raise failure.error from failure
    except Exception as error:  # also what nobody foresaw: it is this CT's row
        told = explain(error)
        if told.code == "disk-full":
            raise told from error
        return failed_row(case.name, path, told, stale_words(case))


def stale_words(case: Case) -> str:
    """What has to be said of the results in the folder of a case that failed."""
    from pancreasseg.io.write import RESULT

    return "The results in its folder are of an earlier run." if (case.folder / RESULT).exists() else ""

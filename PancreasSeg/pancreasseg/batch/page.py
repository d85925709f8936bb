"""The page of a cohort, from the rows of its table and the results in its folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pancreasseg.batch.table import Row, measurement_of
from pancreasseg.core.finding import Finding, Severity

PAGE = "report.html"
_MOST_THUMBNAILS = 1000  # of the cases that need a person most; each is some kilobytes in the page


def write_page(path: Path, rows: Sequence[Row], folders: Mapping[str, Path]) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        path: of the page; the folders of the cases lie beside it.
        rows: of the table.
        folders: of the cases, by name.

    Raises:
        OutputError: it cannot be written.
    """
    from dataclasses import replace

    from pancreasseg.io.atomic import atomic_write
    from pancreasseg.io.write import REPORT
    from pancreasseg.report.cohort.content import worst_first
    from pancreasseg.report.cohort.page import page_of
    from pancreasseg.report.thumbnail import thumbnail

    cases = worst_first(_case(row, folders[row["ct"]]) for row in rows)
    shown = [case for case in cases if case.picture][:_MOST_THUMBNAILS]
    small = {case.name: thumbnail(folders[case.name] / REPORT) for case in shown}
    cases = [replace(case, thumbnail=small.get(case.name, "")) for case in cases]
    with atomic_write(path) as partial:
        text = page_of(cases, "Pancreas cohort", datetime.now().astimezone())
        partial.write_text(text, encoding="utf-8", newline="\n")


def _case(row: Row, folder: Path) -> Any:
    from pancreasseg.io.write import REPORT, read_result
    from pancreasseg.report.cohort.content import CohortCase

    address = f"./{quote(folder.name)}"  # "./" so that no name is taken for a scheme
    document = None if row["state"] == "failed" else read_result(folder)
    if document is None:
        return CohortCase(row["ct"], failed=row["state"] == "failed", message=row["message"])
    measurements = map(measurement_of, document["measurements"])
    return CohortCase(
        row["ct"],
        kept=row["kept"] == "yes",
        message=row.get("not exported", ""),
        findings=tuple(Finding(**{**each, "severity": Severity(each["severity"])}) for each in document["findings"]),
        numbers={entry.name: entry.value for entry in measurements if entry.value is not None},
        seconds=sum(document["timings"].values()),
        folder=f"{address}/",
        picture=f"{address}/{REPORT}" if REPORT in document["files"] else "",
        made_by=_made_by(document["provenance"]),
    )


def _made_by(provenance: Mapping[str, Any]) -> str:
    models = ", ".join(f"{model['name']} {model['version']}" for model in provenance["models"])
    return f"PancreasSeg {provenance['version']}, {provenance['pipeline']}, {models}"

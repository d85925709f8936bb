"""A list of CTs in a CSV file: where each lies, what it is called, and the mask to compare its result with."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pancreasseg.batch.inputs import name_of, printable
from pancreasseg.core.errors import InputError
from pancreasseg.core.text import number_or_name

#: Files that are lists, by how their names end.
LISTS = (".csv", ".tsv")
COLUMNS = ("path", "id", "series", "reference", "label")
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class Line:
    """One CT of a list; paths are relative to the list's own folder where they are not absolute."""

    name: str
    path: Path
    series: int | str | None = None
    reference: Path | None = None
    label: int | str | None = None


def is_list(path: Path) -> bool:
    """True for a file that is read as a list of CTs."""
    return path.suffix.lower() in LISTS and os.path.isfile(path)  # noqa: PTH113  # never raises


def read_list(path: Path) -> list[Line]:
    """The CTs of a list. Commas, semicolons and tabs part its columns, in any order; ``path`` alone has to be there.

    Raises:
        InputError: it is no such list, or a line lacks a path or has an id that cannot be a folder's name.
    """
    lines = list(_rows(path))
    if not lines:
        raise InputError("list-empty", f"The list {printable(path)} names no CT.", "Give a line for each CT.")
    return [_line(path.parent, number, row) for number, row in lines]


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The lines below the heading that are not empty, with their numbers in the file."""
    text = _text(path)
    heading = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count))
    try:
        columns = [cell.strip().lower() for cell in next(reader, [])]
        if "path" not in columns:
            raise InputError(
                "list-without-paths",
                f"The list {printable(path)} has no column called path.",
                f"Its first line names the columns: path, and where wanted {', '.join(COLUMNS[1:])}.",
            )
        for row in reader:
            cells = {column: cell.strip() for column, cell in zip(columns, row, strict=False)}
            if any(cells.values()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise _no_list(path) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            "list-unreadable", f"The list {printable(path)} cannot be read ({error.strerror}).", "Check the path."
        ) from error
    if len(data) > _MOST_BYTES or b"\0" in data:
        raise _no_list(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # spreadsheets of Windows


def _no_list(path: Path) -> InputError:
    return InputError("not-a-list", f"{printable(path)} is no list in CSV.", "Save it as CSV in UTF-8.")


def _line(folder: Path, number: int, row: Mapping[str, str]) -> Line:
    if not row.get("path"):
        raise InputError("list-line", f"Line {number} of the list has no path.", "Complete or remove the line.")
    path = folder / row["path"]
    name = row.get("id") or name_of(path)
    if not _can_be_folder(name):
        raise InputError(
            "list-line",
            f"The id {printable(name)!r} in line {number} of the list cannot be the name of a folder.",
            "Use letters, digits, spaces, dots and dashes.",
        )
    reference = folder / row["reference"] if row.get("reference") else None
    return Line(name, path, _number(row.get("series")), reference, _number(row.get("label")))


def _can_be_folder(name: str) -> bool:
    odd = set('/\\:*?"<>|') & set(name)
    return not odd and name.isprintable() and len(name.encode()) <= 200 and not name.startswith(".") and name[-1] != "."


def _number(text: str | None) -> int | str | None:
    return number_or_name(text) if text else None

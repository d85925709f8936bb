"""The CTs behind the files and folders that a person names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pancreasseg.batch.record import RECORD
from pancreasseg.batch.table import TABLE
from pancreasseg.core.errors import InputError

#: Files that are CTs, by how their names end.
CTS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def find_cts(inputs: Sequence[Path], output: Path | None = None) -> dict[str, Path]:
    """The CTs behind what the person named: the name of each, and where it is.

    Args:
        inputs: CTs, or folders of CTs.
        output: where results go; it may lie among the inputs and is none of them, nor is any other folder of results.

    Raises:
        InputError: there is no such file or folder, a folder cannot be listed, two CTs have one name, or a result would
            be written among a CT's own slices.
    """
    paths = [ct for path in inputs for ct in _cts_at(path, output)]
    named: dict[str, Path] = {}
    for path in paths:
        name = name_of(path)
        if name in named:
            raise InputError(
                "same-name",
                f"The results of {printable(named[name])} and {printable(path)} would have the same name, {name}.",
                "Rename one of them, or use another output folder for it.",
            )
        named[name] = path
        refuse_result_among_slices(name, path, output)
    return named


def refuse_result_among_slices(name: str, path: Path, output: Path | None) -> None:
    """Raise an InputError when the results of the CT at ``path`` would be written into the folder of its slices."""
    if output is not None and _is(path, Path.is_dir) and _same(output / name, path):
        raise InputError(
            "output-is-input",
            f"The results of {name} would go into the folder of its slices.",
            "Choose another output folder.",
        )


def printable(path: Path | str) -> str:
    """A path in Unicode and on one line: bytes that are not UTF-8 and control characters as backslash escapes.

    Names on old network drives are in any encoding; a table, a terminal or JSON can show them only so.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _cts_at(path: Path, output: Path | None) -> list[Path]:
    if not os.path.exists(path):  # noqa: PTH110  # never raises, whatever the path is
        raise InputError("no-such-file", f"There is no file or folder {printable(path)}.", "Check the path.")
    if not path.is_dir():
        return [path]
    try:
        entries = sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=os.fsencode)
    except OSError as error:
        raise InputError(
            "folder-unreadable",
            f"The folder {printable(path)} cannot be opened ({error.strerror}).",
            "Check its permissions.",
        ) from error
    inside = [p for p in entries if not _is_result(p, output)]
    files = [p for p in inside if p.name.lower().endswith(CTS) and (_is(p, Path.is_file) or _leads_nowhere(p))]
    folders = [p for p in inside if _is(p, Path.is_dir)]
    # DICOM series have files of their own; a folder without any, or with CT files, holds several CTs.
    several = bool(files) or (bool(folders) and not any(_is(p, Path.is_file) for p in inside))
    return [*files, *folders] if several else [path]


def _is_result(path: Path, output: Path | None) -> bool:
    """True for what an earlier run has written: the output folder, another one, a result or the table."""
    if path.name == TABLE or (output is not None and _same(path, output)):
        return True
    return any(_is(path / name, Path.is_file) for name in (TABLE, RECORD))


def _is(path: Path, kind: object) -> bool:
    with suppress(OSError):
        return bool(kind(path))  # type: ignore[operator]
    return False


def _leads_nowhere(path: Path) -> bool:
    """True for a link to what is gone: a CT that was lost, which its row has to say."""
    return path.is_symlink() and not _is(path, Path.exists)


def _same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def name_of(path: Path) -> str:
    """What a CT is called when nobody says: its file's name without the ending, or its folder's."""
    name = path.name if path.name not in ("", "..") else path.resolve().name
    ending = next((end for end in CTS if not _is(path, Path.is_dir) and name.lower().endswith(end)), "")
    return printable(name[: len(name) - len(ending)]) or "ct"

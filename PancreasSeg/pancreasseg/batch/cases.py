"""The cases behind what a person names: files, folders, lists and DICOM trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pancreasseg.batch.case import Case
from pancreasseg.batch.case_list import is_list, read_list
from pancreasseg.batch.inputs import find_cts, printable, refuse_result_among_slices
from pancreasseg.core.errors import InputError


def find_cases(
    inputs: Sequence[Path],
    output: Path,
    *,
    every_series: bool = True,
    looking: Callable[[int], object] = str,
) -> list[Case]:
    """All cases, those of files and folders before those of lists.

    Args:
        inputs: CTs, folders of CTs, DICOM trees, and lists (see `case_list`).
        output: where results go; what lies in it is no input.
        every_series: make a case of each series of a DICOM folder; else a folder is one case whatever it holds.
        looking: told how many DICOM folders are looked into, which takes a while.

    Raises:
        InputError: as for `find_cts` and `read_list`; or two cases have one name.
    """
    lists = [path for path in inputs if is_list(path)]
    found = find_cts([path for path in inputs if path not in lists], output)
    folders = sum(path.is_dir() for path in found.values()) if every_series else 0
    if folders:
        looking(folders)
    cases: dict[str, Case] = {}
    for name, path in found.items():
        for case in _in_folder(name, path, output) if folders and path.is_dir() else [_case(name, path, output)]:
            _add(cases, case)
    for path in lists:
        for line in read_list(path):
            refuse_result_among_slices(line.name, line.path, output)
            folder = output / line.name
            _add(cases, Case(line.name, line.path, folder, output, line.series, line.reference, line.label))
    return list(cases.values())


def _in_folder(name: str, path: Path, output: Path) -> Iterator[Case]:
    from pancreasseg.batch.series import find_series

    for found in find_series(path, name):
        name = printable(found.name)
        yield Case(name, found.path, output / name, output, found.series)


def _case(name: str, path: Path, output: Path) -> Case:
    return Case(name, path, output / name, output)


def _add(cases: dict[str, Case], case: Case) -> None:
    # Names that differ by case alone are one folder on many disks.
    known = cases.setdefault(case.name.casefold(), case)
    if known is not case:
        raise InputError(
            "same-name",
            f"The results of {printable(known.path)} and {printable(case.path)} would have the same name, {case.name}.",
            "Rename one of them, or use another output folder for it.",
        )

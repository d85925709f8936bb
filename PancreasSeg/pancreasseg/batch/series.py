"""The DICOM series below a folder, each a CT of its own: an archive's export of many patients."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.io.dicom_choice import is_large, list_series
from pancreasseg.io.dicom_folder import files_in, read_headers
from pancreasseg.io.dicom_slices import Header

_UID = re.compile(r"[\d.]{20,}")  # folders that archives name by identifiers say nothing to a person


@dataclass(frozen=True)
class SeriesFound:
    """One series.

    Attributes:
        name: made of folder names, and the series number where that is not enough; nothing else of the headers.
        path: a folder that holds it.
        series: which of those in ``path``; None where it is the only one.
    """

    name: str
    path: Path
    series: int | None = None


def find_series(folder: Path, name: str) -> list[SeriesFound]:
    """Every CT series below a folder; the folder itself where it holds one, or none that can be read.

    Series too small to be meant are left out beside larger ones, as when one CT is read.

    Args:
        folder: where DICOM files lie.
        name: the folder's own, which the others begin with.
    """
    try:
        groups = list_series(read_headers(files_in(folder))[0])
    except PancreasSegError:
        return [SeriesFound(name, folder)]  # its row will say what is wrong with it
    large = [group for group in groups if is_large(group)]
    if len(large) < 2:
        return [SeriesFound(name, folder)]
    places = [_place(group) for group in large]
    shared = Counter(places[n] for n in range(len(large)))
    names = _names(name, folder, large, places)
    return [
        SeriesFound(one, place) if _alone(place, groups, shared) else SeriesFound(one, folder, groups.index(group) + 1)
        for one, place, group in zip(names, places, large, strict=True)
    ]


def _place(group: Sequence[Header]) -> Path:
    """The deepest folder with all files of a series."""
    return Path(os.path.commonpath([one.file.parent for header in group for one in header.slices]))


def _alone(place: Path, groups: Sequence[Sequence[Header]], shared: Counter[Path]) -> bool:
    """Whether a folder holds one series and nothing of any other, so that it says by itself which is meant."""
    inside = [group for group in groups if any(place in one.file.parents for h in group for one in h.slices)]
    return shared[place] == 1 and len(inside) == 1


def _names(name: str, folder: Path, groups: Sequence[Sequence[Header]], places: Sequence[Path]) -> list[str]:
    """A name for each: as few folder names as tell them apart, then the series number, then a count."""
    parts = [[part for part in place.relative_to(folder).parts if not _UID.fullmatch(part)] for place in places]
    depth = max(map(len, parts))
    options = [["-".join([name, *some[:n]]) for some in parts] for n in range(depth + 1)]
    named = next((names for names in options if len(set(names)) == len(names)), options[-1])
    named = [_with_number(one, named, group) for one, group in zip(named, groups, strict=True)]
    return [one if named.count(one) == 1 else f"{one}-{named[:n].count(one) + 1}" for n, one in enumerate(named)]


def _with_number(name: str, names: Sequence[str], group: Sequence[Header]) -> str:
    number = group[0].number
    return name if names.count(name) == 1 or number is None else f"{name}-series-{number}"

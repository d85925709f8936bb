"""Which of the CT series in a folder is meant."""

from __future__ import annotations

from collections.abc import Sequence

from pancreasseg.core.errors import InputError
from pancreasseg.core.text import number_or_name, printable
from pancreasseg.io.checks import MIN_SLICES
from pancreasseg.io.dicom_slices import Header


def choose_series(headers: Sequence[Header], wanted: int | str | None) -> tuple[list[Header], int]:
    """The headers of one series, and the number of slices of series too small to be meant.

    Args:
        headers: of CT slices.
        wanted: its number in the list that the error shows (from 1), or its description; None for the only one.

    Raises:
        InputError: several series and none chosen, or no such one.
    """
    listed = list_series(headers)
    if wanted is not None:
        return _named(listed, wanted), 0
    large = [group for group in listed if is_large(group)]
    if len(large) == 1:
        return large[0], sum(_count(g) for g in listed) - _count(large[0])
    if len(listed) == 1:
        return listed[0], 0
    raise InputError(
        "dicom-several-series",
        f"The folder holds {len(listed)} CT series: {_catalogue(listed)}.",
        "Choose one by its number or description, or give a folder with one series.",
    )


def list_series(headers: Sequence[Header]) -> list[list[Header]]:
    """The headers of each series, in the order of the list that the error about several shows."""
    groups = _grouped(headers).values()
    return sorted(groups, key=lambda g: (g[0].number is None, g[0].number or 0, g[0].description, len(g)))


def is_large(group: Sequence[Header]) -> bool:
    """Whether a series has slices enough to be meant when nobody says which."""
    return _count(group) >= MIN_SLICES


def _grouped(headers: Sequence[Header]) -> dict[object, list[Header]]:
    """The headers by series; by what else slices share where every file has a series identifier of its own."""
    groups: dict[object, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series, []).append(header)
    if len(groups) < MIN_SLICES or max(_count(group) for group in groups.values()) > 1:
        return groups
    together: dict[object, list[Header]] = {}
    for header in headers:
        one = header.slices[0]
        key = (header.patient, header.number, header.description, one.rows, one.columns, one.orientation, one.spacing)
        together.setdefault(key, []).append(header)
    return together


def _named(listed: Sequence[list[Header]], wanted: int | str) -> list[Header]:
    text = str(wanted).strip()
    number = number_or_name(text)
    if isinstance(number, int) and 1 <= number <= len(listed):
        return listed[number - 1]
    matching = [g for g in listed if g[0].description.casefold() == text.casefold()]
    if len(matching) == 1:
        return matching[0]
    raise InputError(
        "dicom-no-such-series",
        f"{len(matching) or 'No'} CT series in the folder {'are' if matching else 'is'} called {printable(text)!r}; "
        f"there {'is' if len(listed) == 1 else 'are'} {_catalogue(listed)}.",
        "Choose one by its number in this list.",
    )


def _catalogue(listed: Sequence[list[Header]]) -> str:
    return "; ".join(
        f"{number}: {group[0].description or 'without description'}, {_count(group)} slices"
        for number, group in enumerate(listed, start=1)
    )


def _count(group: Sequence[Header]) -> int:
    return sum(len(header.slices) for header in group)

"""Which case belongs to which fold of a cross-validation. Folds are counted from 1, as in the papers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pancreasseg.core.errors import InputError

#: The four folds that the field uses on NIH Pancreas-CT, by case number.
NIH_FOLDS: tuple[range, ...] = (range(1, 21), range(21, 41), range(41, 62), range(62, 83))
#: Cases that are the same scan as another; the present release leaves them out (80 cases of 82).
NIH_DUPLICATES: dict[int, int] = {25: 2, 70: 2}
MOST_FOLDS = 20


def nih_fold(number: int) -> int:
    """The standard fold (1 to 4) of an NIH case; a duplicate is in the fold of the case that it duplicates.

    Raises:
        InputError: NIH Pancreas-CT has no case of this number.
    """
    original = NIH_DUPLICATES.get(number, number)
    for fold, numbers in enumerate(NIH_FOLDS, start=1):
        if original in numbers:
            return fold
    raise InputError(
        "no-such-nih-case",
        f"NIH Pancreas-CT has no case {number}; it counts from 1 to 82.",
        "Check the folder, or prepare it as 'folder'.",
    )


def spread(groups: Mapping[str, str], count: int) -> dict[str, int]:
    """Folds of equal size that are the same on every computer and do not change with the order of the files.

    Args:
        groups: the group of every case id; cases of one group share a fold.
        count: how many folds.

    Returns:
        The fold (from 1) of every case id. Groups are dealt out in the order of their SHA256.

    Raises:
        InputError: fewer than two folds, or more folds than groups.
    """
    names = sorted(set(groups.values()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if not 2 <= count <= MOST_FOLDS:
        raise InputError("bad-fold-count", f"{count} folds make no cross-validation.", f"Give 2 to {MOST_FOLDS} folds.")
    if count > len(names):
        raise InputError(
            "bad-fold-count",
            f"{len(names)} different cases do not suffice for {count} folds.",
            "Give fewer folds or more cases.",
        )
    fold_of = {name: index % count + 1 for index, name in enumerate(names)}
    return {case: fold_of[group] for case, group in groups.items()}

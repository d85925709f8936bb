"""Which prepared cases a training learns from, and which patients are held out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pancreasseg.core.errors import InputError
from pancreasseg.lab.axial import organs
from pancreasseg.lab.axial.cases import load_group
from pancreasseg.lab.axial.synthesis import LabelMaps
from pancreasseg.lab.axial.training import Source

#: Groups of cases: share of the crops, slices beyond the organ, cut down to the organ.
GROUPS: dict[str, tuple[float, bool, bool]] = {
    "nih": (0.56, False, False),
    "msd": (0.18, False, True),
    "unlabelled": (0.07, True, False),
    "phantoms": (0.07, True, False),
    "cohort": (0.56, True, False),
}
#: Share of the crops that are CT synthesised from maps: beside many groups (by weight), beside one (as a part of all).
MAPS, ALONE = 0.12, 0.14
#: Of the NIH patients.
FOLDS = 5


def patients(work: Path, fold: int | None) -> list[str]:
    """Names of the NIH patients of a fold, 0 to 4; none without a fold."""
    names = sorted(path.stem for path in (work / "nih").glob("*.npz"))
    return [] if fold is None else names[fold::FOLDS]


def sources(
    work: Path, groups: Sequence[str], held: Sequence[str] = (), *, beyond: float = 0.0, gibson: bool = True
) -> list[Source]:
    """What a training learns from.

    Args:
        work: folder of the prepared arrays.
        groups: of `GROUPS`; what is not prepared is left out.
        held: patients that are held out, with the maps of their bodies.
        beyond: share of the NIH crops whose pancreas becomes fat.
        gibson: also learn from Gibson's maps, which are of some of the NIH patients.

    Raises:
        InputError: nothing is prepared.
    """
    found = []
    for name in groups:
        weight, whole, slab = GROUPS[name]
        cases = load_group(work / name, held)
        if not gibson:
            cases = [case.pancreas_alone() for case in cases]
        if cases:
            found.append(Source(weight, cases, whole=whole, slab=slab, beyond=beyond if name == "nih" else 0.0))
    if (work / "maps").is_dir():
        share = sum(source.weight for source in found) * ALONE / (1 - ALONE) if len(groups) == 1 else MAPS
        found.append(Source(share, LabelMaps.load(work / "maps", _maps_left_out(work, held, gibson))))
    if not found:
        raise InputError("no-cases", f"There are no prepared cases in {work}.", "Prepare them first: prepare DATA WORK")
    return found


def _maps_left_out(work: Path, held: Sequence[str], gibson: bool) -> tuple[str, ...]:
    if not gibson:
        return tuple(path.stem for path in (work / "maps").glob("gibson*.npz"))
    places = organs.load_places(work / "places.json") if (work / "places.json").is_file() else {}
    return tuple(f"gibson{number}" for number, place in places.items() if place.patient in held)

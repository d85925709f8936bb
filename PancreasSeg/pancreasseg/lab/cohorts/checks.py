"""Is this pair of a CT and a label fit to train on? Refusals in plain sentences, findings for what is unusual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.io.read import read_labels, read_volume
from pancreasseg.lab.cohorts.axes import AxisTurn, Fit, fits
from pancreasseg.lab.cohorts.case import HEADER, Case, read_case_mask, read_indicator, read_organ_labels, sha256_of
from pancreasseg.lab.cohorts.folds import nih_fold
from pancreasseg.lab.cohorts.organs import PANCREAS, Organs, Values, of_segments
from pancreasseg.lab.cohorts.sources import Pair

USUAL_ML = (20.0, 180.0)
USUAL_HU = (0.0, 180.0)
_SPECK_SHARE = 0.02  # of the label; smaller separate pieces are slips of the pen
_FEWEST_SOFT = 0.5
_CLEARLY_BETTER = 0.15
_ORGANS_HU = (-30.0, 400.0)  # from fatty liver to arteries in the arterial phase; gas in the stomach lies outside


@dataclass(frozen=True)
class Checked:
    """A sound case with what was read."""

    case: Case
    volume: Volume
    mask: np.ndarray
    organs: np.ndarray | None = None


def check(pair: Pair, source: Path, axes: str, values: tuple[int, ...] | str, signature: str) -> Checked:
    """Read a pair and check everything about it.

    Args:
        pair: as found.
        source: folder of the cohort; paths are kept relative to it.
        axes: how the label is placed, see `read_case_mask`.
        values: which labels are the pancreas, see `read_case_mask`.
        signature: kept with the case.

    Raises:
        InputError: the case cannot be used; its code and sentence say why.
    """
    ct, label = _files(pair)
    if pair.number is not None:
        nih_fold(pair.number)
    volume = read_volume(ct)
    mask = read_case_mask(label, volume.geometry, axes, values)
    box = Box.of_mask(mask)
    if box is None:
        raise InputError("label-empty", "The label is empty: it marks no voxel as pancreas.", "Give the drawn label.")
    _refuse_misplaced(volume, mask, axes)
    inside = volume.array[box.slices][mask[box.slices] != 0]
    findings = (*volume.findings, *_remarks(volume, mask, box, float(inside.mean())))
    case = Case(
        id=pair.id,
        ct=below(ct, source),
        label=below(label, source),
        axes=axes,
        values=values,
        group=pair.group,
        fold=0,
        number=pair.number,
        geometry=volume.geometry,
        box=box,
        pancreas_ml=inside.size * volume.geometry.voxel_ml,
        pancreas_hu=float(inside.mean()),
        ct_sha256=sha256_of(volume.array),
        fingerprint=sha256_of(volume.array, mask),
        signature=signature,
        findings=findings,
    )
    return Checked(case, volume, mask)


def with_organs(checked: Checked, pair: Pair, source: Path, values: Values, apart: Values) -> Checked:
    """The case with the labels of its organs beside the pancreas; as it was where there are none.

    Args:
        checked: the case without.
        pair: as found.
        source: folder of the cohort.
        values: which labels of the pancreas' file are which organs; where nothing is said, the names of the segments of
            a .seg.nrrd do.
        apart: the same for the file that holds organs alone.

    Raises:
        InputError: that file cannot be used; the sentence says why.
    """
    path, axes, chosen = source / checked.case.label, checked.case.axes, values
    if pair.organs is not None:
        path, axes, chosen = pair.organs, HEADER, apart or values
    if not chosen and path.name.lower().endswith(".seg.nrrd"):
        chosen = of_segments(read_labels(path)[2])
    wanted = {name: found for name, found in chosen.items() if name != PANCREAS}
    if not wanted:
        return checked
    geometry = checked.volume.geometry
    try:
        labels = read_organ_labels(path, geometry, axes, list(wanted.values()))
    except InputError as error:
        raise InputError(error.code, f"Labels of organs: {error.message}", error.hint) from error
    counts = np.bincount(labels.ravel(), minlength=len(wanted) + 1)[1:]
    if not counts.any():
        return checked
    _refuse_organs_elsewhere(checked.volume.array[labels != 0])
    found = Organs(
        label=below(path, source),
        axes=axes,
        names=tuple(wanted),
        values=tuple(wanted.values()),
        millilitres=tuple(float(count) * geometry.voxel_ml for count in counts),
        fingerprint=sha256_of(labels),
    )
    return replace(checked, case=replace(checked.case, organs=found), organs=labels)


def _refuse_organs_elsewhere(hu: np.ndarray) -> None:
    soft = float(np.mean((hu >= _ORGANS_HU[0]) & (hu <= _ORGANS_HU[1])))
    if soft < _FEWEST_SOFT:
        raise InputError(
            "organs-misplaced",
            f"Labels of organs: only {100 * soft:.0f} % of them lie on soft tissue.",
            "Check that they belong to this CT and that their header places them on it.",
        )


def fits_of(pair: Pair, values: tuple[int, ...] | str) -> dict[AxisTurn, Fit]:
    """How well the label of a pair, as stored, fits its CT under every turn; nothing for an empty label.

    Raises:
        InputError: CT or label cannot be read.
    """
    ct, label = _files(pair)
    volume = read_volume(ct)
    stored, _ = read_indicator(label, values)
    return fits(volume.array, volume.geometry, stored) if stored.any() else {}


def _files(pair: Pair) -> tuple[Path, Path]:
    """The one CT and the one label of a pair."""
    for what, code, paths in (("CT", "ct", pair.cts), ("label", "label", pair.labels)):
        if not paths:
            raise InputError(f"{code}-missing", f"There is no {what}.", f"Add the {what}, or leave the case out.")
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths[:3])
            raise InputError(
                f"{code}-ambiguous", f"There are {len(paths)} {what}s ({names}).", "Leave one of them in the folder."
            )
    return pair.cts[0], pair.labels[0]


def _refuse_misplaced(volume: Volume, mask: np.ndarray, axes: str) -> None:
    """A label that lies on air, or that would lie on an organ if its axes were turned."""
    found = fits(volume.array, volume.geometry, mask)
    as_placed = found[AxisTurn()]
    better = max(found, key=lambda turn: found[turn].score)
    gain = found[better].score - as_placed.score
    if gain > _CLEARLY_BETTER and found[better].inside > as_placed.inside and found[better].inside > _FEWEST_SOFT:
        placed = "where its header says" if axes == HEADER else f"as {axes}"
        raise InputError(
            "label-axes",
            f"The label does not lie on the pancreas {placed}: {100 * as_placed.inside:.0f} % of it is soft tissue, "
            f"but {100 * found[better].inside:.0f} % when turned by {better.name}.",
            "If all labels of the cohort are turned alike, prepare with --label-axes auto.",
        )
    if as_placed.inside < _FEWEST_SOFT:
        raise InputError(
            "label-misplaced",
            f"Only {100 * as_placed.inside:.0f} % of the label lies on soft tissue, and no other order of its axes "
            "fits better.",
            "Check that CT and label belong together.",
        )


def _remarks(volume: Volume, mask: np.ndarray, box: Box, mean_hu: float) -> list[Finding]:
    remarks = []
    crop = mask[box.slices]
    millilitres = float(np.count_nonzero(crop)) * volume.geometry.voxel_ml
    low, high = USUAL_ML
    if not low <= millilitres <= high:
        sentence = f"The label has {millilitres:.1f} ml; a pancreas mostly has {low:.0f} to {high:.0f} ml."
        remarks.append(Finding("label-volume", Severity.WARNING, sentence, millilitres))
    if not USUAL_HU[0] <= mean_hu <= USUAL_HU[1]:
        sentence = f"The CT has {mean_hu:.0f} HU inside the label on average, which is unusual for a pancreas."
        remarks.append(Finding("label-hu", Severity.WARNING, sentence, mean_hu))
    faces = [
        axis
        for axis, (start, stop, n) in enumerate(zip(box.start, box.stop, volume.geometry.size, strict=True))
        if start == 0 or stop == n
    ]
    if faces:
        sentence = "The label touches the end of the scan, so the pancreas may not be in it as a whole."
        remarks.append(Finding("label-at-end", Severity.WARNING, sentence))
    pieces, count = ndimage.label(crop)
    if count > 1:
        sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
        large = int(np.count_nonzero(sizes >= _SPECK_SHARE * sizes.sum()))
        sentence = f"The label consists of {count} separate pieces, {large} of them larger than 2 % of it."
        severity = Severity.WARNING if large > 1 else Severity.INFO
        remarks.append(Finding("label-pieces", severity, sentence, float(count)))
    return remarks


def below(path: Path, source: Path) -> str:
    """A path as a cohort keeps it: below its source where it lies there, else whole."""
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.as_posix()

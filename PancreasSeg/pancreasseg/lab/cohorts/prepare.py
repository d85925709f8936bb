"""From a folder of CTs and labels to a cohort: every case is checked, named, and kept or left out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pancreasseg.core.errors import InputError, PancreasSegError, as_json, explain
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import atomic_write, prepare_folder
from pancreasseg.io.write import as_json as json_text
from pancreasseg.lab.cohorts import sources
from pancreasseg.lab.cohorts.axes import AxisTurn, Fit
from pancreasseg.lab.cohorts.case import HEADER, Case
from pancreasseg.lab.cohorts.checks import below, check, fits_of, with_organs
from pancreasseg.lab.cohorts.cohort import Cohort, keep_sample
from pancreasseg.lab.cohorts.folds import nih_fold, spread
from pancreasseg.lab.cohorts.grid import CaseGrid, SampleStore, resample
from pancreasseg.lab.cohorts.organs import PANCREAS, Values, in_common
from pancreasseg.lab.cohorts.summary import write_report

AUTO = "auto"
REFUSE, SKIP = "refuse", "skip"
_VERSION = 1  # of the checks; counts into the signature, so that cases are checked anew when the checks change
_LOOKED_AT = 5  # cases whose labels are tried under every turn
_AS_GOOD = 0.02
_FEWEST_SOFT = 0.5
_USUAL_FOLDS = 4
_NAMED = 5


@dataclass(frozen=True)
class Preparation:
    """How a cohort is prepared.

    Attributes:
        on_error: "refuse" the cohort when any case cannot be used, or "skip" such cases.
        label: value or segment name of the pancreas; None for what the data set says, or the only label there is.
        label_axes: "header"; "auto" (the turn that fits the first cases best); the name of an `AxisTurn`; None for what
            suits the kind: "auto" for NIH, whose labels state an orientation that is not theirs, else "header".
        folds: how many; None for the standard ones of NIH, and else four.
        grids: what the arrays are resampled to at once; other grids are made when they are first used.
        organs: which labels are which organs (label values or names of segments); () for what the data set says.
    """

    on_error: str = REFUSE
    label: int | str | None = None
    label_axes: str | None = None
    folds: int | None = None
    grids: tuple[CaseGrid, ...] = ()
    organs: tuple[tuple[str, tuple[int | str, ...]], ...] = ()


def prepare(
    kind: str, source: Path, output: Path, settings: Preparation | None = None, progress: Progress | None = None
) -> Cohort:
    """Check the cases of a source and write a cohort. Stopped at any time, the same call continues.

    Writes ``report.md`` and ``report.json`` in any case, and ``cohort.json`` unless the cohort is refused.

    Args:
        kind: layout of the source, one of `sources.KINDS`.
        source: its folder.
        output: folder for the cohort; made if it is not there.
        settings: how.
        progress: one step a case, stage "check".

    Raises:
        InputError: the source has not this layout, or cases cannot be used (code ``cases-unusable``).
        OutputError: the output cannot be written.
    """
    settings, progress = settings or Preparation(), progress or Progress()
    if settings.label_axes not in (None, AUTO, HEADER):
        AxisTurn.named(str(settings.label_axes))
    listing = _with_named_organs(sources.find(kind, source), settings)
    output = prepare_folder(output)
    prepare_folder(output / "cases")
    values = _values(listing, settings.label)
    remarks = list(listing.remarks)
    axes = settings.label_axes or (AUTO if kind == "nih" else HEADER)
    progress.plan([("axes", 2.0), ("check", float(len(listing.pairs)))])
    if axes == AUTO:
        with progress.stage("axes"):
            axes, sentence = choose_axes(listing.pairs, values)
        remarks.append(sentence)
    cases: list[Case] = []
    left_out: list[dict[str, str]] = []
    with progress.stage("check", len(listing.pairs)):
        for pair in listing.pairs:
            try:
                cases.append(_checked(pair, source, output, axes, values, listing, settings.grids))
            except (InputError, MemoryError, OSError) as error:
                left_out.append({"id": pair.id, **as_json(explain(error))})
            progress.advance()
    if cases:
        cases, repeated = _with_folds(cases, kind, settings.folds)
        remarks += [*repeated, *_about_organs(cases)]
    cohort = Cohort(output, source, kind, tuple(cases), tuple(left_out), tuple(remarks))
    write_report(cohort)
    if not cases or (left_out and settings.on_error == REFUSE):
        raise _refusal(left_out, len(listing.pairs), output)
    cohort.save()
    return cohort


def choose_axes(pairs: Sequence[sources.Pair], values: tuple[int, ...] | str) -> tuple[str, str]:
    """How the labels of a cohort lie against its CTs, judged by the first cases that can be read.

    Returns:
        The name of an `AxisTurn`, and a sentence for the report. "stored" (rows and slices in the order of the CT,
        whatever the header says) unless another turn fits better.
    """
    seen: list[dict[AxisTurn, Fit]] = []
    for pair in pairs:
        try:
            found = fits_of(pair, values)
        except PancreasSegError:
            continue  # named with its reason when the cases are checked
        if found:
            seen.append(found)
        if len(seen) == _LOOKED_AT:
            break
    common = [turn for turn in seen[0] if all(turn in found for found in seen)] if seen else []
    if not common:
        return AxisTurn().name, "No case shows how the labels lie against the CTs; they were taken as stored."
    score = {turn: float(np.mean([found[turn].score for found in seen])) for turn in common}
    inside = {turn: float(np.mean([found[turn].inside for found in seen])) for turn in common}
    plausible = [turn for turn in common if inside[turn] >= _FEWEST_SOFT] or [AxisTurn()]
    best = max(plausible, key=lambda turn: score.get(turn, 0.0))
    if AxisTurn() in plausible and score.get(AxisTurn(), 0.0) >= score.get(best, 0.0) - _AS_GOOD:
        best = AxisTurn()
    return best.name, (
        f"The headers of the labels were not used; by the HU of {len(seen)} case{'s' if len(seen) > 1 else ''} the "
        f'labels fit the CTs as "{best.name}": {100 * inside.get(best, 0.0):.0f} % of their voxels are soft tissue, '
        f"{100 * (inside.get(best, 0.0) - score.get(best, 0.0)):.0f} % of those around them."
    )


def _with_named_organs(listing: sources.Listing, settings: Preparation) -> sources.Listing:
    """A listing with the organs that the person named in place of what the data set says."""
    if not settings.organs:
        return listing
    named = dict(settings.organs)
    pancreas = tuple(value for value in named.pop(PANCREAS, ()) if isinstance(value, int))
    return replace(listing, values=pancreas or listing.values, organs=named, organs_apart=named)


def _about_organs(cases: Sequence[Case]) -> list[str]:
    """A sentence on the labels of organs beside the pancreas; none where there are none."""
    labelled = [case.organs.names for case in cases if case.organs is not None]
    if not labelled:
        return []
    every = in_common(labelled) if len(labelled) == len(cases) else ()
    if every:
        return [f"All cases have labels of {', '.join(every)}."]
    sentence = (
        f"{len(labelled)} of {len(cases)} cases have labels of organs beside the pancreas, or not all of the same; "
        "networks learn several organs only where all cases have them."
    )
    return [sentence]


def _values(listing: sources.Listing, label: int | str | None) -> tuple[int, ...] | str:
    if isinstance(label, str):
        return label
    return listing.values if label is None else (label,)


def _checked(
    pair: sources.Pair,
    source: Path,
    output: Path,
    axes: str,
    values: tuple[int, ...] | str,
    listing: sources.Listing,
    grids: Sequence[CaseGrid],
) -> Case:
    """The case of a pair: as kept from an earlier run if nothing has changed, else checked anew."""
    organ_values: tuple[Values, Values] = (listing.organs, listing.organs_apart)
    signature = _signature(pair, source, axes, values, organ_values)
    record = output / "cases" / f"{pair.id}.json"
    kept = _kept(record, signature)
    if kept is not None:
        Cohort(output, source, "", (kept,)).fill(grids)
        return kept
    checked = with_organs(check(pair, source, axes, values, signature), pair, source, *organ_values)
    for grid in grids:
        sample = resample(checked.volume, checked.mask, grid, checked.organs)
        keep_sample(SampleStore(output / "grids", grid), checked.case, sample)
    with atomic_write(record) as partial:
        partial.write_text(json_text(checked.case.as_dict()), encoding="utf-8")
    return checked.case


def _kept(record: Path, signature: str) -> Case | None:
    try:
        case = Case.from_dict(json.loads(record.read_text(encoding="utf-8")))
    except (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return case if case.signature == signature else None


def _signature(
    pair: sources.Pair, source: Path, axes: str, values: tuple[int, ...] | str, organs: tuple[Values, Values]
) -> str:
    """Names, sizes and times of all files of a pair, with the settings that matter."""
    digest = hashlib.sha256(repr((_VERSION, pair.id, pair.group, axes, values)).encode())
    named = any(path.name.lower().endswith(".seg.nrrd") for path in pair.labels)  # and its segments may be organs
    if named or pair.organs is not None or any(organs):
        digest.update(repr([sorted(each.items()) for each in organs]).encode())
    for path in (*pair.cts, *pair.labels, *(() if pair.organs is None else (pair.organs,))):
        files = [path]
        if path.is_dir():
            files = sorted(Path(place) / name for place, _, names in os.walk(path) for name in names)
        for file in files:
            facts = file.stat()
            digest.update(repr((below(file, source), facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()


def _with_folds(cases: list[Case], kind: str, count: int | None) -> tuple[list[Case], list[str]]:
    """The cases with copies of one scan in one group, each with its fold; and sentences about such copies."""
    first: dict[str, Case] = {}
    grouped, remarks = [], []
    for case in cases:
        original = first.setdefault(case.ct_sha256, case)
        if case.group != original.group:
            remarks.append(f"Case {case.id} holds the same CT as case {original.id}; both are kept in one fold.")
        grouped.append(case.moved(group=original.group))
    groups = {case.id: case.group for case in grouped}
    if kind == "nih" and count is None:
        return [case.moved(fold=nih_fold(int(case.group))) for case in grouped], remarks
    different = len(set(groups.values()))
    if count is None and different < 2:
        return [case.moved(fold=1) for case in grouped], remarks
    folds = spread(groups, min(_USUAL_FOLDS, different) if count is None else count)
    return [case.moved(fold=folds[case.id]) for case in grouped], remarks


def _refusal(left_out: Sequence[dict[str, str]], total: int, output: Path) -> InputError:
    named = "; ".join(f"{entry['id']}: {entry['message']}" for entry in left_out[:_NAMED])
    more = f"; and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    all_of_them = len(left_out) == total
    return InputError(
        "cases-unusable",
        f"{'None' if all_of_them else len(left_out)} of {total} cases can{'' if all_of_them else 'not'} be used. "
        f"{named}{more}",
        f"See {output / 'report.md'}" + ("." if all_of_them else ", or leave them out with --on-error skip."),
    )

"""The commands that make the model that ships, from the public data to the package; each goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core.errors import InputError, PancreasSegError
from pancreasseg.core.setup import Setup
from pancreasseg.inference.hardware import choose
from pancreasseg.io.read import read_volume
from pancreasseg.lab.axial import bodies, crossvalidation, evaluation, organs, package, public, report
from pancreasseg.lab.axial.cases import SliceCase, load_group
from pancreasseg.lab.axial.groups import FOLDS, GROUPS, patients, sources
from pancreasseg.lab.axial.training import Plan, Training, weights
from pancreasseg.lab.cohorts.cohort import Cohort

_log = logging.getLogger("pancreasseg.lab.axial")

PHANTOMS = 10
#: The first training holds a fold out; the second goes on from its weights on everything; the last teaches what lies
#: beyond the organ, by this share of crops whose pancreas has become fat.
FIRST = Plan(steps=3000, rate=2e-3, seed=1)
SECOND = Plan(steps=4800, rate=1.5e-3, seed=2)
LAST = Plan(steps=1300, rate=8e-4, warm_up=30, seed=3)
BEYOND = 0.25


def prepare(data: Path, work: Path, cohort: Path | None = None) -> None:
    """Arrays of all sources that lie in ``data``: nih-sparse, msd-slabs, labels, unlabelled; and of a cohort."""
    if (data / "nih-sparse").is_dir():
        _prepare_nih(data, work)
    if (data / "msd-slabs").is_dir():
        _save(public.msd_slabs(data / "msd-slabs"), work / "msd")
    if (data / "labels").is_dir():
        _prepare_maps(data / "labels", work)
    for path in sorted((data / "unlabelled").glob("*_ct.nii.gz")):
        _save([pseudo_labelled(path)], work / "unlabelled")
    if cohort is not None:
        _save(public.of_cohort(Cohort.open(cohort)), work / "cohort")
    _save(public.phantoms(PHANTOMS), work / "phantoms")


def _save(cases: Iterator[SliceCase] | list[SliceCase], folder: Path) -> None:
    for case in cases:
        case.save(folder)
        _log.info("%s: %d slices", case.name, len(case.heights))


def _prepare_nih(data: Path, work: Path) -> None:
    """The sparse slices, with Gibson's organs where the maps are of the same patients."""
    folder, maps = data / "nih-sparse", data / "labels" / "gibson"
    facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    pixels = {name: float(entry["native_spacing_mm"][0]) for name, entry in facts.items()}
    cases = list(public.nih_sparse(folder))
    named = {case.name: case for case in cases}
    found = {number: organs.find_place(maps, number, cases, pixels) for number in public.gibson_numbers(maps)}
    places = {number: place for number, place in found.items() if place is not None}
    labels = {p.patient: organs.on_slices(maps, number, p, named[p.patient]) for number, p in places.items()}
    _save(public.nih_sparse(folder, labels), work / "nih")
    organs.save_places(work / "places.json", places)


def _prepare_maps(labels: Path, work: Path) -> None:
    whole = {path.name.split(".")[0]: bodies.body(path) for path in sorted((labels / "totalseg").glob("*.nii.gz"))}
    frames = list(whole.values())
    for turn, number in enumerate(public.gibson_numbers(labels / "gibson")):
        whole[f"gibson{number}"] = bodies.with_organs(labels / "gibson", number, frames[turn % len(frames)])
    bodies.save(work / "maps", whole)


def pseudo_labelled(path: Path) -> SliceCase:
    """An unlabelled CT with the organs that OBELISK-Net (installed, four folds) sees in it."""
    from pancreasseg.pipelines import create

    volume = read_volume(path)
    pipeline = create(Setup(model="obelisk-hybrid"))
    result = pipeline.segment(volume, pipeline.localize(volume))
    pancreas = np.zeros(volume.array.shape, np.float32)
    pancreas[result.box.slices] = result.probability
    if result.labels is None:
        raise InputError("no-organs", f"{path.name} got no organ labels.", "Install the model obelisk-hybrid.")
    return public.pseudo_labelled(path.name.removesuffix("_ct.nii.gz"), volume, result.labels, pancreas)


def train(
    work: Path,
    plan: Plan,
    name: str,
    start: Path | None = None,
    *,
    fold: int | None = None,
    beyond: float = 0.0,
) -> Training:
    """Train, or go on with, one network; with a fold held out it learns from NIH and maps alone."""
    groups = list(GROUPS) if fold is None else ["nih"]
    learned = sources(work, groups, patients(work, fold), beyond=beyond)
    training = Training(plan, learned, work, name, choose(), None if start is None else weights(start))
    training.run()
    return training


def evaluate(work: Path, name: str, fold: int | None, groups: list[str]) -> list[evaluation.PatientScore]:
    """Score held-out NIH patients and whole groups that the training did not see; a table beside the checkpoint."""
    held = patients(work, fold)
    cases = [case for case in load_group(work / "nih") if case.name in held]
    for group in groups:
        cases += load_group(work / group)
    training = Training(FIRST, [], work, name, choose())
    scores = [evaluation.score(training.mean, case, choose(), package.OPTIONS["threshold"]) for case in cases]
    evaluation.write(work / f"{name}-scores.csv", scores)
    _log.info(evaluation.summary(scores))
    return scores


def figures(path: Path, command: str) -> list[dict[str, Any]]:
    """Card entries of a table of scores: NIH and the other cohort apart.

    They are those of the first training; the weights that ship go on from it, on all patients.
    """
    scores, entries = evaluation.read(path), []
    kinds = {
        "NIH Pancreas-CT, held-out patients, labelled slices, box of the truth + 15 mm (first training)": "PANCREAS_",
        "MSD Task07 slabs, by the first training, which saw no MSD": "pancreas_",
    }
    for data, start in kinds.items():
        values = np.array([score.dsc for score in scores if score.name.startswith(start)])
        for metric, value in (
            ("DSC", values.mean),
            ("DSC, median", lambda v=values: np.median(v)),
            ("DSC, lowest", values.min),
        ):
            if len(values):
                spread = round(float(values.std(ddof=1)), 4) if metric == "DSC" and len(values) > 1 else None
                entries.append(
                    {"metric": metric, "value": round(float(value()), 4), "sd": spread, "data": data,
                     "cases": len(values), "note": command}
                )  # fmt: skip
    return entries


def model(data: Path, work: Path, folder: Path, cohort: Path | None) -> None:
    """Everything: arrays, a training that holds a fold out, cross-validation, trainings on all, package and report."""
    if not any(work.glob("*/*.npz")):
        prepare(data, work, cohort)
    train(work, FIRST, "first", fold=0)
    if not (work / "first-scores.csv").is_file():
        evaluate(work, "first", 0, ["msd"])
    crossvalidation.run(work, choose())
    train(work, SECOND, "second", work / "first.pt")
    train(work, LAST, "last", work / "second.pt", beyond=BEYOND)
    export(work, folder)
    first = Training(FIRST, [], work, "first", choose())
    report.write(work, work / "report", first.mean, choose(), package.OPTIONS["threshold"])


def export(work: Path, folder: Path) -> None:
    """The package of the last training, with the figures and the calibration of the first."""
    table = work / "first-scores.csv"
    line = evaluation.calibrate(evaluation.read(table))
    shown = figures(table, "python -m pancreasseg.lab.axial evaluate")
    package.write(folder, work / "last.pt", shown, line, FIRST.steps + SECOND.steps + LAST.steps)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pancreasseg.lab.axial", description=__doc__)
    parser.add_argument("what", choices=("prepare", "train", "evaluate", "validate", "export", "model"))
    parser.add_argument("--data", type=Path, help="folder with nih-sparse, msd-slabs, labels and unlabelled")
    parser.add_argument("--cohort", type=Path, help="a prepared cohort of whole CTs to learn from as well")
    parser.add_argument("--work", type=Path, required=True, help="folder for arrays, checkpoints and tables")
    parser.add_argument("--package", type=Path, help="folder of the model package")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="NIH patients to hold out")
    parser.add_argument("--scales", type=float, nargs="+", default=(), help="validate: also look at these pixel sizes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options.work.mkdir(parents=True, exist_ok=True)
    name = "last" if options.fold is None else f"fold{options.fold}"
    try:
        if options.what == "prepare":
            prepare(_given(options.data, "--data"), options.work, options.cohort)
        elif options.what == "train":
            train(options.work, SECOND if options.fold is None else FIRST, name, fold=options.fold)
        elif options.what == "evaluate":
            evaluate(options.work, name, options.fold, ["msd"])
        elif options.what == "validate":
            folds = range(FOLDS) if options.fold is None else [options.fold]
            crossvalidation.run(options.work, choose(), folds, options.scales)
        elif options.what == "export":
            export(options.work, _given(options.package, "--package"))
        else:
            model(_given(options.data, "--data"), options.work, _given(options.package, "--package"), options.cohort)
    except PancreasSegError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _given(path: Path | None, option: str) -> Path:
    if path is None:
        raise InputError("missing-option", f"{option} is needed.", f"Add {option} FOLDER.")
    return path


if __name__ == "__main__":
    sys.exit(main())

"""``pancreasseg evaluate`` and ``pancreasseg reproduce``: the papers' tables for packages and for recipes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command
from pancreasseg.cli.train import add_settings, command_line, hardware
from pancreasseg.core.errors import InputError
from pancreasseg.core.setup import AUTO, DEVICES, PRECISIONS, Setup

if TYPE_CHECKING:
    from pancreasseg.lab.cohorts import Case, Cohort
    from pancreasseg.lab.evaluation.scores import Score
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.models.store import Store

_EVALUATE = """\
Measure models on the cases of a prepared cohort, against their labels. FOLDER gets report.md with the tables of the
papers (also as CSV), plots, pictures of the worst cases, and the scores of every case.

A model that was trained on this cohort is measured on the fold that it has not seen. Stopped at any time, the same
command continues.
"""
_REPRODUCE = """\
Train a published method, or all of them, on the folds of a prepared cohort, measure each on the fold left out, and
write the papers' tables with the published figures beside ours. FOLDER gets report.md, and a folder for each training.

A plan gives recipes folds and settings of their own:
  {"zhao2019": {"folds": [1, 2, 3, 4], "settings": {"*.schedule.steps": 500}}, "roth2017": {"folds": [1]}}

Stopped at any time, the same command continues.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add both commands to the command line."""
    evaluate = add_command(commands, "evaluate", [common], "measure models on a cohort", _EVALUATE)
    evaluate.add_argument("models", metavar="MODEL", nargs="+", help="an installed model, or a package's folder")
    evaluate.add_argument("--data", metavar="COHORT", type=Path, required=True, help="folder of a prepared cohort")
    evaluate.add_argument("--fold", metavar="K", type=int, help="only the cases of this fold")
    evaluate.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where the report goes")
    evaluate.add_argument("--pipeline", metavar="NAME", help="by default the one that the model is made for")
    evaluate.add_argument("--device", choices=(AUTO, *DEVICES), default=AUTO, help="where to compute")
    evaluate.add_argument("--precision", choices=(AUTO, *PRECISIONS), default=AUTO, help="number format")
    evaluate.set_defaults(run=run_evaluate)
    reproduce = add_command(commands, "reproduce", [common], "train, cross-validate and compare methods", _REPRODUCE)
    reproduce.add_argument("recipe", metavar="RECIPE|all", help="'pancreasseg train --list' names them")
    reproduce.add_argument("--data", metavar="COHORT", type=Path, required=True, help="folder of a prepared cohort")
    reproduce.add_argument(
        "--folds", metavar="K", type=int, nargs="+", help="which folds to leave out in turn (default: all)"
    )
    reproduce.add_argument("--plan", metavar="FILE", type=Path, help="JSON with folds and settings of single recipes")
    reproduce.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where everything goes")
    add_settings(reproduce)
    reproduce.set_defaults(run=run_reproduce)


def run_evaluate(options: argparse.Namespace) -> None:
    """``evaluate``."""
    from pancreasseg.lab.cohorts import Cohort

    cohort = Cohort.open(options.data)
    chosen = [(*_find(model), model) for model in options.models]
    plans = [(package, store, _cases(package, cohort, options.fold)) for package, store, _ in chosen]
    from pancreasseg.inference.hardware import use_cores
    from pancreasseg.lab.evaluation.comparison import evaluate, write_report
    from pancreasseg.pipelines import create

    use_cores()
    methods: dict[str, list[Score]] = {}
    with console.progress_shown(quiet=options.json) as progress:
        for package, store, cases in plans:
            name = package.card.name
            pipeline = create(Setup(options.pipeline, name, options.device, options.precision), store)
            methods[name] = evaluate(pipeline, cohort, cases, options.output, method=name, progress=progress)
    more = f" --fold {options.fold}" if options.fold is not None else ""
    command = f"pancreasseg evaluate {' '.join(methods)} --data COHORT{more}"
    report = write_report(options.output, cohort, methods, {}, title="Evaluation", command=command)
    _show(options, methods, report)


def run_reproduce(options: argparse.Namespace) -> None:
    """``reproduce``."""
    from pancreasseg.inference.hardware import use_cores
    from pancreasseg.lab.cohorts import Cohort
    from pancreasseg.lab.evaluation.comparison import write_report
    from pancreasseg.lab.evaluation.scores import read_scores
    from pancreasseg.lab.training import recipes
    from pancreasseg.lab.training.plan import read_plan, tasks
    from pancreasseg.lab.training.run import train

    names = recipes.NAMES if options.recipe == "all" else (options.recipe,)
    plan = read_plan(options.plan) if options.plan else None
    cohort = Cohort.open(options.data)
    chosen = tasks(names, options.folds or cohort.folds, options.settings, plan)
    for fold in {fold for task in chosen for fold in task.folds}:
        cohort.fold(fold)
    use_cores()

    def place(recipe: str, fold: int) -> Path:
        return Path(options.output) / f"{recipe}-fold{fold}"

    methods: dict[str, list[Score]] = {}
    for task in chosen:
        name = task.recipe.name
        for fold in task.folds:
            console.say(f"{name}, fold {fold}")
            command = command_line("train", name, task.settings, f"--fold {fold}")
            with console.progress_shown(quiet=options.json) as progress:
                train(
                    task.recipe,
                    cohort,
                    fold,
                    place(name, fold),
                    hardware=hardware(options),
                    command=command,
                    progress=progress,
                )
            scores = read_scores(place(name, fold) / "evaluation" / f"{name}.csv")
            methods.setdefault(name, []).extend(scores)
    more = f"--folds {' '.join(map(str, options.folds))}" if options.folds else ""
    if options.plan:
        more = f"{more} --plan {options.plan.name}".strip()
    report = write_report(
        options.output,
        cohort,
        methods,
        {task.recipe.name: task.recipe.published for task in chosen},
        title="Published methods on this cohort",
        command=command_line("reproduce", options.recipe, options.settings, more),
        found=lambda score: place(score.method, score.fold) / "evaluation",
    )
    _show(options, methods, report)


def _find(model: str) -> tuple[ModelPackage, Store]:
    """An installed model by name, or the package in a folder; with the store to load it from."""
    from pancreasseg.models.package import CARD_FILE, ModelPackage
    from pancreasseg.models.store import Store

    folder = Path(model)
    if (folder / CARD_FILE).is_file():
        folder = folder.resolve()
        store = Store(folder.parent.parent, bundled=folder.parent)
        return ModelPackage(folder), store
    store = Store()
    return store.get(model), store


def _cases(package: ModelPackage, cohort: Cohort, fold: int | None) -> Sequence[Case]:
    """The cases to measure a package on: never those that it was trained on.

    Raises:
        InputError: no such fold, or the package was trained on cases of it.
    """
    from pancreasseg.lab.evaluation.comparison import describe

    training = package.card.training
    held_out = set(training.get("held_out", ())) if training.get("data") == describe(cohort) else None
    if fold is None:
        return [case for case in cohort.cases if held_out is None or case.id in held_out]
    if fold not in cohort.folds:
        cohort.fold(fold)  # raises: it names the folds there are
    cases = [case for case in cohort.cases if case.fold == fold]
    if held_out is not None and not {case.id for case in cases} <= held_out:
        raise InputError(
            "trained-on-these",
            f"The model {package.card.name} was trained on cases of fold {fold}.",
            "Leave --fold out to measure it on the cases that it has not seen.",
        )
    return cases


def _show(options: argparse.Namespace, methods: dict[str, list[Score]], report: Path) -> None:
    from pancreasseg.lab.evaluation.tables import methods_table

    if options.json:
        scores = {name: [vars(score) for score in scores] for name, scores in methods.items()}
        console.show_json({"report": str(report), "scores": scores})
        return
    table = methods_table(methods, {})
    console.show_table(table.title, table.header, table.rows)
    console.show(f"Report: {report}")

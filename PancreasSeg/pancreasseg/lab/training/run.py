"""From a recipe and a fold of a cohort to a model package with its card filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.atomic import atomic_write, prepare_folder
from pancreasseg.lab.cohorts import Cohort
from pancreasseg.lab.evaluation.comparison import describe, evaluate
from pancreasseg.lab.evaluation.scores import Score, column
from pancreasseg.lab.training import export
from pancreasseg.lab.training.part import PartLoop
from pancreasseg.lab.training.recipes.recipe import Part, Recipe
from pancreasseg.lab.training.slices import SliceLoop
from pancreasseg.lab.training.start import origin
from pancreasseg.lab.training.team import ALONE, Team
from pancreasseg.models.package import ModelPackage
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create

_SETTINGS = "recipe.json"


def package_name(recipe: Recipe, fold: int) -> str:
    """Name of the package that a recipe gives on a fold."""
    return f"{recipe.name}-fold{fold}"


def train(
    recipe: Recipe,
    cohort: Cohort,
    fold: int,
    output: Path,
    *,
    hardware: Hardware,
    command: str,
    team: Team = ALONE,
    progress: Progress | None = None,
    start: ModelPackage | None = None,
) -> ModelPackage:
    """Train a recipe on a fold, write the package, measure it on the held-out cases and fill in its card.

    Stopped at any time, the same call continues to the same result.

    Args:
        recipe: what to train.
        cohort: on which cases.
        fold: the held-out one, from 1.
        output: folder for checkpoints, logs, curves, scores and, in ``models``, the package.
        hardware: device and precision.
        command: kept in the card.
        team: the processes that train together; only the first writes files.
        progress: receives progress and cancels.
        start: a package whose weights the networks begin with; None for fresh ones.

    Raises:
        InputError: no such fold, ``start`` does not fit, or the folder holds a training with other settings.
        OutputError: the folder cannot be written to.
        RunError: the loss is not a number any more.
        Cancelled: the person cancelled.
    """
    progress = progress or Progress()
    training, held_out = cohort.fold(fold)
    fitted = recipe.for_organs(cohort.organs)
    if fitted is not recipe:
        progress.notice(Finding("organs", Severity.INFO, fitted.notes[-1]))
        recipe = fitted
    prepare_folder(output)
    _claim(output, recipe, cohort, fold, team, start)
    progress.plan([("resample", 0.1 * sum(part.schedule.steps for part in recipe.parts))])
    progress.plan([(part.role, float(part.schedule.steps)) for part in recipe.parts])
    progress.plan([("evaluate", 0.2 * sum(part.schedule.steps for part in recipe.parts))])
    if team.leads:
        organs = any(part.organs for part in recipe.parts)
        cohort.fill([part.grid for part in recipe.parts], training, progress, organs=organs)
    team.wait()
    loops = []
    for part in recipe.parts:
        loop = loop_for(part)(part, cohort, training, output, hardware, team, start)
        loop.run(progress=progress)
        loops.append(loop)
    home = output
    folder = home / "models" / package_name(recipe, fold)
    if not team.leads:
        team.wait()
        return ModelPackage(folder)
    export.draw_curves(output / "training.png", loops)
    weights = {loop.name: loop.weights() for loop in loops}
    card = _card(recipe, cohort, fold, loops, command, start)
    package = export.export(folder, card, weights)
    pipeline = create(Setup(model=package.card.name, device=hardware.device, precision=hardware.precision), Store(home))
    scores = evaluate(pipeline, cohort, held_out, output / "evaluation", method=recipe.name, progress=progress)
    package = export.export(folder, {**card, "figures": figures(scores, cohort, fold, command)}, weights)
    team.wait()
    return package


def loop_for(part: Part) -> type[PartLoop]:
    """What trains a network: in slices, or in blocks."""
    return SliceLoop if part.sampling.kind == "slice" else PartLoop


def figures(scores: Sequence[Score], cohort: Cohort, fold: int, command: str) -> list[dict[str, Any]]:
    """What was measured on the held-out cases, as a card's figures."""
    data = f"held-out fold {fold} of {len(cohort.folds)}: {describe(cohort)}"
    columns = {"DSC": "dsc", "coarse DSC": "coarse_dsc", "precision": "precision", "recall": "recall"}
    values = {metric: column(scores, name) for metric, name in columns.items()}
    return export.figures(values, data, len(scores), command)


def _card(
    recipe: Recipe, cohort: Cohort, fold: int, loops: Sequence[PartLoop], command: str, start: ModelPackage | None
) -> dict[str, Any]:
    synthetic = "PHANTOMS" in describe(cohort)
    population = "synthetic images only" if synthetic else f"the population of the training data ({describe(cohort)})"
    return {
        "name": package_name(recipe, fold),
        "version": "1.0.0",
        "title": f"{recipe.title}; fold {fold}",
        "description": " ".join(recipe.notes),
        "pipeline": recipe.pipeline,
        "options": dict(recipe.options),
        "networks": [part.card() for part in recipe.parts],
        "synthetic": synthetic,
        "contrast_phase": "portal-venous",
        "intended_use": "Research: comparison of published methods. Not for patients.",
        "not_for": ["patients: any diagnosis, planning or measurement", f"anything beyond {population}"],
        "training": {
            "data": describe(cohort),
            "licence": "that of the training data",
            "cases": len(loops[0].cases) + len(loops[0].monitored),
            "recipe": recipe.name,
            "command": command,
            "fold": fold,
            "held_out": [case.id for case in cohort.fold(fold)[1]],
            "watched": [case.id for case in loops[0].monitored],
            "steps": {loop.name: loop.step for loop in loops},
            "precision": loops[0].hardware.precision,
            **({} if start is None else {"from": origin(start)}),
        },
        "figures": [],
        "licence": _licence(start),
        "citation": recipe.published.source,
    }


def _licence(start: ModelPackage | None) -> str:
    """What is known of the terms of weights: those they began with are carried on."""
    own = "as the training data allow"
    return own if start is None else f'{start.card.licence} (of "{start.card.name}", which they began with); {own}'


def _claim(
    output: Path, recipe: Recipe, cohort: Cohort, fold: int, team: Team, start: ModelPackage | None = None
) -> None:
    """Refuse a folder in which something else was trained: its checkpoints would be continued."""
    own = {
        "recipe": recipe.name,
        "fold": fold,
        "cases": [case.fingerprint for case in cohort.cases],
        "parts": [asdict(part) for part in recipe.parts],
        "options": dict(recipe.options),  # kept scores are of these
        **({} if start is None else {"from": start.card.weights.sha256}),
    }
    text = json.dumps(own, indent=2, sort_keys=True) + "\n"
    path = output / _SETTINGS
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            "other-training",
            f"The folder {output} holds a training with other settings, data or fold.",
            "Choose another output folder, or remove it to begin anew.",
        )
    if team.leads and not path.exists():
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")

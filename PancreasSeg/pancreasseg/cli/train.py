"""``pancreasseg train``: train a published method on a cohort."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, UsageError, add_command
from pancreasseg.core.setup import AUTO, DEVICES, PRECISIONS

if TYPE_CHECKING:
    from pancreasseg.lab.training.recipes import Recipe

_DESCRIPTION = """\
Train a published method on the cases of a prepared cohort (see 'pancreasseg data prepare'), leaving out one fold, and
measure it on that fold. FOLDER gets checkpoints, logs (CSV), curves (PNG), scores, and the model package in 'models'.

Stopped at any time, the same command continues, to the same result. On several GPUs or machines:
  torchrun --nproc-per-node N -m pancreasseg train RECIPE ...
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "train", [common], "train a published method", _DESCRIPTION)
    command.add_argument("recipe", metavar="RECIPE", nargs="?", help="what to train; --list names them")
    command.add_argument("--list", action="store_true", help="name the recipes and stop")
    command.add_argument("--data", metavar="COHORT", type=Path, help="folder of a prepared cohort")
    command.add_argument("--fold", metavar="K", type=int, default=1, help="the fold to leave out (default: 1)")
    command.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="begin with the weights of an installed model of the same recipe and widths; outputs are rebuilt where "
        "its classes are others (default: fresh weights)",
    )
    command.add_argument("--output", metavar="FOLDER", type=Path, help="default: runs/RECIPE-foldK")
    command.add_argument("--install", action="store_true", help="install the package when it is done")
    add_settings(command)
    command.set_defaults(run=run)


def add_settings(command: argparse.ArgumentParser) -> None:
    """Settings of recipes, device and precision."""
    command.add_argument(
        "--set",
        metavar="NETWORK.SETTING=VALUE",
        dest="settings",
        action="append",
        default=[],
        help="change a setting of a network of the recipe, or of all with *, e.g. *.schedule.steps=500 "
        "(may be repeated; --list with a recipe shows them)",
    )
    command.add_argument("--device", choices=(AUTO, *DEVICES), default=AUTO, help="where to compute")
    command.add_argument(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        default=AUTO,
        help="number format of the computation; weights stay f32 (default: bf16 where it is fast, else f32)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from pancreasseg.lab.training import recipes

    if options.list:
        _list(options, [recipes.get(options.recipe)] if options.recipe else list(recipes.RECIPES.values()))
        return
    if options.recipe is None or options.data is None:
        raise UsageError("usage", "RECIPE and --data are needed.", "'pancreasseg train --list' names the recipes.")
    recipe = changed(recipes.get(options.recipe), options.settings)
    from pancreasseg.inference.hardware import use_cores
    from pancreasseg.lab.cohorts import Cohort
    from pancreasseg.lab.training.run import train
    from pancreasseg.lab.training.team import join
    from pancreasseg.models.store import Store

    cohort = Cohort.open(options.data)
    cohort.fold(options.fold)
    start = None if options.start is None else Store().get(options.start)
    beginning = "" if start is None else f"--from {start.card.name} "
    output = options.output or Path("runs") / f"{recipe.name}-fold{options.fold}"
    team = join()
    if team.size == 1:
        use_cores()  # torchrun deals out the cores itself
    with console.progress_shown(quiet=options.json or not team.leads) as progress:
        package = train(
            recipe,
            cohort,
            options.fold,
            output,
            hardware=hardware(options),
            command=command_line("train", recipe.name, options.settings, f"{beginning}--fold {options.fold}"),
            start=start,
            team=team,
            progress=progress,
        )
    if not team.leads:
        return
    if options.install:
        Store().install(package.folder)
    figures = [vars(figure) for figure in package.card.figures]
    if options.json:
        console.show_json({"package": str(package.folder), "output": str(output), "figures": figures})
        return
    rows = [(f["metric"], f["value"], "" if f["sd"] is None else f["sd"], f["cases"]) for f in figures]
    console.show_table(f"{package.card.name}: held-out fold", ("figure", "mean", "sd", "cases"), rows)
    console.show(f"Package: {package.folder}")
    if not options.install:
        console.show(f"Install it with: pancreasseg models install {package.folder}")


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """A recipe with the settings of the command line.

    Raises:
        InputError: there is no such setting.
    """
    from pancreasseg.lab.training.recipes import parse_setting

    return recipe.with_settings(dict(parse_setting(text) for text in settings))


def command_line(command: str, recipe: str, settings: Sequence[str], more: str) -> str:
    """What a person types for the same; without paths, which belong to one computer."""
    chosen = " ".join(f"--set {shlex.quote(text)}" for text in settings)
    return " ".join(part for part in ("pancreasseg", command, recipe, "--data COHORT", more, chosen) if part)


def hardware(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """Device and precision; bf16 instead of fp16 unless fp16 is asked for, as it needs no loss scaling."""
    from pancreasseg.inference.hardware import Hardware, choose

    found = choose(options.device, options.precision)
    if options.precision == AUTO and found.precision == "fp16":
        return Hardware(found.device, "bf16")
    return found


def _list(options: argparse.Namespace, chosen: Sequence[Recipe]) -> None:
    from dataclasses import asdict

    if options.json:
        console.show_json([asdict(recipe) for recipe in chosen])
        return
    rows = [
        (recipe.name, recipe.title, ", ".join(part.network for part in recipe.parts), recipe.pipeline)
        for recipe in chosen
    ]
    console.show_table("Recipes", ("name", "method", "networks", "pipeline"), rows)
    if options.recipe:
        for recipe in chosen:
            for note in (*recipe.notes, recipe.published.source):
                console.show(note)
            for part in recipe.parts:
                settings = [(f"{part.role}.{path}", value) for path, value in _flat(asdict(part))]
                console.show_table(part.role, ("setting", "value"), settings)


def _flat(settings: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows

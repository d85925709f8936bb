"""``pancreasseg finetune``: teach an installed model further on one's own cases."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, UsageError, add_command
from pancreasseg.cli.train import hardware
from pancreasseg.core.setup import AUTO, DEVICES, PRECISIONS

if TYPE_CHECKING:
    from pancreasseg.core.progress import Progress
    from pancreasseg.lab.axial.finetuning import FineTuned
    from pancreasseg.lab.cohorts import Cohort

_DESCRIPTION = """\
Teach an installed model further on your own cases, and say whether it got better: every case is segmented by a network
that did not learn from it, beside the model as it is. At least three CTs are needed; their masks have to be complete.

DATA is the folder of corrections kept in the panel ('Keep for training'), or a cohort made with 'pancreasseg data
prepare'. FOLDER gets checkpoints, scores, report and the package in 'models'. Stopped at any time, the same command
continues.
"""
#: Bundled.
MODEL = "pancreas-ct"


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "finetune", [common], "teach a model further on your own cases", _DESCRIPTION)
    command.add_argument("data", metavar="DATA", type=Path, help="kept corrections, or a prepared cohort")
    command.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        default=MODEL,
        help=f"an installed model with the network axial-unet (default: {MODEL}); it is not changed",
    )
    command.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where everything goes")
    command.add_argument("--name", metavar="NAME", help="of the new model (default: MODEL-finetuned)")
    command.add_argument("--steps", metavar="N", type=int, help="of each training (default: 300)")
    command.add_argument("--install", action="store_true", help="install the new model if it got better")
    command.add_argument("--device", choices=(AUTO, *DEVICES), default=AUTO, help="where to compute")
    command.add_argument("--precision", choices=(AUTO, *PRECISIONS), default=AUTO, help="number format")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.steps is not None and options.steps < 1:
        raise UsageError("usage", "--steps has to be at least 1.", "Leave it out for the default.")
    from pancreasseg.inference.hardware import use_cores
    from pancreasseg.lab.axial.finetuning import PLAN, finetune
    from pancreasseg.models.store import Store

    base = Store().get(options.start)
    use_cores()
    with console.progress_shown(quiet=options.json) as progress:
        cohort = _cohort(options, progress)
        outcome = finetune(
            base,
            cohort,
            options.output,
            options.name or f"{base.card.name}-finetuned",
            hardware=hardware(options),
            command=f"pancreasseg finetune DATA --from {base.card.name}",
            plan=PLAN if options.steps is None else replace(PLAN, steps=options.steps),
            progress=progress,
        )
    if options.install and outcome.better:
        Store().install(outcome.package.folder)
    _show(options, outcome)


def _cohort(options: argparse.Namespace, progress: Progress) -> Cohort:
    """The prepared cohort, or one made of kept corrections."""
    from pancreasseg.lab.cohorts import Cohort
    from pancreasseg.lab.cohorts.cohort import FILE
    from pancreasseg.lab.cohorts.prepare import Preparation, prepare

    if (options.data / FILE).is_file():
        return Cohort.open(options.data)
    return prepare("corrections", options.data, options.output / "cohort", Preparation(), progress)


def _show(options: argparse.Namespace, outcome: FineTuned) -> None:
    """The verdict, case by case."""
    pairs = list(zip(outcome.before, outcome.after, strict=True))
    installed = options.install and outcome.better
    if options.json:
        console.show_json(
            {
                "better": outcome.better,
                "sentence": outcome.sentence,
                "cases": [{"case": old.case, "before": old.dsc, "after": new.dsc} for old, new in pairs],
                "package": str(outcome.package.folder),
                "report": str(outcome.report),
                "installed": installed,
            }
        )
        return
    rows = [(old.case, f"{old.dsc:.3f}", f"{new.dsc:.3f}", f"{new.dsc - old.dsc:+.3f}") for old, new in pairs]
    console.show_table("DSC of held-out cases", ("case", "before", "after", "difference"), rows)
    console.show(outcome.sentence)
    console.show(f"Report: {outcome.report}")
    console.show(f"Package: {outcome.package.folder}")
    if not installed:
        console.show(f"Install it with: pancreasseg models install {outcome.package.folder}")

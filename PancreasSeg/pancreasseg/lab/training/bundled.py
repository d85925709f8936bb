"""Trains a model package, a localizer and a segmenter, on phantoms alone: without any data of patients.

    python -m pancreasseg.lab.training.bundled --output FOLDER

Cases are made in the background while the networks train in turns. Stopped at any time, the same command continues.
The package is written from the checkpoints, at any time, with

    python -m pancreasseg.lab.training.bundled --output FOLDER --export PACKAGE_FOLDER [--scores CSV --documents FOLDER]

where the scores are those of `pancreasseg.lab.training.evaluate`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pancreasseg.core.errors import InputError
from pancreasseg.inference.hardware import Hardware, choose
from pancreasseg.io.atomic import prepare_folder
from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.training import evaluate
from pancreasseg.lab.training.augmentation import Augmentation, BoxJitter
from pancreasseg.lab.training.cases import COARSE, FINE, Cases, Patient
from pancreasseg.lab.training.export import at_operating_point, document, export, figures
from pancreasseg.lab.training.loop import STEADY
from pancreasseg.lab.training.part import PartLoop
from pancreasseg.lab.training.recipes.recipe import Objective, Part, Sampling

_log = logging.getLogger(__name__)

NAME = "phantom-two-stage"
# Patients by seed: tests and demos below 1000, training from 1000, validation and the choice of operating points from
# 400000, evaluation from 600000.
FIRST_SEED = 1000
LOCALIZER_STEPS, SEGMENTER_STEPS = 720, 880
HELD_OUT = frozenset(range(400_000, 400_006))
#: How often the two networks take turns.
ROUNDS = 16
#: The probability that each exported network reports as one half, chosen on 14 patients that were never trained on.
#: A box must miss nothing, but still lower and the coarse mask swells until the stages disagree; 0.4 of the segmenter
#: gives an unbiased volume (102 %) and the same mean DSC as 0.5.
OPERATING_POINTS = {"localizer": 0.3, "segmenter": 0.4}

_EVALUATION = "python -m pancreasseg.lab.training.evaluate PACKAGE_FOLDER --patients {cases}"


def card(scores: Path | None, patients: int) -> dict[str, Any]:
    """The card of the bundled package, but for its networks and weights.

    Args:
        scores: what the evaluation wrote, for the figures.
        patients: synthetic patients that the networks were trained on.
    """
    measured = []
    if scores is not None:
        with scores.open(newline="", encoding="utf-8") as file:
            dsc = np.array([float(row["dsc"]) for row in csv.DictReader(file)])
        data = (
            "synthetic patients never trained on, scanned thin, usual, thick and oblique in turn "
            f"(seeds from {evaluate.FIRST_SEED})"
        )
        measured = figures({"DSC": dsc}, data, len(dsc), _EVALUATION.format(cases=len(dsc)))
    return {
        "name": NAME,
        "version": "1.2.0",
        "title": "For trying the software (synthetic images only)",
        "description": (
            "A small localizer and segmenter that come with PancreasSeg, so that the whole two-stage pipeline runs "
            "without a download. They have seen synthetic images only and no CT of a person; on real CTs they may "
            "find nothing or something else."
        ),
        "pipeline": "two-stage",
        "synthetic": True,
        "contrast_phase": "portal-venous",
        "intended_use": "Trying the software, its demo and its tests. Not for patients.",
        "not_for": [
            "patients: any diagnosis, planning or measurement",
            "real CTs: trained on synthetic images only",
            "unenhanced or arterial scans, children, diseased or operated pancreas",
        ],
        "training": {
            "data": "PancreasSeg phantom: synthetic portal-venous abdomens made by pancreasseg.phantom",
            "licence": "Apache-2.0, as the software",
            "cases": patients,
            "recipe": "python -m pancreasseg.lab.training.bundled",
        },
        "figures": measured,
        "licence": "Apache-2.0",
        "citation": "",
    }


def parts(localizer_steps: int = LOCALIZER_STEPS, segmenter_steps: int = SEGMENTER_STEPS) -> tuple[Part, Part]:
    """Localizer and segmenter of the bundled package."""
    return (
        _part(
            "localizer",
            [16, 32, 64, 96],
            COARSE,
            Sampling("whole", size=(88, 64, 72)),
            localizer_steps,
            patch=(88, 64, 72),
        ),
        _part(
            "segmenter",
            [16, 32, 64, 128],
            FINE,
            Sampling("box", size=(128, 80, 104), margin_mm=10.0, jitter=BoxJitter(), multiple=8),
            segmenter_steps,
            patch=(96, 72, 72),
        ),
    )


def _part(
    role: str, channels: list[int], grid: CaseGrid, sampling: Sampling, steps: int, patch: tuple[int, int, int]
) -> Part:
    return Part(
        role=role,
        network="unet3d",
        arguments={"channels": channels, "upsampling": "linear"},
        grid=grid,
        sampling=sampling,
        objective=Objective("dice+ce"),
        augmentation=Augmentation(),
        schedule=replace(
            STEADY, steps=steps, learning_rate=1.5e-3, warm_up=60, averaging=0.995, every=max(1, steps // ROUNDS)
        ),
        mean=0.5,
        deviation=0.5,
        patch=patch,
        monitored=0.0,
    )


class PhantomLoop(PartLoop):
    """The training of one network on synthetic patients; those held out watch it.

    Args:
        part: what to train.
        cases: where the samples come from.
        seeds: the patients to learn from.
        output: folder for checkpoint and log.
        hardware: device and precision.
    """

    def __init__(self, part: Part, cases: Cases, seeds: Sequence[int], output: Path, hardware: Hardware) -> None:
        # A loop asks for no more of a cohort and its cases than `Cases` and `Patient` have.
        source: Any = cases
        patients: list[Any] = [Patient(seed) for seed in seeds]
        watching: list[Any] = [Patient(seed) for seed in sorted(HELD_OUT)]
        super().__init__(part, source, patients, output, hardware)
        self.monitored = tuple(watching)


def loops(output: Path, cases: Cases, seeds: Sequence[int], chosen: Sequence[Part]) -> list[PhantomLoop]:
    """The trainings, as far as they have come.

    Args:
        output: folder of their files.
        cases: where the samples come from.
        seeds: the patients to learn from.
        chosen: what is trained.

    Raises:
        InputError: there is no patient to learn from.
        RunError: a checkpoint is damaged or belongs to another network.
    """
    if not seeds:
        raise InputError("no-cases", f"There are no training cases in {cases.folder}.", "Have some made: --patients N")
    return [PhantomLoop(part, cases, seeds, output, choose()) for part in chosen]


def train(running: Sequence[PhantomLoop]) -> None:
    """Train networks in turns of a validation each, so that each is useful early."""
    while not all(loop.finished for loop in running):
        for loop in (loop for loop in running if not loop.finished):
            loop.run(until=loop.step + loop.schedule.every)
            step, seconds, _, _, loss, score = loop.history[-1]
            _log.info(
                "%s: step %d of %d, %.2f s a step, loss %.3f, validation DSC %.3f",
                loop.name, step, loop.schedule.steps, seconds, loss, score,
            )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the bundled model package on phantoms.")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--cases", type=Path, help="folder for the training cases (default: OUTPUT/cases)")
    parser.add_argument("--patients", type=int, default=200, help="synthetic patients to make; 0: use those at hand")
    parser.add_argument("--localizer-steps", type=int, default=LOCALIZER_STEPS)
    parser.add_argument("--segmenter-steps", type=int, default=SEGMENTER_STEPS)
    parser.add_argument("--only", choices=("localizer", "segmenter"), help="train one of the two")
    parser.add_argument("--export", type=Path, help="write the package from the checkpoints; no training")
    parser.add_argument("--scores", type=Path, help="with --export: figures for the card, from the evaluation")
    parser.add_argument("--documents", type=Path, help="with --export: keep recipe, logs, curves and card here")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    torch.set_num_threads(options.threads)
    both = parts(options.localizer_steps, options.segmenter_steps)
    cases = Cases(options.cases or options.output / "cases")
    if options.patients and options.export is None:
        seeds = list(range(FIRST_SEED, FIRST_SEED + options.patients))
    else:
        seeds = [seed for seed in cases.at_hand(FINE) if seed not in HELD_OUT]
    if options.export is None:
        prepare_folder(options.output)
        running = loops(options.output, cases, seeds, [part for part in both if options.only in (None, part.role)])
        with cases.made_ahead([*sorted(HELD_OUT), *seeds]):
            train(running)
        return 0
    done = loops(options.output, cases, seeds, both)
    weights = {loop.name: at_operating_point(loop.weights(), OPERATING_POINTS[loop.name]) for loop in done}
    networks = [part.card() for part in both]
    package = export(options.export, {**card(options.scores, len(seeds)), "networks": networks}, weights)
    if options.documents is not None:
        document(options.documents, done, package, options.scores, OPERATING_POINTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())

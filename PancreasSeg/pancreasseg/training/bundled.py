"""Trains the bundled model package, a localizer and a segmenter, on phantoms alone.

    python -m pancreasseg.training.bundled --output FOLDER

Cases are made in the background while the networks train in turns. Stopped at any time, the same command continues.
The package is written from the checkpoints, at any time, with

    python -m pancreasseg.training.bundled --output FOLDER --export PACKAGE_FOLDER [--scores CSV --documents FOLDER]

where the scores are those of `pancreasseg.training.evaluate`.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pancreasseg.inference.hardware import cpu_has_bf16
from pancreasseg.training import evaluate
from pancreasseg.training.augment import jittered_box, whole_block
from pancreasseg.training.cases import COARSE_MM, FINE_MM, WINDOW, Case, case_path, fill
from pancreasseg.training.export import document, export, figures
from pancreasseg.training.trainer import Recipe, Trainer

_log = logging.getLogger(__name__)

NAME = "phantom-two-stage"
# Patients by seed: tests and demos below 1000, training from 1000, validation and the choice of operating points from
# 400000, evaluation from 600000.
FIRST_SEED = 1000
LOCALIZER_STEPS, SEGMENTER_STEPS = 720, 880
HELD_OUT = frozenset(range(400_000, 400_006))


_EVALUATION = (
    "python -m pancreasseg.training.evaluate PancreasSeg/Resources/Models/phantom-two-stage --patients {cases}"
)


def card(scores: Path | None, patients: int) -> dict[str, Any]:
    """The card of the bundled package, but for its networks and weights.

    Args:
        scores: what the evaluation wrote, for the figures.
        patients: synthetic patients that the networks were trained on.
    """
    measured = []
    if scores is not None:
        with scores.open(encoding="utf-8") as file:
            cases = sum(1 for _ in file) - 1
        data = (
            "synthetic patients never trained on, scanned thin, usual, thick and oblique in turn "
            f"(seeds from {evaluate.FIRST_SEED})"
        )
        measured = figures(scores, data, _EVALUATION.format(cases=cases))
    return {
        "name": NAME,
        "version": "1.1.0",
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
            "recipe": (
                "python -m pancreasseg.training.bundled; settings and logs in Resources/models/phantom-two-stage. The "
                "learning rate fell twice: over the first 320 (localizer) and 384 (segmenter) steps, and again after."
            ),
        },
        "figures": measured,
        "licence": "Apache-2.0",
        "citation": "",
    }


def _localizer_view(case: Case, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    return whole_block(case, (72, 64, 88), random)


def recipes(localizer_steps: int = LOCALIZER_STEPS, segmenter_steps: int = SEGMENTER_STEPS) -> tuple[Recipe, Recipe]:
    """Localizer and segmenter of the bundled package."""
    localizer = Recipe(
        role="localizer",
        network="unet3d",
        arguments={"channels": [16, 32, 64, 96], "upsampling": "linear"},
        spacing_mm=COARSE_MM,
        window_hu=WINDOW,
        sampler=_localizer_view,
        patch=(88, 64, 72),
        steps=localizer_steps,
        operating_point=0.3,  # a box must miss nothing; lower, and the coarse mask swells until the stages disagree
    )
    segmenter = Recipe(
        role="segmenter",
        network="unet3d",
        arguments={"channels": [16, 32, 64, 128], "upsampling": "linear"},
        spacing_mm=FINE_MM,
        window_hu=WINDOW,
        sampler=_segmenter_view,
        patch=(96, 72, 72),
        steps=segmenter_steps,
        operating_point=0.4,  # the same 14: unbiased volume (102 %), and the same mean DSC as at 0.5
    )
    return localizer, segmenter


def _segmenter_view(case: Case, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    return jittered_box(case, FINE_MM, random)


def _make_cases(folder: Path, patients: int) -> None:
    """The producer: the localizer's and the segmenter's case of one patient after the other."""
    os.nice(5)
    torch.set_num_threads(1)
    for seed in [*sorted(HELD_OUT), *range(FIRST_SEED, FIRST_SEED + patients)]:
        for role in ("localizer", "segmenter"):
            fill(folder, role, [seed])


def train(output: Path, cases: Path, patients: int, chosen: Sequence[Recipe], rounds: int = 16) -> tuple[Trainer, ...]:
    """Train networks in turns, so that each is useful early.

    Args:
        output: folder for checkpoints and logs.
        cases: folder for the cases.
        patients: synthetic patients to make; 0 uses what lies in ``cases``.
        chosen: what to train.
        rounds: how often they take turns.
    """
    output.mkdir(parents=True, exist_ok=True)
    for recipe in chosen:
        fill(cases, recipe.role, sorted(HELD_OUT))
    producer = None
    if patients:
        producer = multiprocessing.get_context("spawn").Process(target=_make_cases, args=(cases, patients), daemon=True)
        producer.start()
        while not case_path(cases, "segmenter", FIRST_SEED + min(patients, 16) - 1).exists():
            if not producer.is_alive():
                raise RuntimeError("the process that makes the cases has stopped")
            time.sleep(1)
    bf16 = cpu_has_bf16()
    trainers = tuple(Trainer(recipe, cases, output, HELD_OUT, bf16=bf16) for recipe in chosen)
    for turn in range(1, rounds + 1):
        for trainer in trainers:
            target = round(trainer.recipe.steps * turn / rounds)
            if trainer.step < target:
                trainer.run(target)
    if producer is not None:
        producer.terminate()
    return trainers


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
    both = recipes(options.localizer_steps, options.segmenter_steps)
    cases = options.cases or options.output / "cases"
    if options.export is None:
        train(options.output, cases, options.patients, [r for r in both if options.only in (None, r.role)])
        return 0
    trainers = [Trainer(recipe, cases, options.output, HELD_OUT, bf16=cpu_has_bf16()) for recipe in both]
    patients = sum(1 for path in cases.glob("segmenter-*.npy")) - len(HELD_OUT)
    package = export(options.export, card(options.scores, patients), trainers)
    if options.documents is not None:
        document(options.documents, trainers, package, options.scores)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How far the recipe carries: from one hospital to another, and within one in folds of patients.

Neither learns from Gibson's maps, which are of some of the same patients, nor from what OBELISK-Net says. Every part
goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.axial import evaluation
from pancreasseg.lab.axial.cases import SliceCase, load_group
from pancreasseg.lab.axial.evaluation import PatientScore
from pancreasseg.lab.axial.groups import FOLDS, patients, sources
from pancreasseg.lab.axial.package import OPTIONS
from pancreasseg.lab.axial.training import Plan, Training, weights

_log = logging.getLogger(__name__)

#: One hospital alone; then, from those weights, four fifths of the other one's patients.
ABROAD = Plan(steps=1300, rate=2e-3, seed=11)
FOLD = Plan(steps=1100, rate=1.5e-3, warm_up=50, seed=12)


def run(work: Path, hardware: Hardware) -> list[PatientScore]:
    """MSD to NIH, then five folds of NIH that begin with the weights of that training.

    Args:
        work: folder of the prepared arrays; gets the checkpoints, ``msd-to-nih-scores.csv`` and ``folds-scores.csv``.
        hardware: device and precision.

    Returns:
        The score of every NIH patient by the network that did not see it.
    """
    cases = load_group(work / "nih")
    abroad = Training(ABROAD, sources(work, ["msd"], gibson=False), work, "msd", hardware)
    _scored(abroad, cases, work / "msd-to-nih-scores.csv")
    scores: list[PatientScore] = []
    for fold in range(FOLDS):
        held = patients(work, fold)
        learned = sources(work, ["nih"], held, gibson=False)
        training = Training(FOLD, learned, work, f"fold{fold}", hardware, weights(abroad.checkpoint))
        scores += _scored(training, [case for case in cases if case.name in held], work / f"fold{fold}-scores.csv")
    evaluation.write(work / "folds-scores.csv", sorted(scores, key=lambda score: score.name))
    _log.info("All folds, %s", evaluation.summary(scores))
    return scores


def _scored(training: Training, cases: Sequence[SliceCase], table: Path) -> list[PatientScore]:
    """Train to the end and score patients that were not learned from; from the table where that was done before."""
    if not table.is_file():
        network = training.run()
        evaluation.write(
            table, [evaluation.score(network, case, training.hardware, OPTIONS["threshold"]) for case in cases]
        )
    scores = evaluation.read(table)
    _log.info("%s: %s", table.name, evaluation.summary(scores))
    return scores

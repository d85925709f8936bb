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
FOLD = Plan(steps=3000, rate=2e-3, warm_up=50, seed=12)


def run(
    work: Path, hardware: Hardware, folds: Sequence[int] = range(FOLDS), scales: Sequence[float] = ()
) -> list[PatientScore]:
    """MSD to NIH, then folds of NIH that begin with the weights of that training.

    Args:
        work: folder of the prepared arrays; gets the checkpoints, ``msd-to-nih-scores.csv`` and, as soon as all folds
            are there, ``folds-scores.csv``.
        hardware: device and precision.
        folds: to train now; several processes may each take some, once the first training is there.
        scales: score the mean of looks at these pixel sizes too, see `evaluation.probability`; into
            ``...-averaged-scores.csv``.

    Returns:
        The scores of the patients of these folds, by networks that did not see them.
    """
    cases = load_group(work / "nih")
    ending = "averaged-scores.csv" if scales else "scores.csv"
    abroad = Training(ABROAD, sources(work, ["msd"], gibson=False), work, "msd", hardware)
    _scored(abroad, cases, work / f"msd-to-nih-{ending}", scales)
    scores: list[PatientScore] = []
    for fold in folds:
        held = patients(work, fold)
        learned = sources(work, ["nih"], held, gibson=False)
        training = Training(FOLD, learned, work, f"fold{fold}", hardware, weights(abroad.checkpoint))
        unseen = [case for case in cases if case.name in held]
        scores += _scored(training, unseen, work / f"fold{fold}-{ending}", scales)
    _gather([work / f"fold{fold}-{ending}" for fold in range(FOLDS)], work / f"folds-{ending}")
    return scores


def _gather(tables: Sequence[Path], whole: Path) -> None:
    """One table of all folds, as soon as each has its own."""
    if all(table.is_file() for table in tables):
        scores = [score for table in tables for score in evaluation.read(table)]
        evaluation.write(whole, sorted(scores, key=lambda score: score.name))
        _log.info("All folds, %s", evaluation.summary(scores))


def _scored(training: Training, cases: Sequence[SliceCase], table: Path, scales: Sequence[float]) -> list[PatientScore]:
    """Train to the end and score patients that were not learned from; from the table where that was done before."""
    if not table.is_file():
        network, hardware = training.run(), training.hardware
        evaluation.write(
            table, [evaluation.score(network, case, hardware, OPTIONS["threshold"], scales) for case in cases]
        )
    scores = evaluation.read(table)
    _log.info("%s: %s", table.name, evaluation.summary(scores))
    return scores

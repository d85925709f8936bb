"""An installed axial model taught further on one's own cases, and whether that made it better.

Every case is judged by a network that did not learn from it, beside the model as it is, with the whole pipeline from
the CT alone. What is given in the end learned from all cases.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core.errors import InputError
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.atomic import prepare_folder
from pancreasseg.lab.axial.cases import CLASSES, SliceCase, load_group
from pancreasseg.lab.axial.public import of_cohort
from pancreasseg.lab.axial.training import Plan, Source, Training
from pancreasseg.lab.cohorts import Case, Cohort
from pancreasseg.lab.evaluation.comparison import describe, evaluate, write_report
from pancreasseg.lab.evaluation.scores import Score
from pancreasseg.lab.training.export import export, figures
from pancreasseg.lab.training.start import adapted, does_not_fit, networks_of, origin
from pancreasseg.models.network_card import NetworkCard
from pancreasseg.models.package import CARD_FILE, ModelPackage
from pancreasseg.models.store import Store
from pancreasseg.networks import AxialUNet
from pancreasseg.pipelines import create

#: Scans below which nobody can say whether it got better.
FEWEST = 3
#: At most; with fewer scans each is left out in turn.
FOLDS = 5
#: Short and gentle: the network knows what a pancreas is.
PLAN = Plan(steps=300, rate=3e-4, warm_up=30, averaging=0.98, seed=21)
#: Mean DSC by which it has to be better; less is chance.
LEAST_GAIN = 0.005


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning came to.

    Attributes:
        package: that learned from all cases.
        before: scores of the model as it is.
        after: of the same cases in the same order, each by a network that did not learn from it.
        report: tables and pictures.
    """

    package: ModelPackage
    before: tuple[Score, ...]
    after: tuple[Score, ...]
    report: Path

    @property
    def gains(self) -> np.ndarray:
        """DSC after less DSC before, by case."""
        return np.array([new.dsc - old.dsc for old, new in zip(self.before, self.after, strict=True)])

    @property
    def better(self) -> bool:
        """Whether the mean has become better, and more cases better than worse."""
        gains = self.gains
        return bool(gains.mean() >= LEAST_GAIN and (gains > 0).sum() > (gains < 0).sum())

    @property
    def sentence(self) -> str:
        """The verdict for a person."""
        gains = self.gains
        before, after = (np.mean([score.dsc for score in scores]) for scores in (self.before, self.after))
        verdict = (
            "Fine-tuning made it better"
            if self.better
            else "Fine-tuning did not make it better; keep the model as it is"
        )
        return (
            f"{verdict}: mean DSC {before:.3f} before, {after:.3f} after, on {len(gains)} held-out cases "
            f"({(gains > 0).sum()} better, {(gains < 0).sum()} worse)."
        )


def finetune(
    base: ModelPackage,
    cohort: Cohort,
    output: Path,
    name: str,
    *,
    hardware: Hardware,
    command: str,
    plan: Plan = PLAN,
    progress: Progress | None = None,
    workers: int = 1,
) -> FineTuned:
    """Fine-tune a model on the cases of a cohort. Stopped at any time, the same call continues.

    Args:
        base: an installed model with the network axial-unet; it is not changed.
        cohort: whole CTs with masks of the pancreas.
        output: folder for checkpoints, scores, report and, in ``models``, the package.
        name: of the new package.
        hardware: device and precision.
        command: kept in the card.
        plan: how long and how to train; its widths are those of the network.
        progress: receives progress and cancels.
        workers: processes that make crops; 0 makes them here.

    Raises:
        InputError: too few scans, a model of another kind, or ``output`` belongs to another fine-tuning.
        OutputError: the folder cannot be written to.
        Cancelled: the person cancelled.
    """
    entry = _network(base)
    folds = folds_of(cohort)
    _claim(prepare_folder(output), base, cohort, plan)
    teacher = _Teacher(base, entry, _prepared(cohort, output / "cases"), output, plan, hardware, workers)
    progress = progress or Progress()
    rounds = len(folds) + 1
    progress.plan([("train", 10.0 * rounds), ("evaluate", 1.0 * rounds)])
    setup = Setup(model=base.card.name, device=hardware.device, precision=hardware.precision)
    as_it_is = create(setup, Store(base.folder.parent.parent) if not base.bundled else Store(output))
    before = evaluate(as_it_is, cohort, cohort.cases, output / "before", method=base.card.name, progress=progress)
    scores: dict[str, Score] = {}
    places: dict[str, Path] = {}
    card = _card(base, name, cohort, plan, command)
    for number, held in enumerate(folds, start=1):
        home = output / f"fold{number}"
        teacher.teach(home, f"fold{number}", card, [case.id for case in held], progress)
        pipeline = create(Setup(model=name, device=hardware.device, precision=hardware.precision), Store(home))
        for score in evaluate(pipeline, cohort, held, home, method=name, progress=progress):
            scores[score.case], places[score.case] = score, home
    after = [scores[case.id] for case in cohort.cases]
    told = _figures(before, after, cohort, command)
    package = teacher.teach(output, "all", {**card, "figures": told}, [], progress)
    report = write_report(
        output / "report",
        cohort,
        {base.card.name: before, name: after},
        {},
        title=f"{name}: fine-tuned from {base.card.name}",
        command=command,
        found=lambda score: places[score.case] if score.method == name else output / "before",
    )
    return FineTuned(package, tuple(before), tuple(after), report)


def folds_of(cohort: Cohort) -> list[list[Case]]:
    """The cases dealt out by scans, so that none is judged by what learned from it.

    Raises:
        InputError: there are fewer than `FEWEST` scans.
    """
    groups = sorted({case.group for case in cohort.cases})
    if len(groups) < FEWEST:
        raise InputError(
            "too-few-cases",
            f"There are {len(groups)} CTs; with fewer than {FEWEST} nobody can say whether it got better.",
            "Keep corrections of more patients, and fine-tune then.",
        )
    count = min(FOLDS, len(groups))
    turn = {group: number % count for number, group in enumerate(groups)}
    return [[case for case in cohort.cases if turn[case.group] == fold] for fold in range(count)]


class _Teacher:
    """Trains the network of a package on cases, without some of them, and writes packages of what came out."""

    def __init__(
        self,
        base: ModelPackage,
        entry: NetworkCard,
        cases: Sequence[SliceCase],
        output: Path,
        plan: Plan,
        hardware: Hardware,
        workers: int,
    ) -> None:
        self.base, self.entry, self.cases, self.workers = base, entry, cases, workers
        self.output, self.hardware = output, hardware
        self.plan = Plan(**{**vars(plan), "channels": tuple(entry.arguments["channels"])})

    def teach(
        self, home: Path, run: str, card: dict[str, Any], without: Sequence[str], progress: Progress
    ) -> ModelPackage:
        """The package in ``home`` of a network that did not learn from some cases."""
        fresh = AxialUNet(classes=len(CLASSES), channels=self.plan.channels).state_dict()
        start = adapted(self.base, self.entry, CLASSES, fresh)
        source = Source(1.0, [case for case in self.cases if case.name not in without], whole=True)
        training = Training(self.plan, [source], self.output, run, self.hardware, start)
        with progress.stage("train", max(self.plan.steps - training.step, 1)):
            network = training.run(self.workers, progress)
        # The localizer may be another network, which stays as it is.
        members = {**networks_of(self.base), self.entry.members[0]: network.state_dict()}
        return export(home / "models" / str(card["name"]), card, members)


def _network(base: ModelPackage) -> NetworkCard:
    """The network that is taught."""
    entry = next((card for card in base.card.networks if card.role == "segmenter"), None)
    if entry is None or entry.network != "axial-unet" or len(entry.members) != 1:
        raise InputError(
            "start-does-not-fit",
            f'The model "{base.card.name}" cannot be fine-tuned this way: its segmenter is no single axial U-Net.',
            "Use pancreas-ct or what was made of it; for models of a recipe: pancreasseg train RECIPE --from MODEL.",
        )
    if tuple(entry.classes) != CLASSES:
        raise does_not_fit(base.card, "its classes are others than those of the training here")
    return entry


def _prepared(cohort: Cohort, folder: Path) -> list[SliceCase]:
    """The cases as slices, made once."""
    names = {case.id for case in cohort.cases}
    if {path.stem for path in folder.glob("*.npz")} != names:
        for case in of_cohort(cohort):
            case.save(folder)
    return [case for case in load_group(folder) if case.name in names]


def _claim(output: Path, base: ModelPackage, cohort: Cohort, plan: Plan) -> None:
    """Refuse a folder in which something else was trained: its checkpoints would be continued."""
    own = {
        "from": base.card.weights.sha256,
        "cases": {case.id: case.fingerprint for case in cohort.cases},
        "plan": {key: value for key, value in vars(plan).items() if key != "channels"},
    }
    text = json.dumps(own, indent=2, sort_keys=True) + "\n"
    path = output / "finetuning.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            "other-training",
            f"The folder {output} holds a fine-tuning of another model, or with other cases or steps.",
            "Choose another output folder, or remove it to begin anew.",
        )
    path.write_text(text, encoding="utf-8")


def _card(base: ModelPackage, name: str, cohort: Cohort, plan: Plan, command: str) -> dict[str, Any]:
    """The card of the base with what has changed; its terms are carried on."""
    card = json.loads((base.folder / CARD_FILE).read_text(encoding="utf-8"))
    before, own = card["training"], describe(cohort)
    return {
        **{key: value for key, value in card.items() if key not in ("format", "weights")},
        "name": name,
        "version": "1.0.0",
        "title": f"{base.card.title}; fine-tuned",
        "description": (
            f"{base.card.description} Fine-tuned on {own}. The expected overlap is as the model before has it."
        ),
        "synthetic": base.card.synthetic,
        "training": {
            "data": f"{before.get('data', 'not stated')}; then {own}",
            "licence": f"{before.get('licence', 'not stated')}; own cases: as their owner allows",
            "cases": len(cohort.cases),
            "recipe": f"fine-tuning, {plan.steps} steps of {plan.batch} crops",
            "command": command,
            "from": origin(base),
        },
        "figures": [],
        "licence": f"{base.card.licence}, as far as the owner of the own cases allows",
    }


def _figures(before: Sequence[Score], after: Sequence[Score], cohort: Cohort, command: str) -> list[dict[str, Any]]:
    """Cross-validated figures, and those of the model as it was on the same cases."""
    rows = []
    for words, scores in (("fine-tuned, cross-validated", after), ("before fine-tuning", before)):
        values = {"DSC": np.array([score.dsc for score in scores])}
        rows += figures(values, f"{describe(cohort)}; {words}", len(scores), command)
    return rows

"""A prepared cohort: its cases, its folds, and their arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core import Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import atomic_write
from pancreasseg.io.read import read_volume
from pancreasseg.io.write import as_json
from pancreasseg.lab.cohorts.case import Case, read_case_mask, read_organ_labels, sha256_of
from pancreasseg.lab.cohorts.grid import CaseGrid, Sample, SampleStore, resample
from pancreasseg.lab.cohorts.organs import in_common

FILE = "cohort.json"
FORMAT = 1


@dataclass(frozen=True)
class Cohort:
    """Cases that passed every check, with their folds.

    Attributes:
        folder: where the cohort and its resampled arrays lie.
        source: where the CTs and labels lie.
        kind: the layout of the source: "nih", "msd" or "folder".
        cases: in the order of their ids.
        left_out: what was left out and why: {"id", "code", "message", "hint"}.
        remarks: sentences about the cohort as a whole.
    """

    folder: Path
    source: Path
    kind: str
    cases: tuple[Case, ...]
    left_out: tuple[dict[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: str | Path, *, source: str | Path | None = None) -> Cohort:
        """Open what ``pancreasseg data prepare`` wrote.

        Args:
            folder: of the cohort.
            source: where CTs and labels lie now, if they were moved.

        Raises:
            InputError: it is no prepared cohort, it is damaged, or a newer version wrote it.
        """
        folder = Path(folder)
        try:
            data: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                "no-cohort",
                f"The folder {folder} holds no prepared cohort.",
                f"Prepare one first: pancreasseg data prepare nih|msd|folder SOURCE --output {folder}",
            ) from error
        except (OSError, ValueError) as error:
            raise _damaged(folder) from error
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            raise InputError(
                "cohort-newer", f"A newer version of PancreasSeg prepared the cohort {folder}.", "Prepare it again."
            )
        try:
            return cls(
                folder,
                Path(source) if source is not None else Path(data["source"]),
                data["kind"],
                tuple(Case.from_dict(case) for case in data["cases"]),
                tuple(dict(entry) for entry in data["left_out"]),
                tuple(data["remarks"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(folder) from error

    def save(self) -> None:
        """Write ``cohort.json``, complete or not at all."""
        document = {
            "format": FORMAT,
            "program": "PancreasSeg",
            "kind": self.kind,
            "source": str(self.source.resolve()),
            "cases": [case.as_dict() for case in self.cases],
            "left_out": list(self.left_out),
            "remarks": list(self.remarks),
        }
        with atomic_write(self.folder / FILE) as partial:
            partial.write_text(as_json(document), encoding="utf-8")

    @property
    def folds(self) -> tuple[int, ...]:
        """All folds that there are, from 1; standard folds count even where no case of theirs is at hand."""
        most = max((case.fold for case in self.cases), default=0)
        return tuple(range(1, max(most, 4 if self.kind == "nih" and most > 1 else most) + 1))

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that every case has labels of, the pancreas among them; () for the pancreas alone."""
        return in_common(() if case.organs is None else case.organs.names for case in self.cases)

    def fold(self, number: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """Training and validation cases of one fold.

        Args:
            number: from 1; the cases of this fold are those held out for validation.

        Raises:
            InputError: there is no such fold, or one of the two parts would be empty.
        """
        if number not in self.folds:
            there = f"the folds 1 to {len(self.folds)}" if len(self.folds) > 1 else "only one fold"
            raise InputError(
                "no-such-fold", f"There is no fold {number}; this cohort has {there}.", "Folds are counted from 1."
            )
        validation = tuple(case for case in self.cases if case.fold == number)
        training = tuple(case for case in self.cases if case.fold != number)
        if not validation:
            raise InputError("fold-empty", f"Fold {number} of this cohort holds no case.", "Choose another fold.")
        if not training:
            raise InputError(
                "fold-empty",
                f"All cases of this cohort are in fold {number}, so none is left to train on.",
                "Prepare a cohort of more cases.",
            )
        return training, validation

    def case(self, name: str) -> Case:
        """The case of an id.

        Raises:
            InputError: there is no such case.
        """
        for case in self.cases:
            if case.id == name:
                return case
        raise InputError("no-such-case", f"This cohort has no case {name!r}.", f"See {self.folder / 'report.md'}.")

    def volume(self, case: Case) -> Volume:
        """The CT of a case on its own grid, read from the source.

        Raises:
            InputError: it is not there any more, or damaged.
        """
        return read_volume(self.source / case.ct)

    def mask(self, case: Case) -> np.ndarray:
        """The label of a case on the grid of its CT: uint8 (K, J, I), read from the source.

        Raises:
            InputError: it is not there any more, or damaged.
        """
        return read_case_mask(self.source / case.label, case.geometry, case.axes, case.values)

    def organ_labels(self, case: Case) -> np.ndarray:
        """The label map of the organs beside the pancreas, uint8 (K, J, I) on the CT's grid, read from the source.

        Raises:
            InputError: the case has none, or the file is not there any more, or damaged.
        """
        if case.organs is None:
            raise InputError(
                "no-organ-labels",
                f"Case {case.id} has labels of the pancreas alone.",
                "Prepare the cohort with --organs, or leave the case out.",
            )
        organs = case.organs
        return read_organ_labels(self.source / organs.label, case.geometry, organs.axes, organs.values)

    def sample(self, case: Case, grid: CaseGrid, *, organs: bool = False) -> Sample:
        """A case on a grid, mapped from the cohort's folder; made and kept there the first time.

        Args:
            case: of this cohort.
            grid: which.
            organs: with the label map of the organs beside the pancreas.

        Raises:
            InputError: the case has to be read from its source, which has changed or gone.
            OutputError: it cannot be kept.
        """
        kept = self._kept(case, grid, organs)
        if kept is not None:
            return kept
        self._make(case, [grid], organs)
        made = self._kept(case, grid, organs)
        assert made is not None  # noqa: S101 - it has just been written
        return made

    def fill(
        self,
        grids: Sequence[CaseGrid],
        cases: Sequence[Case] | None = None,
        progress: Progress | None = None,
        *,
        organs: bool = False,
    ) -> int:
        """Make all samples that are not there yet. Stopped at any time, the same call continues.

        Args:
            grids: every case is read once for all of them.
            cases: by default all.
            progress: one step a case, stage "resample".
            organs: with the label maps of the organs beside the pancreas.

        Returns:
            How many cases had to be read.
        """
        progress = progress or Progress()
        chosen = self.cases if cases is None else cases
        read = 0
        with progress.stage("resample", len(chosen)):
            for case in chosen:
                missing = [grid for grid in grids if self._kept(case, grid, organs) is None]
                if missing:
                    self._make(case, missing, organs)
                    read += 1
                progress.advance()
        return read

    def _store(self, grid: CaseGrid) -> SampleStore:
        return SampleStore(self.folder / "grids", grid)

    def _kept(self, case: Case, grid: CaseGrid, organs: bool) -> Sample | None:
        kept = self._store(grid).get(case.id, case.fingerprint)
        if kept is None or not organs or case.organs is None:
            return kept
        labels = self._store(grid).organs(case.id, case.organs.fingerprint)
        return None if labels is None or labels.shape != kept.hu.shape else replace(kept, organs=labels)

    def _make(self, case: Case, grids: Sequence[CaseGrid], organs: bool) -> None:
        try:
            volume, mask, labels = self._read(case, organs)
        except InputError as error:
            if error.code == "case-changed":
                raise
            raise InputError(error.code, f"Case {case.id}: {error.message}", error.hint) from error
        for grid in grids:
            keep_sample(self._store(grid), case, resample(volume, mask, grid, labels))

    def _read(self, case: Case, organs: bool) -> tuple[Volume, np.ndarray, np.ndarray | None]:
        """CT, mask and organs of a case, which have to be what was checked."""
        volume = self.volume(case)
        if volume.geometry != case.geometry:
            raise _changed(case)
        mask = self.mask(case)
        if sha256_of(volume.array, mask) != case.fingerprint:
            raise _changed(case)
        if not organs or case.organs is None:
            return volume, mask, None
        labels = self.organ_labels(case)
        if sha256_of(labels) != case.organs.fingerprint:
            raise _changed(case)
        return volume, mask, labels


def keep_sample(store: SampleStore, case: Case, sample: Sample) -> None:
    """Put a sample of a case into a store, with its organs where it has them.

    Raises:
        OutputError: it cannot be written.
    """
    store.put(case.id, case.fingerprint, sample)
    if sample.organs is not None and case.organs is not None:
        store.put_organs(case.id, case.organs.fingerprint, sample.organs)


def _damaged(folder: Path) -> InputError:
    return InputError("cohort-damaged", f"{folder / FILE} is damaged.", "Prepare the cohort again.")


def _changed(case: Case) -> InputError:
    return InputError(
        "case-changed",
        f"CT or label of case {case.id} have changed since the cohort was prepared.",
        "Prepare the cohort again; cases that are unchanged are not read anew.",
    )

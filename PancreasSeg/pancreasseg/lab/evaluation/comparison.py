"""Evaluates packages on a cohort and writes the folder with tables, scores and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import atomic_write, prepare_folder
from pancreasseg.lab.cohorts import Case, Cohort
from pancreasseg.lab.evaluation.plots import draw_case, draw_folds, draw_volumes
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.evaluation.scores import Score, column, read_scores, score_case, write_scores
from pancreasseg.lab.evaluation.tables import boxes_table, folds_table, methods_table, paired_table

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline

#: Cases with a lower DSC than the others', drawn a method.
WORST = 3
_AROUND_MM = 25.0


def evaluate(
    pipeline: Pipeline,
    cohort: Cohort,
    cases: Sequence[Case],
    output: Path,
    *,
    method: str,
    progress: Progress | None = None,
) -> list[Score]:
    """Measure a pipeline on cases of a cohort. Stopped at any time, the same call continues.

    Scores are kept in ``<output>/<method>.csv`` after every case; the masks found in ``<output>/masks``.

    Args:
        pipeline: what to measure.
        cohort: where the cases are.
        cases: which of them.
        output: folder for scores and masks.
        method: name in tables and files.
        progress: one step a case, stage "evaluate".

    Raises:
        InputError: a case cannot be read.
        OutputError: the folder cannot be written to.
    """
    progress = progress or Progress()
    prepare_folder(output / "masks")
    path = output / f"{method}.csv"
    # What other weights were measured at is not continued.
    stamp = output / f"{method}.weights"
    weights = " ".join(package.card.weights.sha256 for package in pipeline.models)
    same = stamp.exists() and stamp.read_text(encoding="utf-8") == weights
    scores = {score.case: score for score in read_scores(path)} if same and path.exists() else {}
    with progress.stage("evaluate", len(cases)):
        for case in cases:
            if case.id not in scores:
                truth = cohort.mask(case)
                # The pipeline counts its own stages; only Cancel passes through.
                inner = Progress(cancelled=lambda: _cancelled(progress))
                score, mask = score_case(
                    pipeline,
                    cohort.volume(case),
                    truth,
                    method=method,
                    case=case.id,
                    fold=case.fold,
                    progress=inner,
                )
                scores[case.id] = score
                _keep_mask(_mask_path(output, method, case.id), mask)
                write_scores(path, scores.values())
                with atomic_write(stamp) as partial:
                    partial.write_text(weights, encoding="utf-8")
            progress.advance()
    return [scores[case.id] for case in cases]


def write_report(
    output: Path,
    cohort: Cohort,
    methods: Mapping[str, Sequence[Score]],
    published: Mapping[str, Published],
    *,
    title: str,
    command: str,
    found: Callable[[Score], Path] | None = None,
) -> Path:
    """Write tables (Markdown and CSV), plots and pictures of the worst cases.

    Args:
        output: folder for the report.
        cohort: for the pictures.
        methods: scores by method.
        published: what papers say, by method.
        title: first line.
        command: that made all this.
        found: the folder that `evaluate` wrote a score's mask to; by default ``output``.

    Returns:
        The Markdown file.

    Raises:
        OutputError: the folder cannot be written to.
    """
    prepare_folder(output)
    pages = [f"# {title}", "", f"Data: {describe(cohort)}", "", f"Made with: `{command}`", ""]
    tables = [("methods", methods_table(methods, published))]
    if len(methods) > 1:
        tables.append(("tests", paired_table(methods)))
    for name, scores in methods.items():
        theirs = published.get(name, Published(""))
        tables.append((f"{name}-folds", folds_table(scores, theirs.folds)))
        if len(column(scores, "box1_recall")):
            tables.append((f"{name}-boxes", boxes_table(scores, theirs.boxes)))
    for name, table in tables:
        owner = name.rpartition("-")[0]
        pages += [table.markdown() if not owner else table.markdown().replace("### ", f"### {owner}: ", 1)]
        with atomic_write(output / f"table-{name}.csv") as partial:
            partial.write_text(table.csv(), encoding="utf-8")
    draw_folds(output / "dsc-per-fold.png", methods)
    draw_volumes(output / "dsc-against-volume.png", methods)
    pages += ["![DSC per fold](dsc-per-fold.png) ![DSC against volume](dsc-against-volume.png)", ""]
    for name, scores in methods.items():
        pages += [f"### {name}: worst cases", ""]
        for score in sorted(scores, key=lambda s: s.dsc)[:WORST]:
            picture = f"worst-{name}-{score.case}.png"
            if _draw_worst(found(score) if found else output, cohort, score, output / picture):
                pages += [f"![{score.case}]({picture})"]
        pages += [""]
    report = output / "report.md"
    with atomic_write(report) as partial:
        partial.write_text("\n".join(pages), encoding="utf-8")
    return report


def describe(cohort: Cohort) -> str:
    """A cohort in a few words, and whether it is made up."""
    readme = cohort.source / "README.txt"
    made_up = readme.is_file() and "made-up cohort" in readme.read_text(encoding="utf-8", errors="replace")
    kind = {"nih": "layout of NIH Pancreas-CT", "msd": "MSD Task07", "folder": "own cases"}.get(
        cohort.kind, cohort.kind
    )
    return f"{len(cohort.cases)} cases, {kind}" + (", PHANTOMS, no patient's data" if made_up else "")


def _draw_worst(folder: Path, cohort: Cohort, score: Score, path: Path) -> bool:
    """Draw a case whose mask was kept."""
    kept = _mask_path(folder, score.method, score.case)
    if not kept.exists():
        return False
    with np.load(kept, allow_pickle=False) as file:
        mask = np.unpackbits(file["bits"])[: int(np.prod(file["shape"]))].reshape(file["shape"])
    case = cohort.case(score.case)
    truth = cohort.mask(case)
    both = Box.of_mask((truth != 0) | (mask != 0))
    assert both is not None  # noqa: S101 - no case of a cohort has an empty label
    inside = both.grow(_AROUND_MM, case.geometry).slices
    title = f"{score.method}, case {score.case}: DSC {100 * score.dsc:.1f} %"
    draw_case(path, title, cohort.volume(case).array[inside], truth[inside], mask[inside])
    return True


def _keep_mask(path: Path, mask: np.ndarray) -> None:
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, bits=np.packbits(mask != 0), shape=np.array(mask.shape))


def _mask_path(output: Path, method: str, case: str) -> Path:
    return output / "masks" / f"{method}-{case}.npz"


def _cancelled(progress: Progress) -> bool:
    progress.check()
    return False

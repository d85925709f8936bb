"""The tables of the papers, as Markdown and CSV: ours beside what was published."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.evaluation.scores import Score, column

#: Fewer pairs than this prove nothing, whatever the test says.
FEWEST_PAIRS = 6

_PERCENT = {"dsc", "coarse_dsc", "precision", "recall", "box1_recall", "box1_iou", "box2_recall", "box2_iou"}


@dataclass(frozen=True)
class Table:
    """A table as text cells.

    Attributes:
        title: one line.
        header: names of the columns.
        rows: cells, as many as the header has.
        note: a sentence below; may be empty.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"### {self.title}", "", _line(self.header), _line(["---"] * len(self.header))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])

    def csv(self) -> str:
        """The table as CSV."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
        return buffer.getvalue()


def folds_table(scores: Sequence[Score], published: Sequence[tuple[str, ...]] = ()) -> Table:
    """DSC of the coarse and the fine mask a fold: mean ± sd, max, min (Zhao 2019, table 1); published rows below."""
    rows: list[tuple[str, ...]] = []
    for name, part in _by_fold(scores):
        rows.append((name, str(len(part)), *_summary(part, "coarse_dsc"), *_summary(part, "dsc")))
    header = ("fold", "cases", *_named("coarse DSC %"), *_named("DSC %"))
    return Table("DSC per fold", header, (*rows, *published))


def boxes_table(scores: Sequence[Score], published: Sequence[tuple[str, ...]] = ()) -> Table:
    """Recall and IoU of both boxes a fold (Zhao 2019, table 2); published rows below."""
    rows = []
    for name, part in _by_fold(scores):
        cells = [c for key in ("box1_recall", "box2_recall", "box1_iou", "box2_iou") for c in _summary(part, key)]
        rows.append((name, *cells))
    titles = ("box 1 recall %", "box 2 recall %", "box 1 IoU %", "box 2 IoU %")
    return Table("Boxes per fold", ("fold", *(n for t in titles for n in _named(t))), (*rows, *published))


def methods_table(methods: Mapping[str, Sequence[Score]], published: Mapping[str, Published]) -> Table:
    """One row a method, and the published figures below it (Zhao 2019, table 3; Oktay 2018's measures).

    Args:
        methods: scores by method.
        published: by method; methods without figures have no row.
    """
    header = ("method", "cases", "DSC %", "max", "min", "precision %", "recall %", "HD mm", "S2S mm", "s a case")
    rows: list[tuple[str, ...]] = []
    for name, scores in methods.items():
        rows.append(
            (
                name,
                str(len(scores)),
                *_summary(scores, "dsc"),
                _mean_sd(scores, "precision"),
                _mean_sd(scores, "recall"),
                _mean_sd(scores, "hd"),
                _mean_sd(scores, "s2s"),
                f"{np.median(column(scores, 'seconds')):.1f}",
            )
        )
        if name in published and published[name].figures:
            theirs = published[name].figures
            rows.append((f"{name}, published", *(theirs.get(title, "-") for title in header[1:])))
    note = "Published rows: NIH Pancreas-CT, four folds; they compare with ours only where the data are the same."
    return Table("Methods", header, tuple(rows), note)


def paired_table(methods: Mapping[str, Sequence[Score]]) -> Table:
    """Wilcoxon's signed-rank test on the DSC of the cases that two methods share, for every pair of methods.

    Two-sided; pairs without a difference are left out, as Wilcoxon has it.
    """
    rows = []
    for (one, a), (other, b) in combinations(methods.items(), 2):
        left, right = ({s.case: s.dsc for s in scores} for scores in (a, b))
        shared = sorted(set(left) & set(right))
        differences = np.array([left[case] - right[case] for case in shared])
        mean = f"{100 * differences.mean():+.2f}" if len(shared) else "-"
        rows.append((f"{one} - {other}", str(len(shared)), mean, _p(differences)))
    note = f"p is given from {FEWEST_PAIRS} cases with a difference on."
    return Table(
        "Paired tests", ("methods", "cases", "mean difference of DSC, points", "p (Wilcoxon)"), tuple(rows), note
    )


def _p(differences: np.ndarray) -> str:
    some = differences[differences != 0]
    if len(some) < FEWEST_PAIRS:
        return "-"
    return f"{stats.wilcoxon(some).pvalue:.2g}"


def _by_fold(scores: Sequence[Score]) -> list[tuple[str, list[Score]]]:
    folds = sorted({score.fold for score in scores})
    parts = [(str(fold), [score for score in scores if score.fold == fold]) for fold in folds]
    return parts if len(parts) == 1 else [*parts, ("all", list(scores))]


def _named(title: str) -> tuple[str, str, str]:
    return (title, "max", "min")


def _summary(scores: Sequence[Score], name: str) -> tuple[str, str, str]:
    values = column(scores, name)
    if len(values) == 0:
        return ("-", "-", "-")
    factor = 100 if name in _PERCENT else 1
    return (_mean_sd(scores, name), _number(values.max() * factor), _number(values.min() * factor))


def _mean_sd(scores: Sequence[Score], name: str) -> str:
    values = column(scores, name)
    if len(values) == 0:
        return "-"
    factor = 100 if name in _PERCENT else 1
    if not np.isfinite(values).all():
        missed = int(np.sum(~np.isfinite(values)))
        finite = values[np.isfinite(values)]
        rest = f"; {_number(finite.mean() * factor)} without them" if len(finite) else ""
        return f"∞ ({missed} missed{rest})"
    spread = f" ± {_number(values.std(ddof=1) * factor)}" if len(values) > 1 else ""
    return f"{_number(values.mean() * factor)}{spread}"


def _number(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

"""What preparing a cohort found, for people (Markdown) and programs (JSON)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pancreasseg.io.atomic import all_or_none
from pancreasseg.io.write import as_json

if TYPE_CHECKING:
    from pancreasseg.lab.cohorts.cohort import Cohort

MARKDOWN, JSON = "report.md", "report.json"


def write_report(cohort: Cohort) -> None:
    """Write ``report.md`` and ``report.json`` into the cohort's folder.

    Raises:
        OutputError: they cannot be written.
    """
    with all_or_none(cohort.folder, [MARKDOWN, JSON]) as stage:
        (stage / MARKDOWN).write_text(markdown(cohort), encoding="utf-8")
        (stage / JSON).write_text(as_json(summary(cohort)), encoding="utf-8")


def summary(cohort: Cohort) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "format": 1,
        "kind": cohort.kind,
        "usable": len(cohort.cases),
        "left_out": list(cohort.left_out),
        "folds": {str(fold): count for fold, count in _folds(cohort).items()},
        "remarks": list(cohort.remarks),
        "cases": [
            {
                "id": case.id,
                "fold": case.fold,
                "group": case.group,
                "size": list(case.geometry.size),
                "spacing_mm": list(case.geometry.spacing),
                "pancreas_ml": case.pancreas_ml,
                "pancreas_hu": case.pancreas_hu,
                "box": list(case.box.bounds()),
                "label_axes": case.axes,
                **(
                    {}
                    if case.organs is None
                    else {"organs_ml": dict(zip(case.organs.names, case.organs.millilitres, strict=True))}
                ),
                "findings": [finding.as_dict() for finding in case.findings],
            }
            for case in cohort.cases
        ],
    }


def markdown(cohort: Cohort) -> str:
    """The report as a page to read."""
    total = len(cohort.cases) + len(cohort.left_out)
    lines = [
        f"# Cohort ({cohort.kind})",
        "",
        f"{len(cohort.cases)} of {total} cases can be used, {len(cohort.left_out)} cannot.",
        "",
        *[f"- {remark}" for remark in cohort.remarks],
    ]
    if cohort.left_out:
        lines += [
            "",
            "## Cases that cannot be used",
            "",
            "| case | what is wrong | what to do | code |",
            "|---|---|---|---|",
        ]
        lines += [_row(e["id"], e["message"], e["hint"], f"`{e['code']}`") for e in cohort.left_out]
    if cohort.cases:
        lines += ["", "## Folds", "", "| fold | cases | |", "|---|---|---|"]
        lines += [
            _row(fold, count, ", ".join(case.id for case in cohort.cases if case.fold == fold))
            for fold, count in _folds(cohort).items()
        ]
        volumes = np.array([case.pancreas_ml for case in cohort.cases])
        lines += [
            "",
            "## Cases",
            "",
            f"Pancreas: {volumes.mean():.1f} ml on average ({volumes.min():.1f} to {volumes.max():.1f} ml).",
            "",
            "| case | fold | voxels | spacing mm | pancreas ml | mean HU | remarks |",
            "|---|---|---|---|---|---|---|",
        ]
        for case in cohort.cases:
            size = " x ".join(str(n) for n in case.geometry.size)
            spacing = " x ".join(f"{s:.4g}" for s in case.geometry.spacing)
            remarks = " ".join(finding.sentence for finding in case.findings)
            lines.append(
                _row(case.id, case.fold, size, spacing, f"{case.pancreas_ml:.1f}", f"{case.pancreas_hu:.0f}", remarks)
            )
    return "\n".join(lines) + "\n"


def _folds(cohort: Cohort) -> dict[int, int]:
    counts = Counter(case.fold for case in cohort.cases)
    return {fold: counts[fold] for fold in cohort.folds}


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

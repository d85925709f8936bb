"""The page itself: a template, its style and its script in one file. Jinja escapes every text that is put into it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pancreasseg import __version__
from pancreasseg.core.finding import Severity
from pancreasseg.measure.measurements import NORMAL_ML, OBSERVED_ML
from pancreasseg.report.cohort.charts import agreement, bland_altman, overlap_boxes, volume_histogram
from pancreasseg.report.cohort.content import CohortCase, count_remarks, worst_first

_HERE = Path(__file__).parent


def page_of(cases: Sequence[CohortCase], title: str, made: datetime) -> str:
    """The page as HTML.

    It loads nothing: style, script and thumbnails are in it. Only the large pictures, which a click opens, lie beside
    it. A content security policy allows its own script and no other.

    Args:
        cases: in any order; the page shows the worst first.
        title: of the page.
        made: when.
    """
    ordered = worst_first(cases)
    links = {case.name: f"#case-{number}" for number, case in enumerate(ordered)}
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return (
        _template()
        .render(
            title=title,
            made=made,
            version=__version__,
            cases=ordered,
            tiles=_tiles(cases),
            remarks=count_remarks(cases),
            made_by=sorted({case.made_by for case in cases if case.made_by}),
            charts=_charts(ordered, links),
            normal=NORMAL_ML,
            observed=OBSERVED_ML,
            compared=[case for case in cases if "dsc" in case.numbers],
            agreement=_agreement_words(cases),
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
        .rstrip()
        + "\n"
    )


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")


def _charts(cases: Sequence[CohortCase], links: dict[str, str]) -> dict[str, Markup]:
    """The charts by name, empty where there is nothing to show."""
    volumes = [case.volume_ml for case in cases if case.volume_ml is not None]
    overlaps = any("dsc" in case.numbers for case in cases)
    differences = any(case.reference_ml is not None for case in cases)
    return {
        "volumes": volume_histogram(volumes) if volumes else Markup(""),
        "overlaps": overlap_boxes(cases, links) if overlaps else Markup(""),
        "agreement": bland_altman(cases, links) if differences else Markup(""),
    }


def _tiles(cases: Sequence[CohortCase]) -> list[tuple[str, str, str]]:
    """The numbers at the top of the page: value, what it is, and a class of the style sheet."""
    failed = sum(case.failed for case in cases)
    serious = sum(case.count(Severity.SERIOUS) > 0 for case in cases)
    volumes = [case.volume_ml for case in cases if case.volume_ml is not None]
    scores = [case.numbers["dsc"] for case in cases if "dsc" in case.numbers]
    tiles = [
        (str(len(cases)), "CTs", ""),
        (str(len(cases) - failed), "segmented", ""),
        (str(failed), "failed", "bad" if failed else ""),
        (str(serious), "with serious findings", "bad" if serious else ""),
    ]
    if volumes:
        tiles.append((f"{median(volumes):.1f} ml", "median volume", ""))
    if scores:
        tiles.append((f"{median(scores):.3f}", "median DSC", ""))
        spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
        tiles.append((f"{np.mean(scores):.3f}{spread}", f"mean DSC ± sd of {len(scores)}", ""))
    return tiles


def _agreement_words(cases: Sequence[CohortCase]) -> str:
    differences = [case.numbers["volume_difference"] for case in cases if case.reference_ml is not None]
    if not differences:
        return ""
    bias, spread = agreement(differences)
    limits = "" if spread is None else f", limits of agreement {bias - spread:+.1f} to {bias + spread:+.1f} ml"
    return f"bias {bias:+.1f} ml{limits}"

"""The charts of the page: volumes against the normal range, overlaps as box plots, Bland-Altman of volumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from pancreasseg.measure.measurements import NORMAL_ML, OBSERVED_ML
from pancreasseg.report.cohort import svg
from pancreasseg.report.cohort.content import OVERLAPS, CohortCase

_BINS = 24
_MOST_DOTS = 2000  # a picture with more of them says no more, and is slow
_LIMITS_SD = 1.96  # 95 % of differences, if they are normal: Bland and Altman, Lancet 1986;327:307-310


def volume_histogram(volumes: Sequence[float]) -> Markup:
    """How many cases have which volume, over the published range.

    Args:
        volumes: in ml.
    """
    top = max([*volumes, OBSERVED_ML[1] * 1.1])
    step = svg.nice_step(top * 1.05, _BINS)
    edges = [n * step for n in range(math.floor(top / step) + 2)]
    counts = np.histogram(np.asarray(volumes, float), edges)[0]
    x, y = svg.horizontal(0, edges[-1]), svg.vertical(0, max(4.0, float(counts.max()) * 1.1))
    mean, sd = NORMAL_ML

    def parts() -> Iterator[Markup]:
        bottom, high = y.at(0), svg.TOP
        yield svg.box(x.at(OBSERVED_ML[0]), high, x.at(OBSERVED_ML[1]), bottom, "observed", "Observed range")
        yield svg.box(x.at(mean - sd), high, x.at(mean + sd), bottom, "normal", "Mean ± standard deviation")
        yield svg.line(x.at(mean), high, x.at(mean), bottom, "mean")
        yield from svg.axes(x, y, "volume, ml", "CTs")
        for count, left, right in zip(counts, edges, edges[1:], strict=False):
            if count:
                title = f"{left:g} to {right:g} ml: {count}"
                yield svg.box(x.at(left) + 0.8, y.at(count), x.at(right) - 0.8, bottom, "bar", title)

    return svg.picture("Histogram of volumes over the published range", parts())


def overlap_boxes(cases: Sequence[CohortCase], links: dict[str, str]) -> Markup:
    """Box plots of DSC and its kin: median, quartiles, whiskers to the last value within 1.5 quartile ranges.

    Args:
        cases: all of them; those without a reference are left out.
        links: to a case's row, by its name.
    """
    names = [name for name in OVERLAPS if any(name in case.numbers for case in cases)]
    y = svg.vertical(0, 1)
    width = (svg.WIDTH - svg.LEFT - svg.RIGHT) / len(names)

    def parts() -> Iterator[Markup]:
        yield from svg.axes(None, y, "", "share")
        for number, name in enumerate(names):
            middle = svg.LEFT + (number + 0.5) * width
            yield from _box(middle, width, [case.numbers[name] for case in cases if name in case.numbers], y)
            yield svg.text(middle, svg.HEIGHT - svg.BOTTOM + 15, OVERLAPS[name], "tick middle")
            shown = [case for case in cases if name in case.numbers][:_MOST_DOTS]
            for order, case in enumerate(shown):
                place = middle + width * (0.27 + 0.13 * math.sin(order * 2.4))  # apart, the same each time
                value = case.numbers[name]
                yield svg.dot(place, y.at(value), f"{case.name}: {OVERLAPS[name]} {value:.3f}", links[case.name])

    return svg.picture("Box plots of overlap with the references", parts())


def _box(middle: float, width: float, values: Sequence[float], y: svg.ChartAxis) -> Iterator[Markup]:
    first, median, third = (float(v) for v in np.percentile(values, (25, 50, 75)))
    reach = 1.5 * (third - first)
    low = min(value for value in values if value >= first - reach)
    high = max(value for value in values if value <= third + reach)
    left, right = middle - width * 0.34, middle + width * 0.06
    centre = (left + right) / 2
    title = f"median {median:.3f}, quartiles {first:.3f} and {third:.3f}, {len(values)} CTs"
    yield svg.line(centre, y.at(low), centre, y.at(high), "whisker")
    yield svg.box(left, y.at(first), right, y.at(third), "box", title)
    yield svg.line(left, y.at(median), right, y.at(median), "median")


def bland_altman(cases: Sequence[CohortCase], links: dict[str, str]) -> Markup:
    """Differences of volumes (result - reference) against their means, with bias and limits of agreement.

    Args:
        cases: all of them; those without a reference are left out.
        links: to a case's row, by its name.
    """
    pairs = [
        (case, case.volume_ml, case.reference_ml)
        for case in cases
        if case.volume_ml is not None and case.reference_ml is not None
    ]
    means = [(ours + theirs) / 2 for _, ours, theirs in pairs]
    differences = [ours - theirs for _, ours, theirs in pairs]
    bias, spread = agreement(differences)
    levels = (
        [(bias, "bias")] if spread is None else [(bias, "bias"), (bias - spread, "limit"), (bias + spread, "limit")]
    )
    x = svg.horizontal(*svg.padded(means))
    y = svg.vertical(*svg.padded([*differences, *(value for value, _ in levels), 0.0]))

    def parts() -> Iterator[Markup]:
        yield from svg.axes(x, y, "mean of both volumes, ml", "result - reference, ml")
        for value, kind in levels:
            yield svg.line(svg.LEFT, y.at(value), svg.WIDTH - svg.RIGHT, y.at(value), kind)
            yield svg.text(svg.WIDTH - svg.RIGHT - 2, y.at(value) - 4, f"{value:+.1f}", "tick end")
        for (case, _, _), mean, difference in list(zip(pairs, means, differences, strict=True))[:_MOST_DOTS]:
            yield svg.dot(x.at(mean), y.at(difference), f"{case.name}: {difference:+.1f} ml", links[case.name])

    return svg.picture("Bland-Altman plot of volumes", parts())


def agreement(differences: Sequence[float]) -> tuple[float, float | None]:
    """The bias, and how far from it the limits of agreement lie; None where one difference has no spread."""
    spread = _LIMITS_SD * float(np.std(differences, ddof=1)) if len(differences) > 1 else None
    return float(np.mean(differences)), spread

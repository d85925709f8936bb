"""One page about one result, as PNG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from pancreasseg.core import Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.measurement import Measurement
from pancreasseg.core.results import Segmentation
from pancreasseg.report import style
from pancreasseg.report.planes import PLANES, Scene, Upright, annotate, centre, draw_plane, zoom
from pancreasseg.report.surface import draw_surface

_SIZE_INCHES = (15.0, 9.6)
_DPI = 110
_MOST_LINES = 7
_LINE_LENGTH = 165

# What the page shows of the measurements, as (title, names that are shown together, text between them).
_ROWS = (
    ("Volume", ("volume",), ""),
    ("HU, mean ± sd", ("hu_mean", "hu_sd"), " ± "),
    ("HU, median", ("hu_median",), ""),
    ("HU, 5th to 95th percentile", ("hu_p5", "hu_p95"), " to "),
    ("Length", ("length",), ""),
    ("Axial diameters", ("diameter_long", "diameter_short"), " x "),
    ("Extent R-L, A-P, S-I", ("extent_rl", "extent_ap", "extent_si"), " x "),
    ("Surface area", ("surface_area",), ""),
)
_COMPARED = (
    ("DSC", ("dsc",), ""),
    ("Precision, recall", ("precision", "recall"), ", "),
    ("Volume difference", ("volume_difference",), ""),
    ("HD95", ("hd95",), ""),
    ("Mean surface distance", ("msd",), ""),
    ("NSD at 1 and 2 mm", ("nsd_1mm", "nsd_2mm"), ", "),
)


def write_report(
    path: str | Path,
    volume: Volume,
    segmentation: Segmentation,
    measurements: Sequence[Measurement],
    findings: Sequence[Finding] | None = None,
    *,
    reference: np.ndarray | None = None,
    title: str = "Pancreas in CT",
) -> None:
    """Draw the result as PNG: three planes, whole and near, the surface, the numbers and the findings.

    The planes pass through the voxel of the mask that is nearest to its centre (of the box, where the mask is empty),
    in the anatomical orientation nearest to the volume's axes, in mm, with the window 40/400. Nothing that identifies
    the patient is shown: neither the volume's source nor any file name.

    Args:
        path: the PNG to write.
        volume: the CT.
        segmentation: the result.
        measurements: of the mask, and against a reference where there is one.
        findings: by default those of the segmentation.
        reference: mask (K, J, I) of a person, drawn as a second outline.
        title: heading of the page.

    Raises:
        OSError: the file cannot be written.
    """
    findings = segmentation.findings if findings is None else findings
    scene = _scene(volume, segmentation, reference)
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, facecolor=style.PAGE)
    FigureCanvasAgg(figure)
    grid = _grid(figure)
    _heading(figure.add_subplot(grid[0, :]), title, volume, reference is not None)
    near = zoom(scene)
    for number in range(len(PLANES)):
        draw_plane(figure.add_subplot(grid[1, number]), scene, number, bar_mm=100)
        draw_plane(figure.add_subplot(grid[2, number]), scene, number, near, bar_mm=20)
    surface = figure.add_subplot(grid[1, 3])
    if segmentation.mask.any():
        draw_surface(surface, segmentation.mask, volume.geometry)
        annotate(surface, "Surface from the front", "RLSI", 20)
    else:
        style.blank(surface, style.PANEL)
        style.write(surface, 0.5, 0.5, "No pancreas found", size=12, color=style.MUTED, ha="center", va="center")
    _numbers(figure.add_subplot(grid[2, 3]), measurements)
    _remarks(figure.add_subplot(grid[3, :]), findings, segmentation)
    figure.savefig(
        path,
        format="png",
        facecolor=style.PAGE,
        metadata={"Software": "PancreasSeg"},
        pil_kwargs={"compress_level": 1},  # a third of the time for a few percent more bytes
    )


def near_axial() -> tuple[float, float, float, float]:
    """Where the axial plane near the organ lies on the page: left, top, right, bottom as shares of the page."""
    figure = Figure(figsize=_SIZE_INCHES)
    place = _grid(figure)[2, 0].get_position(figure)
    return float(place.x0), 1 - float(place.y1), float(place.x1), 1 - float(place.y0)


def _grid(figure: Figure) -> GridSpec:
    return figure.add_gridspec(
        4,
        4,
        left=0.012,
        right=0.988,
        top=0.985,
        bottom=0.012,
        height_ratios=(0.055, 0.40, 0.40, 0.145),
        width_ratios=(1, 1, 1, 1.02),
        wspace=0.025,
        hspace=0.03,
    )


def _scene(volume: Volume, segmentation: Segmentation, reference: np.ndarray | None) -> Scene:
    upright = Upright(volume.geometry)
    mask, box = upright.array(segmentation.mask), upright.box(segmentation.box)
    return Scene(
        ct=upright.array(volume.array),
        mask=mask,
        reference=None if reference is None else upright.array(reference),
        spacing=upright.spacing,
        box=box,
        point=centre(mask, upright.spacing, box),
    )


def _heading(ax: Axes, title: str, volume: Volume, compared: bool) -> None:
    style.blank(ax)
    style.write(ax, 0.0, 0.80, title, size=15, fontweight="bold")
    geometry = volume.geometry
    size = " x ".join(str(n) for n in geometry.size)
    spacing = " x ".join(f"{s:.2f}" for s in geometry.spacing)
    style.write(
        ax,
        0.995,
        0.9,
        f"CT {size} voxels of {spacing} mm, window 40/400 HU",
        size=8.5,
        color=style.MUTED,
        ha="right",
    )
    keys: list[tuple[str, object, bool]] = [("Pancreas", style.ORGAN, False)]
    if compared:
        keys.append(("Reference", style.REFERENCE, False))
    keys.append(("Box", style.BOX, True))
    handles = [
        Line2D([], [], color=color, linestyle="--" if dashed else "-", linewidth=1.8)  # type: ignore[arg-type]
        for _, color, dashed in keys
    ]
    ax.legend(
        handles,
        [name for name, _, _ in keys],
        loc="lower right",
        bbox_to_anchor=(0.996, 0.02),
        ncols=len(keys),
        frameon=False,
        labelcolor=style.TEXT,
        prop={"family": style.FONT, "size": 8.5},
        borderaxespad=0,
        borderpad=0,
        handlelength=1.6,
    )


def _numbers(ax: Axes, measurements: Sequence[Measurement]) -> None:
    """The table of numbers: of the mask, and below it against the reference."""
    style.blank(ax)
    known = {row.name: row for row in measurements}
    rows = [(title, _cell(known, names, between)) for title, names, between in _ROWS if names[0] in known]
    compared = [(title, _cell(known, names, between)) for title, names, between in _COMPARED if names[0] in known]
    step = min(0.078, 0.93 / (len(rows) + len(compared) + (2.0 if compared else 1.0)))
    y = 0.97
    for title, value in rows:
        _row(ax, y, title, value, first=title == "Volume")
        y -= step
        if title == "Volume":
            style.write(ax, 0.03, y + 0.012, known["volume"].note, size=7, color=style.MUTED)
            y -= step * 0.85
    if compared:
        y -= step * 0.35
        style.write(ax, 0.03, y, "Against the reference", size=8.5, color=style.REFERENCE, fontweight="bold")
        y -= step
        for title, value in compared:
            _row(ax, y, title, value)
            y -= step


def _row(ax: Axes, y: float, title: str, value: str, *, first: bool = False) -> None:
    style.write(ax, 0.03, y, title, size=9.5 if first else 8.8, color=style.TEXT if first else style.MUTED)
    style.write(ax, 0.985, y, value, size=11.5 if first else 8.8, ha="right", fontweight="bold" if first else "normal")


def _cell(known: dict[str, Measurement], names: Sequence[str], between: str) -> str:
    """``"76.6 ± 40.0 HU"``: the values with their common unit once."""
    rows = [known[name] for name in names if name in known]
    if all(row.value is None for row in rows):
        return rows[0].value_text
    return f"{between.join(row.value_text for row in rows)} {rows[0].unit_text}".strip()


def _remarks(ax: Axes, findings: Sequence[Finding], segmentation: Segmentation) -> None:
    """The findings in plain words, the serious ones first, and how the result was made."""
    style.blank(ax)
    order = list(Severity)
    ranked = sorted(findings, key=lambda finding: -order.index(finding.severity))
    lines: list[tuple[str, str, bool]] = []
    for finding in ranked:
        wrapped = textwrap.wrap(finding.sentence, _LINE_LENGTH) or [""]
        lines += [(text, style.SEVERITY[finding.severity], number == 0) for number, text in enumerate(wrapped)]
    if not lines:
        lines = [("Nothing remarkable was found.", style.GOOD, True)]
    if len(lines) > _MOST_LINES:
        more = sum(first for _, _, first in lines[_MOST_LINES - 1 :])
        left = f"and {more} more in result.json" if more else "..."
        lines = [*lines[: _MOST_LINES - 1], (left, style.MUTED, False)]
    style.write(ax, 0.0, 0.97, "Findings", size=9.5, fontweight="bold")
    for number, (text, color, first) in enumerate(lines):
        y = 0.80 - number * 0.118
        if first:
            ax.plot([0.006], [y - 0.042], marker="o", markersize=5, color=color, transform=ax.transAxes)
        style.write(ax, 0.016, y, text, size=8.6)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    provenance = segmentation.provenance
    models = ", ".join(f"{model['name']} {model['version']}" for model in provenance.models)
    made = [
        f"PancreasSeg {provenance.version}",
        f"pipeline {provenance.pipeline}",
        *([f"model {models}"] if models else []),
        f"on {provenance.device}, {provenance.precision}",
        "Research software, not for diagnosis.",
    ]
    style.write(ax, 1.0, 0.97, "\n".join(made), size=8, color=style.MUTED, ha="right", linespacing=1.5)

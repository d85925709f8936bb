"""One page about one result, as PNG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pancreasseg.core import Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.measurement import Measurement
from pancreasseg.core.results import Segmentation
from pancreasseg.report import style
from pancreasseg.report.canvas import Canvas
from pancreasseg.report.planes import PLANES, Scene, Upright, centre, draw_plane, zoom
from pancreasseg.report.surface import draw_surface

# All in pixels: the page, its margin, the square panels, the space between them, and where their rows begin.
_SIZE = (1650, 1056)
_MARGIN = 20
_SIDE = 395
_GAP = 10
_ROWS_FROM = (82, 82 + _SIDE + _GAP)
_REMARKS_FROM = _ROWS_FROM[1] + _SIDE + 14
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
    page = Canvas(_SIZE)
    _heading(page, title, volume, compared=reference is not None)
    near = zoom(scene)
    for number in range(len(PLANES)):
        page.paste(draw_plane(scene, number, _SIDE, bar_mm=100), _place(0, number))
        page.paste(draw_plane(scene, number, _SIDE, near, bar_mm=20), _place(1, number))
    page.paste(_surface(segmentation, volume), _place(0, len(PLANES)))
    _numbers(page, _place(1, len(PLANES)), measurements)
    _remarks(page, findings, segmentation)
    page.save(path)


def near_axial() -> tuple[float, float, float, float]:
    """Where the axial plane near the organ lies on the page: left, top, right, bottom as shares of the page."""
    (left, top), (width, height) = _place(1, 0), _SIZE
    return left / width, top / height, (left + _SIDE) / width, (top + _SIDE) / height


def _place(row: int, column: int) -> tuple[int, int]:
    """Upper left of a panel."""
    return _MARGIN + column * (_SIDE + _GAP), _ROWS_FROM[row]


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


def _surface(segmentation: Segmentation, volume: Volume) -> Canvas:
    if not segmentation.mask.any():
        empty = Canvas((_SIDE, _SIDE), style.PANEL)
        empty.write((_SIDE / 2, _SIDE / 2), "No pancreas found", 18, color=style.MUTED, anchor="mm")
        return empty
    panel = draw_surface(segmentation.mask, volume.geometry, _SIDE)
    panel.annotate("Surface from the front", "RLSI", 20)
    return panel


def _heading(page: Canvas, title: str, volume: Volume, *, compared: bool) -> None:
    page.write((_MARGIN, 22), title, 23, bold=True)
    geometry = volume.geometry
    size = " x ".join(str(n) for n in geometry.size)
    spacing = " x ".join(f"{s:.2f}" for s in geometry.spacing)
    right = _SIZE[0] - _MARGIN - 8
    text = f"CT {size} voxels of {spacing} mm, window 40/400 HU"
    page.write((right, 20), text, 13, color=style.MUTED, anchor="ra")
    keys = [("Pancreas", style.ORGAN), *([("Reference", style.REFERENCE)] if compared else []), ("Box", style.BOX)]
    for name, color in reversed(keys):
        page.write((right, 62), name, 13, anchor="rm")
        right -= round(page.width_of(name, 13)) + 10
        (page.dashes if name == "Box" else page.line)((right - 26, 62), (right, 62), color, 3)
        right -= 26 + 26


def _numbers(page: Canvas, place: tuple[int, int], measurements: Sequence[Measurement]) -> None:
    """The table of numbers: of the mask, and below it against the reference."""
    left, y = place[0] + 12, float(place[1] + 12)
    known = {row.name: row for row in measurements}
    rows = [(title, _cell(known, names, between)) for title, names, between in _ROWS if names[0] in known]
    compared = [(title, _cell(known, names, between)) for title, names, between in _COMPARED if names[0] in known]
    step = min(31.0, 367 / (len(rows) + len(compared) + (2.2 if compared else 1.0)))
    for title, value in rows:
        if title == "Volume":
            _row(page, left, y, title, value, 15, style.TEXT, bold=18)
            y += max(22.0, 0.8 * step)
            page.write((left, y - 1), known["volume"].note, 11, color=style.MUTED, anchor="lm")
            y += step
        else:
            _row(page, left, y, title, value, 13, style.MUTED)
            y += step
    if compared:
        y += step * 0.35
        page.write((left, y), "Against the reference", 13, color=style.REFERENCE, anchor="lm", bold=True)
        for title, value in compared:
            y += step
            _row(page, left, y, title, value, 13, style.MUTED)


def _row(page: Canvas, left: float, y: float, title: str, value: str, size: int, color: str, *, bold: int = 0) -> None:
    """A title at the left and a value at the right; ``bold`` is the size of one that stands out."""
    page.write((left, y), title, size, color=color, anchor="lm")
    page.write((_SIZE[0] - _MARGIN - 6, y), value, bold or size, anchor="rm", bold=bool(bold))


def _cell(known: dict[str, Measurement], names: Sequence[str], between: str) -> str:
    """``"76.6 ± 40.0 HU"``: the values with their common unit once."""
    rows = [known[name] for name in names if name in known]
    if all(row.value is None for row in rows):
        return rows[0].value_text
    return f"{between.join(row.value_text for row in rows)} {rows[0].unit_text}".strip()


def _remarks(page: Canvas, findings: Sequence[Finding], segmentation: Segmentation) -> None:
    """The findings in plain words, the serious ones first, and how the result was made."""
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
    page.write((_MARGIN, _REMARKS_FROM), "Findings", 15, bold=True)
    for number, (text, color, first) in enumerate(lines):
        y = _REMARKS_FROM + 35 + number * 18
        if first:
            page.dot((_MARGIN + 9, y), 4, color)
        page.write((_MARGIN + 26, y), text, 13, anchor="lm")
    provenance = segmentation.provenance
    models = ", ".join(f"{model['name']} {model['version']}" for model in provenance.models)
    made = [
        f"PancreasSeg {provenance.version}",
        f"pipeline {provenance.pipeline}",
        *([f"model {models}"] if models else []),
        f"on {provenance.device}, {provenance.precision}",
        "Research software, not for diagnosis.",
    ]
    place = (_SIZE[0] - _MARGIN, _REMARKS_FROM)
    page.write(place, "\n".join(made), 12, color=style.MUTED, anchor="ra")

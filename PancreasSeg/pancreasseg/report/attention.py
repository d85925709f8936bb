"""Attention maps over the CT, as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pancreasseg.core import Volume
from pancreasseg.core.results import Attention, Segmentation
from pancreasseg.report import style
from pancreasseg.report.planes import WINDOW_HU, Upright, annotate, outline

COLOURS = "inferno"
_OPACITY = 0.6
_PANEL_INCHES = 2.9
_HEAD_INCHES = 0.75
_DPI = 110


def write_attention_sheet(path: str | Path, volume: Volume, segmentation: Segmentation, attention: Attention) -> None:
    """Draw the axial slice with most of the pancreas in it: the CT alone, and each map over it, a row a level.

    All maps share one scale, from the lowest to the highest coefficient in the slice, so that they can be compared;
    each panel says its own range. Nothing that identifies the patient is shown.

    Args:
        path: the PNG to write.
        volume: the CT.
        segmentation: the result; its outline is drawn.
        attention: the maps, over a box of that CT.

    Raises:
        OSError: the file cannot be written.
    """
    upright = Upright(volume.geometry)
    start, stop = upright.box(attention.box)
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    ct, mask = upright.array(volume.array)[inside], upright.array(segmentation.mask)[inside]
    at = int((mask > 0).sum(axis=(1, 2)).argmax()) if mask.any() else len(mask) // 2
    slices = {name: upright.array(array)[at] for name, array in attention.maps.items()}
    levels = list(dict.fromkeys(name.rsplit("-", 1)[0].removesuffix("-head") for name in slices))
    rows = [[name for name in slices if name.startswith(f"{level}-")] for level in levels]
    columns = 1 + max(len(row) for row in rows)
    _, step_y, step_x = upright.spacing
    height = ct.shape[1] * step_y / (ct.shape[2] * step_x) * _PANEL_INCHES
    size = (columns * _PANEL_INCHES, len(rows) * height + _HEAD_INCHES)
    figure = Figure(figsize=size, dpi=_DPI, facecolor=style.PAGE)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(rows),
        columns,
        left=0.004,
        right=0.996,
        bottom=0.006,
        top=1 - _HEAD_INCHES / size[1],
        wspace=0.02,
        hspace=0.02,
    )
    scale = Normalize(min(float(s.min()) for s in slices.values()), max(float(s.max()) for s in slices.values()))
    for row, names in enumerate(rows):
        first = figure.add_subplot(grid[row, 0])
        style.blank(first)
        if row == 0:
            _panel(first, ct[at], mask[at], (step_y, step_x))
            annotate(first, "CT, axial", "RLAP", 20)
        for column, name in enumerate(names, start=1):
            ax = figure.add_subplot(grid[row, column])
            shown = slices[name]
            _panel(ax, ct[at], mask[at], (step_y, step_x), shown, scale)
            title = f"{name.replace('-', ' ')}: {shown.min():.2f} to {shown.max():.2f}"
            style.write(ax, 0.015, 0.985, title, size=8.5, halo=True)
    _heading(figure, scale)
    figure.savefig(path, format="png", facecolor=style.PAGE, metadata={"Software": "PancreasSeg"})


def _panel(
    ax: Axes,
    ct: np.ndarray,
    mask: np.ndarray,
    steps: tuple[float, float],
    shown: np.ndarray | None = None,
    scale: Normalize | None = None,
) -> None:
    style.blank(ax, style.PANEL)
    rows, columns = ct.shape
    extent = (0.0, columns * steps[1], rows * steps[0], 0.0)
    low, high = WINDOW_HU
    ax.imshow(ct, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    if shown is not None:
        ax.imshow(shown, cmap=COLOURS, norm=scale, alpha=_OPACITY, extent=extent, interpolation="bilinear")
    x, y = (np.arange(columns) + 0.5) * steps[1], (np.arange(rows) + 0.5) * steps[0]
    outline(ax, x, y, mask, style.REFERENCE, 1.0)
    ax.set_xlim(0, extent[1])
    ax.set_ylim(extent[2], 0)
    ax.set_aspect("equal")


def _heading(figure: Figure, scale: Normalize) -> None:
    """What is seen, and the colours with their numbers."""
    width, height = figure.get_size_inches()
    ax = figure.add_axes((0.0, 1 - _HEAD_INCHES / height, 1.0, _HEAD_INCHES / height))
    style.blank(ax)
    text = "Where the network looks: attention coefficients, 0 (shut) to 1 (open); line: the segmented pancreas"
    style.write(ax, 0.006, 0.9, text, size=9)
    bar = figure.add_axes((0.006, 1 - 0.55 * _HEAD_INCHES / height, min(0.3, 3 / width), 0.12 / height))
    style.blank(bar)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=COLOURS, aspect="auto")
    for place, value, side in ((0.0, scale.vmin, "left"), (1.0, scale.vmax, "right")):
        style.write(bar, place, -0.4, f"{value:.2f}", size=8, color=style.MUTED, ha=side)

"""Attention maps over the CT, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pancreasseg.core import Volume
from pancreasseg.core.results import Attention, Segmentation
from pancreasseg.report import style
from pancreasseg.report.canvas import Canvas, PlaneCanvas
from pancreasseg.report.planes import THIN, Upright, windowed

COLOURS = "inferno"
_OPACITY = 0.6
_WIDTH, _GAP, _HEAD = 320, 6, 82  # pixels: of a panel, around panels, above them


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
    _, *steps = upright.spacing
    scale = min(float(s.min()) for s in slices.values()), max(float(s.max()) for s in slices.values())
    first = _panel(ct[at], mask[at], steps)
    width, height = first.image.size
    page = Canvas((columns * (width + _GAP) + _GAP, len(rows) * (height + _GAP) + _HEAD))
    first.annotate("CT, axial", "RLAP", 20)
    page.paste(first, (_GAP, _HEAD))
    for row, names in enumerate(rows):
        for column, name in enumerate(names, start=1):
            shown = slices[name]
            panel = _panel(ct[at], mask[at], steps, _coloured(shown, scale))
            panel.write((6, 5), f"{name.replace('-', ' ')}: {shown.min():.2f} to {shown.max():.2f}", 13, halo=True)
            page.paste(panel, (_GAP + column * (width + _GAP), _HEAD + row * (height + _GAP)))
    _heading(page, scale)
    page.save(path)


def _panel(ct: np.ndarray, mask: np.ndarray, steps: Sequence[float], over: Image.Image | None = None) -> PlaneCanvas:
    """A slice (rows, columns) with its outline; ``steps`` are mm downwards and to the right, ``over`` lies over it."""
    rows, columns = ct.shape
    edges = (0.0, 0.0, columns * steps[1], rows * steps[0])
    panel = PlaneCanvas((_WIDTH, max(1, round(_WIDTH * edges[3] / edges[2]))), edges)
    grey = windowed(ct).convert("RGB")
    panel.picture(grey if over is None else Image.blend(grey, over, _OPACITY), edges)
    panel.outline(mask, edges, style.REFERENCE, THIN)
    return panel


def _coloured(values: np.ndarray, scale: tuple[float, float]) -> Image.Image:
    from matplotlib import colormaps

    low, high = scale
    return Image.fromarray(colormaps[COLOURS]((values - low) / max(high - low, 1e-12), bytes=True)[..., :3])


def _heading(page: Canvas, scale: tuple[float, float]) -> None:
    """What is seen, and the colours with their numbers."""
    text = "Where the network looks: attention coefficients, 0 (shut) to 1 (open); line: the segmented pancreas"
    page.write((10, 12), text, 14)
    width = min(330, page.image.width // 3)
    bar = _coloured(np.linspace(0, 1, width)[None].repeat(13, axis=0), (0, 1))
    page.image.paste(bar, (10, 34))
    for x, value, anchor in ((10, scale[0], "la"), (10 + width, scale[1], "ra")):
        page.write((x, 52), f"{value:.2f}", 12, color=style.MUTED, anchor=anchor)

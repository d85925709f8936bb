"""Colours and text of the report."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import findfont, get_font
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from pancreasseg.core.finding import Severity

PAGE = "#101418"
PANEL = "#000000"
TEXT = "#e8ecf0"
MUTED = "#93a0ad"
LINE = "#2b343d"
ORGAN: tuple[float, float, float] = (249 / 255, 180 / 255, 111 / 255)  # the colour that the segment has in Slicer
REFERENCE = "#4fd1ff"
BOX = "#d7e36a"
GOOD = "#6fcf97"
SEVERITY = {Severity.INFO: "#7fb2ff", Severity.WARNING: "#f2c14e", Severity.SERIOUS: "#ff6b5e"}

FONT = "DejaVu Sans"  # comes with matplotlib, so the page looks the same everywhere


def write(
    ax: Axes, x: float, y: float, text: str, *, size: float = 8.0, color: Any = TEXT, halo: bool = False, **options: Any
) -> Text:
    """Put text at axes fractions; nothing in it is taken for mathematics, and unknown characters become "?".

    ``halo`` outlines it, so that it can be read on a picture; other options are those of a matplotlib text.
    """
    options.setdefault("transform", ax.transAxes)
    options.setdefault("va", "top")
    known = "".join(c if c == "\n" or ord(c) in _characters() else "?" for c in text)
    if halo:
        options["path_effects"] = [withStroke(linewidth=2.2, foreground=PANEL)]
    return ax.text(x, y, known, fontsize=size, color=color, fontfamily=FONT, parse_math=False, **options)


def blank(ax: Axes, color: str = PAGE) -> None:
    """Nothing but the background."""
    ax.set_facecolor(color)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())

"""Colours and letters of the report."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from pancreasseg.core.finding import Severity

PAGE = "#101418"
PANEL = "#000000"
TEXT = "#e8ecf0"
MUTED = "#93a0ad"
ORGAN = "#f9b46f"  # the colour that the segment has in Slicer
REFERENCE = "#4fd1ff"
BOX = "#d7e36a"
GOOD = "#6fcf97"
SEVERITY = {Severity.INFO: "#7fb2ff", Severity.WARNING: "#f2c14e", Severity.SERIOUS: "#ff6b5e"}

FONT = "DejaVu Sans"  # comes with matplotlib, so the page looks the same everywhere

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> Font:
    """Letters so many pixels high; matplotlib's own, which it need not be imported for."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    spec = importlib.util.find_spec("matplotlib")
    folders = spec.submodule_search_locations if spec else None
    paths = [str(Path(folder, "mpl-data", "fonts", "ttf", name)) for folder in folders or ()]
    for path in (*paths, name):  # the bare name is looked for among the system's fonts
        try:
            # The same layout with and without the library for right-to-left scripts.
            return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
        except OSError:  # a distribution may have put its fonts elsewhere
            continue
    return ImageFont.load_default(size)

"""A small picture of a result, cut out of its report picture."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from pancreasseg.report.figure import near_axial

SIZE = 144
_QUALITY = 78


def thumbnail(report: Path) -> str:
    """The axial plane near the organ as data URL (JPEG); empty where the picture cannot be read.

    Args:
        report: written by `figure.write_report`.
    """
    try:
        with Image.open(report, formats=("PNG",)) as page:
            small = page.crop(_place(page.size)).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    small.thumbnail((SIZE, SIZE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _place(size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = _near_axial()
    width, height = size
    return round(left * width), round(top * height), round(right * width), round(bottom * height)


@lru_cache(maxsize=1)
def _near_axial() -> tuple[float, float, float, float]:
    return near_axial()

"""What the report is drawn on: pages in pixels, and panels on them that show a plane in mm.

Drawn with Pillow, which is loaded in a tenth of the time that a plotting library takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pancreasseg.report import style

_FINER = 4  # lines are drawn so many times as large and made smaller, which smooths them
_DASH, _GAP = 6, 4
_HALO = 2

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom; in mm of a plane top may be the larger one."""


class Canvas:
    """A picture that is drawn on in pixels.

    Args:
        size: width and height.
        color: of what is not drawn on.
    """

    def __init__(self, size: tuple[int, int], color: str = style.PAGE) -> None:
        self.image = Image.new("RGB", size, color)
        self._pen = ImageDraw.Draw(self.image)

    def write(
        self,
        place: tuple[float, float],
        text: str,
        size: int,
        *,
        color: str = style.TEXT,
        anchor: str = "la",
        bold: bool = False,
        halo: bool = False,
    ) -> None:
        """Put text.

        Args:
            place: x and y.
            text: of one or more lines.
            size: of the letters.
            color: of the letters.
            anchor: what of the text lies at the place, as Pillow has it: "la" the upper left, "rm" right and middle.
            bold: fat letters.
            halo: a dark seam, so that it can be read on a picture.
        """
        self._pen.text(
            place,
            text,
            fill=color,
            font=style.font(size, bold=bold),
            anchor=anchor,
            spacing=round(0.5 * size),
            align="right" if anchor[0] == "r" else "left",
            stroke_width=_HALO if halo else 0,
            stroke_fill=style.PANEL,
        )

    def width_of(self, text: str, size: int) -> float:
        """Of a line of text."""
        return style.font(size).getlength(text)

    def line(self, start: tuple[float, float], stop: tuple[float, float], color: str, width: int = 1) -> None:
        """A line across or downwards."""
        self._pen.line([*start, *stop], color, width)

    def dashes(self, start: tuple[float, float], stop: tuple[float, float], color: str, width: int = 1) -> None:
        """A dashed line across or downwards, from its smaller end."""
        a, b = np.asarray(start), np.asarray(stop)
        length = float(np.linalg.norm(b - a))
        for at in np.arange(0, length, _DASH + _GAP):
            ends = [a + (b - a) / length * n for n in (at, min(at + _DASH, length) - 1)]
            self._pen.line([float(n) for end in ends for n in end], color, width)

    def dot(self, place: tuple[float, float], radius: float, color: str) -> None:
        """A small disc."""
        angles = np.linspace(0, 2 * np.pi, 24)
        self._smooth([np.asarray(place) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)], color, None)

    def strokes(self, paths: Iterable[np.ndarray], color: str, width: float) -> None:
        """Smooth lines through points (n, 2) as x, y."""
        self._smooth(paths, color, width)

    def paste(self, other: Canvas, place: tuple[int, int]) -> None:
        """Put another picture with its upper left at a place."""
        self.image.paste(other.image, place)

    def save(self, path: str | Path) -> None:
        """Write a PNG.

        Raises:
            OSError: it cannot be written.
        """
        # Little packing: a third of the time for a few percent more bytes.
        self.image.save(path, "PNG", compress_level=1)

    def _smooth(self, paths: Iterable[np.ndarray], color: str, width: float | None) -> None:
        """Lines of a width, or, without one, areas."""
        drawn = [np.asarray(path, float) for path in paths]
        if not drawn:
            return
        points, edge = np.concatenate(drawn), (width or 0) + 1
        start = np.maximum(np.floor(points.min(axis=0) - edge), 0).astype(int)
        stop = np.minimum(np.ceil(points.max(axis=0) + edge), self.image.size).astype(int)
        if (stop <= start).any():
            return
        width_finer, height_finer = (int(n) for n in (stop - start) * _FINER)
        part = Image.new("L", (width_finer, height_finer))
        pen = ImageDraw.Draw(part)
        for path in drawn:
            finer = [float(n) for n in ((path - start) * _FINER).ravel()]
            if width is None:
                pen.polygon(finer, 255)
            else:
                pen.line(finer, 255, round(width * _FINER))
        self.image.paste(color, (int(start[0]), int(start[1])), part.reduce(_FINER))


class PlaneCanvas(Canvas):
    """A picture of a plane in mm.

    Args:
        size: width and height in pixels.
        view: what of the plane lies at its edges, in mm.
    """

    def __init__(self, size: tuple[int, int], view: Edges) -> None:
        super().__init__(size, style.PANEL)
        (x0, y0, x1, y1), (width, height) = view, size
        self._start = np.array([x0, y0])
        self._scale = np.array([width / (x1 - x0), height / (y1 - y0)])  # pixels for a mm, to the right and downwards

    @property
    def pixels_per_mm(self) -> float:
        """To the right."""
        return float(self._scale[0])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where points (n, 2) of the plane lie in the picture."""
        return (np.asarray(points) - self._start) * self._scale

    def picture(self, image: Image.Image, edges: Edges) -> None:
        """Show a picture, first row at the top, between its edges in mm."""
        part = self._part(image, edges, Image.Resampling.BILINEAR)
        if part is not None:
            self.image.paste(*part)

    def tint(self, mask: np.ndarray, edges: Edges, color: str, opacity: float) -> None:
        """Colour the pixels of a mask (rows from the top, columns) between its edges in mm."""
        cover = Image.fromarray(np.where(mask > 0, round(255 * opacity), 0).astype(np.uint8))
        part = self._part(cover, edges, Image.Resampling.NEAREST)
        if part is not None:
            self.image.paste(color, part[1], part[0])

    def _part(
        self, image: Image.Image, edges: Edges, resampling: Image.Resampling
    ) -> tuple[Image.Image, tuple[int, int]] | None:
        """What is seen of a picture, in pixels of the panel, and where; None for nothing."""
        corners = self.pixels(np.reshape(edges, (2, 2)))
        start = np.clip(np.ceil(corners[0]), 0, self.image.size).astype(int)
        stop = np.clip(np.floor(corners[1]), 0, self.image.size).astype(int)
        if (stop <= start).any():
            return None
        shares = (np.stack([start, stop]) - corners[0]) / (corners[1] - corners[0])
        seen = np.clip(shares * image.size, 0, image.size).ravel().tolist()
        width, height = (int(n) for n in stop - start)
        return image.resize((width, height), resampling, box=seen), (int(start[0]), int(start[1]))

    def outline(self, mask: np.ndarray, edges: Edges, color: str, width: float) -> None:
        """Draw round a mask (rows from the top, columns), closed also where it meets the border."""
        from skimage.measure import find_contours

        if not mask.any():
            return
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        part = np.pad((mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0).astype(float), 1)
        left, top, right, bottom = edges
        step = np.array([(right - left) / mask.shape[1], (bottom - top) / mask.shape[0]])
        first = np.array([columns[0], rows[0]]) - 0.5  # the centre of the part's first pixel, which is one of the pad
        paths = [(path[:, ::-1] + first) * step + (left, top) for path in find_contours(part, 0.5)]
        self.strokes([self.pixels(path) for path in paths], color, width)

    def box(self, edges: Edges, color: str) -> None:
        """A dashed rectangle; what of it lies outside is not seen."""
        corners = self.pixels(np.reshape(edges, (2, 2)))
        (left, top), (right, bottom) = (tuple(corner) for corner in np.round(np.sort(corners, axis=0)))
        width, height = self.image.size
        for y in (top, bottom):
            self.dashes((max(left, 0), y), (min(right, width), y), color)
        for x in (left, right):
            self.dashes((x, max(top, 0)), (x, min(bottom, height)), color)

    def annotate(self, name: str, letters: Sequence[str], bar_mm: float) -> None:
        """Name, direction letters (left, right, top, bottom) and a scale bar."""
        width, height = self.image.size
        places = ((6, height / 2, "lm"), (width - 6, height / 2, "rm"), (width / 2, 7, "mt"))
        for letter, (x, y, anchor) in zip(letters, (*places, (width / 2, height - 9, "ms")), strict=True):
            self.write((x, y), letter, 14, anchor=anchor, bold=True, halo=True)
        self.write((6, 5), name, 13, halo=True)
        x, y = round(0.95 * width), round(0.95 * height)
        bar = round(bar_mm * self.pixels_per_mm)
        self.line((x - bar, y), (x, y), style.TEXT, 2)
        self.write((x - bar / 2, y - 7), f"{bar_mm / 10:g} cm", 10, anchor="ms", halo=True)

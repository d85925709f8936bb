"""Charts as SVG inside the page, drawn from numbers; every text in them is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 320.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 8.0, 10.0, 36.0


@dataclass(frozen=True)
class ChartAxis:
    """A scale from values to places in the picture, with round ticks.

    Args:
        low, high: values at the ends.
        start, stop: places at the ends.
    """

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """The place of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 2)

    def ticks(self, about: int = 6) -> list[float]:
        """Round values between the ends."""
        step = nice_step(self.high - self.low, about)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def horizontal(low: float, high: float) -> ChartAxis:
    """From left to right."""
    return ChartAxis(low, high, LEFT, WIDTH - RIGHT)


def vertical(low: float, high: float) -> ChartAxis:
    """From the bottom up."""
    return ChartAxis(low, high, HEIGHT - BOTTOM, TOP)


def nice_step(span: float, about: int) -> float:
    """1, 2 or 5 times a power of ten, so that ``span`` has about so many steps."""
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def number(value: float) -> str:
    """A tick's text."""
    return f"{value:.6g}"


def picture(label: str, parts: Iterable[Markup]) -> Markup:
    """The whole chart; ``label`` says to those who cannot see it what it shows."""
    head = Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return head + Markup("").join(parts) + Markup("</svg>")


def axes(x: ChartAxis | None, y: ChartAxis, x_title: str, y_title: str) -> Iterable[Markup]:
    """Grid lines, ticks and titles."""
    for value in y.ticks(5):
        place = y.at(value)
        yield line(LEFT, place, WIDTH - RIGHT, place, "grid")
        yield text(LEFT - 6, place + 4, number(value), "tick end")
    if x is not None:
        for value in x.ticks(6):
            yield text(x.at(value), HEIGHT - BOTTOM + 15, number(value), "tick middle")
    yield line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis")
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_title, "title middle")
    turned = f"translate(11 {(TOP + HEIGHT - BOTTOM) / 2:g}) rotate(-90)"
    yield Markup('<text class="title middle" transform="{}">{}</text>').format(turned, y_title)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A line of a class of the style sheet."""
    return Markup('<line class="{}" x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}"/>').format(kind, x1, y1, x2, y2)


def text(x: float, y: float, words: str, kind: str) -> Markup:
    """Words at a place."""
    return Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(kind, x, y, words)


def box(x1: float, y1: float, x2: float, y2: float, kind: str, title: str = "") -> Markup:
    """A rectangle between two corners; ``title`` shows under the mouse."""
    x, y, width, height = min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)
    head = Markup('<rect class="{}" x="{:g}" y="{:g}" width="{:g}" height="{:g}">').format(kind, x, y, width, height)
    return head + Markup("<title>{}</title></rect>").format(title)


def dot(x: float, y: float, title: str, link: str) -> Markup:
    """A case; a click leads to its row."""
    head = Markup('<a href="{}"><circle class="dot" cx="{:g}" cy="{:g}" r="3.5">').format(link, x, y)
    return head + Markup("<title>{}</title></circle></a>").format(title)


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The ends of an axis with some room beyond the values."""
    low, high = min(values), max(values)
    room = (high - low) * share or max(abs(high), 1.0) * share
    return low - room, high + room

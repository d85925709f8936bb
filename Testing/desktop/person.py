"""What a person does in the window: click, drag, wait, look. The mouse is the X server's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from PySide6 import QtCore, QtGui, QtWidgets
from Testing.desktop.mouse import Mouse
from Testing.desktop.window import ViewWidget, Window

MARK_COLOUR = "#e8590c"
PICTURE_GREYS = 64
DRAG_STEPS = 12


class Person:
    """Works with one window.

    Args:
        window: it is shown.
        display: the X server it is on.
        pictures: folder for what `look` sees.
    """

    def __init__(self, window: Window, display: str, pictures: Path) -> None:
        self.window = window
        self.mouse = Mouse(display)
        self.pictures = pictures

    def wait(self, until: Callable[[], bool], seconds: float = 10.0) -> None:
        """Let the window live until something holds.

        Raises:
            TimeoutError: it did not in that time.
        """
        clock = time.monotonic()
        while not until():
            if time.monotonic() - clock > seconds:
                raise TimeoutError(f"after {seconds:.0f} s still not so: {until.__name__}")
            self.rest(0.02)

    def rest(self, seconds: float = 0.3) -> None:
        """Let the window live for a while."""
        clock = time.monotonic()
        while True:
            QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            if time.monotonic() - clock > seconds:
                return
            QtCore.QThread.msleep(5)

    def click(self, widget: QtWidgets.QWidget, at: QtCore.QPoint | None = None) -> None:
        """Bring a widget of the panel into sight and click on it: in its middle, or at a point of it."""
        inside = at or QtCore.QRect(QtCore.QPoint(0, 0), QtWidgets.QWidget.size(widget)).center()
        area = self.window.panelArea
        area.ensureWidgetVisible(widget, 0, 12)
        if area.widget().isAncestorOf(widget):  # the widget may be higher than what can be seen at once
            place = widget.mapTo(area.widget(), inside)
            area.ensureVisible(place.x(), place.y(), 0, 12)
        self.rest(0.1)
        point = widget.mapToGlobal(inside)
        self.mouse.move(point.x(), point.y())
        self.rest(0.05)
        self.mouse.press()
        self.rest(0.05)
        self.mouse.release()
        self.rest(0.05)

    def fold(self, section: QtWidgets.QWidget, *, folded: bool) -> None:
        """Fold a section of the panel up or open it, by a click on its title, unless it is so already."""
        if section.collapsed != folded:
            self.click(section, QtCore.QPoint(30, 10))
        self.wait(lambda: section.collapsed == folded)

    def grab(self, point: QtCore.QPoint) -> None:
        """Go to a point of the screen and press the button."""
        self.mouse.move(point.x() - 3, point.y())
        self.rest(0.1)
        self.mouse.move(point.x(), point.y())
        self.rest(0.2)
        self.mouse.press()
        self.rest(0.1)

    def pull(self, start: QtCore.QPoint, end: QtCore.QPoint) -> None:
        """Move the mouse from one point of the screen to another, bit by bit, as a hand does."""
        for step in range(1, DRAG_STEPS + 1):
            along = step / DRAG_STEPS
            here = start + (end - start) * along
            self.mouse.move(here.x(), here.y())
            self.rest(0.03)

    def drop(self) -> None:
        """Release the button."""
        self.mouse.release()
        self.rest(0.2)

    def look(self, name: str, *marked: QtWidgets.QWidget, width: int = 0) -> None:
        """Take a picture of the screen, or of its left ``width`` pixels, with a frame round what it is about."""
        if marked:
            self.window.panelArea.ensureWidgetVisible(marked[0], 0, 12)
        self._drawAll()
        self.rest(0.4)
        picture = QtGui.QGuiApplication.primaryScreen().grabWindow(0, 0, 0, width or -1, -1)
        painter = QtGui.QPainter(picture)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(QtGui.QColor(MARK_COLOUR), 3))
        for widget in marked:
            corner = widget.mapToGlobal(QtCore.QPoint(0, 0))
            frame = QtCore.QRect(corner, QtWidgets.QWidget.size(widget)).adjusted(-4, -4, 4, 4)
            painter.drawRoundedRect(frame, 6, 6)
        painter.end()
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        picture.save(str(path))
        _shrink(path)

    def lookAround(self, view: ViewWidget) -> None:
        """Turn a 3D view to the patient's front and fit everything in."""
        view.view.lookFromTheFront()
        view.screen.update()

    def _drawAll(self) -> None:
        for it in (*self.window.slices.values(), self.window.threeD):
            it.screen.GetRenderWindow().Render()


def _shrink(path: Path) -> None:
    """Save a picture with 256 colours: half the size, and not to be seen where greys have their own share."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    coloured = pixels[np.ptp(pixels, axis=2) > 8]
    tones = (
        Image.fromarray(coloured[None])
        .quantize(256 - PICTURE_GREYS, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
        .getpalette()
    )
    greys = [round(255 * n / (PICTURE_GREYS - 1)) for n in range(PICTURE_GREYS) for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + tones[: 3 * (256 - PICTURE_GREYS)])
    Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)

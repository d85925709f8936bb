"""Small habits that every section has with its widgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import qt

#: The widgets of the .ui file by name, as `slicer.util.childWidgetVariables` gives them; known at run time alone.
Ui: TypeAlias = Any

#: How high a row of a table is: low enough for many.
ROW_PIXELS = 22


class Reasons:
    """Enables and disables widgets; the tooltip of a disabled one says why."""

    def __init__(self) -> None:
        self._tips: dict[str, str] = {}

    def show(self, widget: qt.QWidget, reason: str) -> None:
        """Enable the widget where ``reason`` is empty, else disable it for that reason."""
        tip = self._tips.setdefault(widget.name, widget.toolTip)
        widget.enabled = not reason
        widget.toolTip = reason or tip


def showText(label: qt.QLabel, text: str) -> None:
    """Show a label with this text; hide it when there is none."""
    label.text = text
    label.setVisible(bool(text))


class Quiet:
    """Changes widgets without their signals; a context manager."""

    def __init__(self, *widgets: qt.QWidget) -> None:
        self._widgets = widgets

    def __enter__(self) -> None:
        self._before = [widget.blockSignals(True) for widget in self._widgets]

    def __exit__(self, *_: object) -> None:
        for widget, before in zip(self._widgets, self._before, strict=True):
            widget.blockSignals(before)


def select(comboBox: qt.QComboBox, value: str) -> None:
    """Select the entry of a combo box whose user data is ``value``, without its signals."""
    with Quiet(comboBox):
        comboBox.setCurrentIndex(max(comboBox.findData(value), 0))


def fill(comboBox: qt.QComboBox, entries: Iterable[tuple[str, str]], value: str) -> None:
    """Give a combo box its (user data, text) entries and select one, without its signals."""
    with Quiet(comboBox):
        comboBox.clear()
        for data, text in entries:
            comboBox.addItem(text, data)
        comboBox.setCurrentIndex(max(comboBox.findData(value), 0))

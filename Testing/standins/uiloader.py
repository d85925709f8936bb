"""Loads the real ``.ui`` file: every class in it becomes its stand-in, every connection in it is made."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets
from Testing.standins import ctk, qmrml, qt


def standIn(className: str) -> type:
    """The stand-in for a widget class of a ``.ui`` file.

    Raises:
        LookupError: there is none.
    """
    for module in (qmrml, ctk, qt):
        if hasattr(module, className):
            return getattr(module, className)
    raise LookupError(f"no stand-in for {className}")


class QUiLoader(QtUiTools.QUiLoader):
    """What `slicer.util.loadUI` uses."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[Any] = []  # PySide6 forgets Python classes of objects that nobody holds

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:
        widget = standIn(className)(parent) if parent is not None else standIn(className)()
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def createLayout(self, className: str, parent: Any = None, name: str = "") -> QtWidgets.QLayout:
        free = isinstance(parent, QtWidgets.QWidget) and parent.layout() is None
        layout = getattr(qt, className)(*([parent] if free else []))
        layout.setObjectName(name)
        self._made.append(layout)
        return layout

    def load(self, file: QtCore.QFile) -> QtWidgets.QWidget:
        """The widget tree of an open ``.ui`` file."""
        root = ElementTree.fromstring(bytes(file.readAll()))  # noqa: S314 - a file of this repository
        # Qt would look the connections up among the C++ signals, which the stand-ins do not have.
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        flags = [it for widget in root.iter("widget") for it in _takeForeignFlags(widget)]
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QBuffer.OpenModeFlag.ReadOnly)
        widget = super().load(buffer)
        widget._made = self._made
        named = {QtCore.QObject.objectName(it): it for it in self._made}
        for owner, name, value in flags:
            setattr(named[owner], name, value)
        for connection in [] if connections is None else connections:
            part = {it.tag: it.text for it in connection}
            slot = getattr(named[part["receiver"]], part["slot"].split("(")[0])
            named[part["sender"]].connect(part["signal"], slot)
        return widget


def _takeForeignFlags(widget: ElementTree.Element) -> list[tuple[str, str, str]]:
    """(widget, property, text) of flags such as ctkPathLineEdit::Dirs, which only the real class could read."""
    taken = []
    for it in widget.findall("property"):
        flags = it.find("set")
        if flags is not None and flags.text and flags.text.startswith("ctk"):
            widget.remove(it)
            taken.append((widget.get("name"), it.get("name"), flags.text))
    return taken

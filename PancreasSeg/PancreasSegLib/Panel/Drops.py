"""Files and folders dragged onto a widget."""

from __future__ import annotations

from collections.abc import Callable

import qt


class Drops(qt.QObject):
    """Takes what is dropped onto a widget; keep it as long as the widget lives.

    Args:
        widget: onto which files are dropped.
        onDropped: called with the paths.
    """

    def __init__(self, widget: qt.QWidget, onDropped: Callable[[list[str]], None]) -> None:
        super().__init__()
        self._onDropped = onDropped
        widget.setAcceptDrops(True)
        widget.installEventFilter(self)

    def eventFilter(self, _widget: qt.QObject, event: qt.QEvent) -> bool:
        """Called by Qt with every event of the widget; true for those that end here."""
        if event.type() == qt.QEvent.DragEnter and pathsOf(event.mimeData()):
            event.acceptProposedAction()
            return True
        if event.type() == qt.QEvent.Drop and pathsOf(event.mimeData()):
            event.acceptProposedAction()
            self._onDropped(pathsOf(event.mimeData()))
            return True
        return False


def pathsOf(data: qt.QMimeData) -> list[str]:
    """The files and folders of this computer among what is dragged."""
    return [url.toLocalFile() for url in data.urls() if url.isLocalFile()]

"""The panel off screen: the widgets of the real .ui file, dialogs that answer as the test wants, and waiting for Qt.

Importing this puts the stand-ins for Slicer's Qt into their places, so it comes before anything that imports qt.
"""

from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer
from PySide6 import QtCore, QtWidgets
from shiboken6 import Shiboken
from Testing.standins import install

install()

from PancreasSegLib.Work.FileCards import Answers  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "PancreasSeg" / "PancreasSeg.py"


class FakeDialogs:
    """Answers the panel's questions as the test wants.

    Attributes:
        asked: the questions.
        agree: the answer to them.
        path: the file or folder that is chosen.
        paths: the files, where several can be.
        answers: what the person says about a network in a file; None when that dialog is cancelled.
        forms: the files that were asked about, and what stood in the dialog first.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.agree = True
        self.path = ""
        self.paths: list[str] = []
        self.answers: Answers | None = None
        self.forms: list[tuple[Path, Answers]] = []

    def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.agree

    def openFiles(self, title: str, filters: str) -> list[str]:
        return self.paths

    def openFolder(self, title: str, first: str = "") -> str:
        return self.path

    def saveFile(self, title: str, name: str, filters: str) -> str:
        return self.path

    def fillCard(self, file: Path, taken, answers: Answers, then) -> None:
        self.forms.append((file, answers))
        if self.answers is not None:
            then(self.answers)


def remove(widget) -> None:
    """Delete a widget now; deleteLater would wait for an event loop that these tests do not have."""
    widget.close()
    Shiboken.delete(widget)


def aWidget():
    """The widgets of the real .ui file."""
    widget = slicer.util.loadUI(str(MODULE.parent / "Resources" / "UI" / "PancreasSeg.ui"))
    widget.setMRMLScene(slicer.mrmlScene)
    return widget


def wait(until, seconds: float = 30.0) -> None:
    """Let Qt's timers run until something holds."""
    clock = QtCore.QElapsedTimer()
    clock.start()
    while not until():
        assert clock.elapsed() < 1000 * seconds, "it did not happen in time"
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
        QtCore.QThread.msleep(2)

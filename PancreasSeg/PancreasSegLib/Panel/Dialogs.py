"""The few questions that need a decision of the person."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import qt
import slicer.util
from slicer.i18n import tr as _

from PancreasSegLib.Panel.CardForm import CardForm
from PancreasSegLib.Work.FileCards import Answers


class Dialogs:
    """Asks; replaced in tests."""

    def __init__(self) -> None:
        self._form: CardForm | None = None  # it would go away with its last name

    def confirm(self, question: str) -> bool:
        """True when the person agrees."""
        return slicer.util.confirmYesNoDisplay(question, windowTitle=_("PancreasSeg"))

    def openFiles(self, title: str, filters: str) -> list[str]:
        """The files the person has chosen; none when the dialog was cancelled."""
        return list(qt.QFileDialog.getOpenFileNames(slicer.util.mainWindow(), title, "", filters) or [])

    def openFolder(self, title: str, first: str = "") -> str:
        """The folder the person has chosen, beginning in ``first``; empty when none."""
        return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, first) or ""

    def saveFile(self, title: str, name: str, filters: str) -> str:
        """Where the person wants a file; empty when nowhere."""
        return qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, filters) or ""

    def fillCard(
        self, file: Path, taken: Collection[str], answers: Answers, then: Callable[[Answers], object]
    ) -> CardForm:
        """Ask what a network in a file was trained on; returns at once. See `CardForm`."""
        if self._form is not None:
            self._form.close()
        self._form = CardForm(file, taken, answers, then)
        self._form.open()
        return self._form

"""The few questions that need a decision of the person."""

from __future__ import annotations

import qt
import slicer.util
from slicer.i18n import tr as _


class Dialogs:
    """Asks; replaced in tests."""

    def confirm(self, question: str) -> bool:
        """True when the person agrees."""
        return slicer.util.confirmYesNoDisplay(question, windowTitle=_("PancreasSeg"))

    def openFile(self, title: str, filters: str) -> str:
        """The file the person has chosen; empty when none."""
        return qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", filters) or ""

    def saveFile(self, title: str, name: str, filters: str) -> str:
        """Where the person wants a file; empty when nowhere."""
        return qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, filters) or ""

"""Advanced, Python packages: what is missing, installed after one question, with a log to read."""

from __future__ import annotations

import logging

from slicer.i18n import tr as _

from PancreasSegLib.Panel.Widgets import Reasons, showText
from PancreasSegLib.Work import Dependencies


class DependencySection:
    """Args: the widgets of the .ui file, the session, and what to call with a sentence when a person must read it."""

    def __init__(self, ui, session, tell) -> None:
        self.ui = ui
        self.session = session
        self.tell = tell
        self._reasons = Reasons()
        self._installing = False
        self._then = lambda: None
        ui.dependenciesButton.connect("clicked(bool)", lambda: self.offer(lambda: None))

    def offer(self, then) -> None:
        """Ask once whether to install what is missing; afterwards do what the person wanted."""
        if self._installing:
            self.tell(_("The Python packages are being installed."))
            return
        names = ", ".join(Dependencies.missing())
        question = _(
            "PancreasSeg needs Python packages that Slicer does not bring along: {names}.\n\n"
            "They are downloaded from pypi.org and, for torch, from pytorch.org. Install them now?"
        ).format(names=names)
        if not self.session.dialogs.confirm(question):
            self.tell(
                _("Without {names} nothing can be segmented. They can be installed later under Advanced.").format(
                    names=names
                )
            )
            self.session.changed()
            return
        self._installing = True
        self._then = then
        self.tell(_("Installing Python packages; the log is under Advanced."))
        self.ui.advancedSection.collapsed = False
        self.ui.dependenciesGroup.collapsed = False
        try:
            Dependencies.install(Dependencies.Callbacks(self._log, self._done))
        except Exception as error:
            logging.exception("PancreasSeg: packages could not be installed")
            self._installing = False
            self.tell(self.session.sentence(error))
        self.session.changed()

    def show(self, situation) -> None:
        """Bring the widgets in line with the situation."""
        reason = (
            _("The Python packages are being installed.") if self._installing else situation.whyNotInstallPackages()
        )
        self._reasons.show(self.ui.dependenciesButton, reason)
        missing = ", ".join(situation.missingPackages)
        text = _("Missing: {names}.").format(names=missing) if missing else _("All packages are installed.")
        showText(self.ui.dependenciesLabel, text)

    def _log(self, line: str) -> None:
        self.ui.dependenciesLog.appendPlainText(line.rstrip())

    def _done(self, trouble: str) -> None:
        self._installing = False
        self.tell(trouble)
        self.session.changed()
        if not trouble:
            self._then()

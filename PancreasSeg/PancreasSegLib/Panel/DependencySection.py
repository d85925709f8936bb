"""Advanced, Python packages: what is missing, installed after one question, with a log to read."""

from __future__ import annotations

import logging
from collections.abc import Callable

import slicer
import slicer.util
from slicer.i18n import tr as _

from pancreasseg.core.errors import explain
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, showText
from PancreasSegLib.Work import Dependencies


class DependencySection:
    """Installs what is missing, after asking.

    Args:
        ui: the widgets of the .ui file.
        session: shared by the sections.
        say: called with a sentence when a person must read it.
        onInstalled: called when packages have come.
    """

    def __init__(self, ui: Ui, session: Session, say: Callable[[str], None], onInstalled: Callable[[], None]) -> None:
        self.ui = ui
        self.session = session
        self.say = say
        self.onInstalled = onInstalled
        self._reasons = Reasons()
        self._installing = False
        self._then: Callable[[], object] = lambda: None
        session.offerPackage = self.offerFor
        ui.dependenciesButton.connect("clicked(bool)", lambda: self.offer(lambda: None))

    @slot
    def offer(self, then: Callable[[], object]) -> None:
        """Ask once whether to install what is missing; afterwards do what the person wanted."""
        if self._installing:
            self.say(_("The Python packages are being installed."))
            return
        impossible = Dependencies.impossible()
        if impossible:
            self.say(impossible)
            return
        names = ", ".join(Dependencies.wanted())
        question = _(
            "PancreasSeg needs Python packages that Slicer does not bring along: {names}.\n\n"
            "They are downloaded from pypi.org and, for torch, from pytorch.org. Slicer's extension PyTorch, which "
            "installs torch, comes from Slicer's own server where it is missing. Install them now?"
        ).format(names=names)
        if not self.session.dialogs.confirm(question):
            self.say(self._declined())
            self.session.changed()
            return
        self._install(then)

    def offerFor(self, error: Exception, then: Callable[[], object]) -> bool:
        """The same for one thing that could not be done; false when no package that can be installed was missing."""
        if not Dependencies.want(explain(error)):
            return False
        self.offer(then)
        return True

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        missing = Dependencies.wanted()
        reason = _("The Python packages are being installed.") if self._installing else ""
        if not missing or situation.running:
            reason = reason or situation.whyNotInstallPackages()
        self._reasons.show(self.ui.dependenciesButton, reason or Dependencies.impossible())
        text = _("Missing: {names}.").format(names=", ".join(missing)) if missing else _("All packages are installed.")
        showText(self.ui.dependenciesLabel, text)

    def _declined(self) -> str:
        missing = ", ".join(Dependencies.missing())
        if not missing:
            return ""  # only something optional was offered
        return _("Without {names} nothing can be segmented. They can be installed later under Advanced.").format(
            names=missing
        )

    def _install(self, then: Callable[[], object]) -> None:
        self._installing = True
        self._then = then
        self.say(_("Installing Python packages; the log is under Advanced."))
        self.ui.advancedSection.collapsed = False
        self.ui.dependenciesGroup.collapsed = False
        try:
            Dependencies.install(Dependencies.Callbacks(self._log, self._done))
        except Dependencies.RestartNeeded as needed:
            self._installing = False
            self._restart(needed)
        except Exception as error:
            logging.exception("PancreasSeg: packages could not be installed")
            self._installing = False
            self.say(self.session.sentence(error))
        self.session.changed()

    def _restart(self, needed: Dependencies.RestartNeeded) -> None:
        """Start Slicer again if the person agrees; what is not saved is never thrown away for it."""
        self.say(str(needed))
        if slicer.mrmlScene.GetModifiedSinceRead() or slicer.mrmlScene.GetStorableNodesModifiedSinceRead():
            self.say(_("{sentence} Save the scene first.").format(sentence=needed.message))
        elif self.session.dialogs.confirm(_("{sentence} Restart Slicer now?").format(sentence=needed.message)):
            slicer.util.restart()

    def _log(self, line: str) -> None:
        self.ui.dependenciesLog.appendPlainText(line.rstrip())

    def _done(self, trouble: str) -> None:
        self._installing = False
        self.say(trouble)
        if not trouble:
            self.onInstalled()
        self.session.changed()
        if not trouble:
            self._then()

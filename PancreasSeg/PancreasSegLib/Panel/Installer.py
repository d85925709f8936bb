"""Installing models: one at a time, in a process of its own, whoever in the panel asked for it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from pancreasseg.core.errors import Cancelled, ModelError, PancreasSegError
from pancreasseg.worker.task import CARD, TRUST, Task
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Slots import slot

POLL_MILLISECONDS = 100


@dataclass(frozen=True)
class _Asked:
    """What is to be installed, and what a person says about it."""

    sources: list[str]
    card: Mapping[str, Any] | None = None
    trust: bool = False


class Installer:
    """One installation, how far it is, and what it came to.

    Args:
        session: shared by the sections; its ``installing`` follows, and its `changed` is called.

    Attributes:
        fraction: how far it is, 0 to 1.
        cancelling: a person has stopped it, and it has not ended yet.
        message: what it is doing, or what the last one came to; empty when nothing was to be said.
        installed: names of the models that the last one has installed.
        onEnded: called when one has ended, however.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.fraction = 0.0
        self.cancelling = False
        self.message = ""
        self.installed: list[str] = []
        self.onEnded = lambda: None
        self._task: Task | None = None
        self._asked = _Asked([])
        self._folder: tempfile.TemporaryDirectory | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)

    @property
    def running(self) -> bool:
        """An installation is going on."""
        return self._task is not None

    def start(self, sources: list[str], card: Mapping[str, Any] | None = None) -> None:
        """Install a model of the catalogue by its name, or what files or a folder of this computer hold.

        Args:
            sources: a name, or paths.
            card: what a person says about a network in a file.
        """
        self._start(_Asked(sources, card))

    def _start(self, asked: _Asked) -> None:
        if self.running:
            return
        self.installed = []
        self._asked = asked
        try:
            self._task = Task(["install", *self._options(), *asked.sources], self.session.python)
        except (PancreasSegError, OSError) as error:
            self._end(self.session.sentence(error))
            return
        self.fraction = 0.0
        self.message = _("Installing.")
        self.session.installing = True
        self._timer.start()
        self.session.changed()

    def _options(self) -> list[str]:
        """What goes before the sources; the card goes into a file that is private and removed afterwards."""
        options = [TRUST] if self._asked.trust else []
        if self._asked.card is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="pancreasseg-")
            file = Path(self._folder.name) / "card.json"
            file.write_text(json.dumps(self._asked.card), encoding="utf-8")
            options += [CARD, str(file)]
        return options

    def cancel(self) -> None:
        """Stop it; it ends in a moment, and says so."""
        if self._task is not None:
            self.cancelling = True
            self._task.cancel()
            self.session.changed()

    @slot
    def poll(self) -> None:
        """Called by the timer while a model is being installed."""
        if self._task is None:
            return
        try:
            news = self._task.poll()
        except Cancelled:
            self._end(_("Cancelled; nothing was installed."))
            return
        except Exception as error:
            self._end(self.session.sentence(error))
            self._offerAnother(error)
            return
        for it in news:
            if isinstance(it, dict):
                self.installed = list(it["installed"])
                self._end(_("Installed: {names}.").format(names=", ".join(self.installed)))
            else:
                self.fraction = it.fraction
                self.session.changed()

    def say(self, text: str) -> None:
        """A sentence for the person, where installations are shown."""
        self.message = text
        self.session.changed()

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()
        if self._task is not None:
            self._task.end()
        self._forgetCard()

    def _offerAnother(self, error: Exception) -> None:
        """Once more where that can help: after a person's word, or with a package that was missing."""
        asked = self._asked
        if isinstance(error, ModelError) and error.code == "carries-code":
            self._offerToTrust(error, asked)
        else:
            self.session.offerPackage(error, lambda: self._start(asked))

    def _offerToTrust(self, error: ModelError, asked: _Asked) -> None:
        """A model that carries code is installed on a person's word alone; nobody is asked twice."""
        question = _("{what} Do you know who made it, and do you want that?").format(what=error.message)
        if not asked.trust and self.session.dialogs.confirm(question):
            self._start(replace(asked, trust=True))

    def _forgetCard(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _end(self, message: str) -> None:
        self._timer.stop()
        self._forgetCard()
        self._task = None
        self.cancelling = False
        self.session.installing = False
        self.message = message
        self.onEnded()

"""Section 1: which CT, sample data, and what the next run will use."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import ModelError, PancreasSegError
from pancreasseg.core.setup import AUTOMATIC
from pancreasseg.worker.task import Task
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, showText
from PancreasSegLib.Scene import VolumeNodes
from PancreasSegLib.Work import SampleCts

PHANTOM_SEED = "1"
POLL_MILLISECONDS = 100


class InputSection:
    """Args: the widgets of the .ui file, the session, and what to call when another volume is selected."""

    def __init__(self, ui: Ui, session: Session, onSelected: Callable[[], None]) -> None:
        self.ui = ui
        self.session = session
        self.onSelected = onSelected
        self._reasons = Reasons()
        self._description: dict[str, Any] | PancreasSegError | None = None
        self._task: Task | None = None
        self._folder: tempfile.TemporaryDirectory | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.pollPhantom)
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        ui.phantomButton.connect("clicked(bool)", self.onPhantom)
        ui.sampleButton.connect("clicked(bool)", self.onSample)
        showText(ui.inputMessage, "")

    @slot
    def onVolume(self, node: slicer.vtkMRMLNode | None) -> None:
        """Another volume was selected, or the selected one is gone."""
        if node is not None and node is self.session.volumeNode:
            return  # it was renamed
        self.session.volumeNode = node
        showText(self.ui.inputMessage, "")
        self.onSelected()

    @slot
    def onSample(self) -> None:
        """Download Slicer's sample CT through its own module, which checks what it downloads."""
        showText(self.ui.inputMessage, _("Downloading a CT through the module Sample Data."))
        try:
            node = SampleCts.downloadAbdomen(self._downloading)
        except Exception as error:
            showText(self.ui.inputMessage, self.session.sentence(error))
            return
        showText(self.ui.inputMessage, "")
        self.ui.volumeSelector.setCurrentNode(node)

    def _downloading(self, message: str) -> None:
        """Show how far the download is; clicks wait, because Slicer is in the middle of it."""
        showText(self.ui.inputMessage, message)
        slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)

    @slot
    def onPhantom(self) -> None:
        """Make a phantom CT in a process of its own; it takes some seconds."""
        self._folder = tempfile.TemporaryDirectory(prefix="pancreasseg-")
        showText(self.ui.inputMessage, _("Making the phantom CT; this takes some seconds."))
        try:
            self._task = Task(["phantom", PHANTOM_SEED, str(_phantomFile(self._folder))], self.session.python)
        except PancreasSegError as error:
            self._endPhantom(str(error))
            return
        self._timer.start()
        self.session.changed()

    @slot
    def pollPhantom(self) -> None:
        """Called by the timer while a phantom is being made."""
        if self._task is None or self._folder is None:
            return
        try:
            results = [it for it in self._task.poll() if isinstance(it, dict)]
        except PancreasSegError as error:
            self._endPhantom(str(error))
            return
        if results:
            geometry = Geometry.from_dict(results[0]["geometry"])
            volume = Volume(np.load(_phantomFile(self._folder)), geometry)
            node = VolumeNodes.addPhantomNode(slicer.mrmlScene, volume, "Phantom CT")
            self._endPhantom("")
            self.ui.volumeSelector.setCurrentNode(node)

    def showDescription(self, answer: dict[str, Any] | PancreasSegError | None) -> None:
        """What the worker runs on, or why it could not be asked."""
        self._description = answer
        self.session.changed()

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        making = _("The phantom CT is being made.") if self._task is not None else ""
        self._reasons.show(self.ui.phantomButton, making or situation.whyNotSample())
        self._reasons.show(self.ui.sampleButton, situation.whyNotSample())
        self._reasons.show(self.ui.volumeSelector, situation.whyNotSample())
        self.ui.statusLabel.text = self._status(situation)
        if situation.volumeSelected and situation.volumeRefusal:
            showText(self.ui.inputMessage, situation.volumeRefusal)

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.inputMessage, text)

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()
        if self._task is not None:
            self._task.end()
            self._endPhantom("")

    def _endPhantom(self, message: str) -> None:
        self._timer.stop()
        self._task = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        showText(self.ui.inputMessage, message)
        self.session.changed()

    def _status(self, situation: Situation) -> str:
        """Model, device and memory in one line."""
        if situation.missingPackages:
            return _("Python packages are missing: {names}. The first run offers to install them.").format(
                names=", ".join(situation.missingPackages)
            )
        place = self.session.place
        where = [_("on {host}").format(host=place.host), self._serverModel()] if place.remote else [self._model()]
        return " · ".join([*where, *self._hardware()])

    def _serverModel(self) -> str:
        parameters = self.session.parameters
        if parameters is None:
            return _("the best model there")
        titles = dict(self.session.serverModels)
        model = titles.get(parameters.lead, parameters.lead) or _("the best model there")
        return _boxedBy(_votingWith(model, parameters.voters), parameters.localizer)

    def _model(self) -> str:
        parameters = self.session.parameters
        try:
            cast = self.session.models.cast(AUTOMATIC if parameters is None else parameters.setup)
        except ModelError as error:
            return self.session.sentence(error)
        card = cast.lead.card
        text = f"{card.title} ({card.name} {card.version})"
        text = _votingWith(text, [package.card.name for package, _card in cast.voters])
        return _boxedBy(text, "" if cast.localizer is None else cast.localizer.card.name)

    def _hardware(self) -> list[str]:
        if self._description is None:
            return [_("device not asked yet")]
        if isinstance(self._description, PancreasSegError):
            return [str(self._description)]
        device = self._description["device"]
        parameters = self.session.parameters
        name = device["name"]
        if parameters is not None and parameters.device == "cpu" and device.get("device") == "cuda":
            return [_("CPU, as chosen")]
        return [f"{name}, {device['precision']}", device["memory"]]


def _votingWith(model: str, voters: Sequence[str]) -> str:
    """What the status line says of a model with which others vote."""
    return _("{model} voting with {names}").format(model=model, names=", ".join(voters)) if voters else model


def _boxedBy(model: str, localizer: str) -> str:
    """What the status line says of a model whose box another one finds."""
    return _("{model}, box by {localizer}").format(model=model, localizer=localizer) if localizer else model


def _phantomFile(folder: tempfile.TemporaryDirectory) -> Path:
    """Where the process that makes a phantom puts its voxels."""
    return Path(folder.name) / "phantom.npy"

"""Advanced: what the next run uses. Kept with the CT, like everything else about its result."""

from __future__ import annotations

from slicer.i18n import tr as _

from pancreasseg import pipelines
from pancreasseg.core.setup import DEVICES, PRECISIONS
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, fill, select
from PancreasSegLib.Work.Models import USABLE, ModelRow


class AdvancedSection:
    """Args: the widgets of the .ui file, the session, and what to call when the device has changed."""

    def __init__(self, ui: Ui, session: Session) -> None:
        self.ui = ui
        self.session = session
        self._reasons = Reasons()
        self._names: list[tuple[str, str]] = []
        self._selectors = {
            "model": ui.modelSelector,
            "pipeline": ui.pipelineSelector,
            "device": ui.deviceSelector,
            "precision": ui.precisionSelector,
        }
        titles = {name: each.title for name, each in pipelines.declarations().items()}
        for name, choices in (("pipeline", titles), ("device", DEVICES), ("precision", PRECISIONS)):
            listed = [(choice, _(title)) for choice, title in choices.items()]
            fill(self._selectors[name], [("", self._automatic(name)), *listed], "")
        ui.modelSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("model", index))
        ui.pipelineSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("pipeline", index))
        ui.deviceSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("device", index))
        ui.precisionSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("precision", index))

    @slot
    def onChoice(self, name: str, index: int) -> None:
        """Another model, pipeline, device or precision was chosen for this CT."""
        parameters = self.session.parameters
        if parameters is None or index < 0:
            return
        setattr(parameters, name, self._selectors[name].itemData(index) or "")
        if name == "model":
            parameters.pipeline = ""  # the one that the model is made for
        self.session.changed()

    def listModels(self, rows: list[ModelRow]) -> None:
        """Offer the installed models; called when they have changed."""
        installed = [(row.name, f"{row.title} {row.version}") for row in rows if row.state in USABLE]
        self._names = [("", self._automatic("model")), *installed]

    def say(self, text: str) -> None:
        """A sentence for the person; this section has no room for one."""
        self.session.say(text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        parameters = self.session.parameters
        names = self._names
        if self.session.place.remote:
            names = [("", self._automatic("model")), *self.session.serverModels]
        fill(self.ui.modelSelector, names, parameters.model if parameters is not None else "")
        for name, selector in self._selectors.items():
            if parameters is not None:
                select(selector, getattr(parameters, name))
            self._reasons.show(selector, situation.whyNotSample() or situation.volumeRefusal)

    @staticmethod
    def _automatic(name: str) -> str:
        return {
            "model": _("Automatic: the best one installed"),
            "pipeline": _("Automatic: the one the model is made for"),
            "device": _("Automatic: the graphics card if there is one"),
            "precision": _("Automatic: half where the device is fast at it"),
        }[name]

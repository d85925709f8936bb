"""Advanced: what the next run uses. Kept with the CT, like everything else about its result."""

from __future__ import annotations

from slicer.i18n import tr as _

from pancreasseg import pipelines
from pancreasseg.core.setup import DEVICES, PRECISIONS
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, fill, select
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Models import USABLE, ModelRow


class AdvancedSection:
    """Args: the widgets of the .ui file, the session, and what to call when the device has changed."""

    def __init__(self, ui: Ui, session: Session) -> None:
        self.ui = ui
        self.session = session
        self._reasons = Reasons()
        self._names: list[tuple[str, str]] = []
        self._localizers: list[tuple[str, str]] = []
        self._selectors = {
            "model": ui.modelSelector,
            "localizer": ui.localizerSelector,
            "pipeline": ui.pipelineSelector,
            "device": ui.deviceSelector,
            "precision": ui.precisionSelector,
        }
        titles = {name: each.title for name, each in pipelines.declarations().items()}
        for name, choices in (("pipeline", titles), ("device", DEVICES), ("precision", PRECISIONS)):
            listed = [(choice, _(title)) for choice, title in choices.items()]
            fill(self._selectors[name], [("", self._automatic(name)), *listed], "")
        ui.modelSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("model", index))
        ui.localizerSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("localizer", index))
        ui.pipelineSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("pipeline", index))
        ui.deviceSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("device", index))
        ui.precisionSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("precision", index))

    @slot
    def onChoice(self, name: str, index: int) -> None:
        """Another model, localizer, pipeline, device or precision was chosen for this CT."""
        parameters = self.session.parameters
        if parameters is None or index < 0:
            return
        setattr(parameters, name, self._selectors[name].itemData(index) or "")
        if name == "model":
            parameters.pipeline = ""  # the one that the model is made for
        if name in ("model", "pipeline"):
            self._forgetLocalizer(parameters)
        self.session.changed()

    def _forgetLocalizer(self, parameters: Parameters) -> None:
        """Leave the box to the engine where what was chosen now has no use for the localizer chosen before."""
        if parameters.localizer and not self.session.place.remote and self.session.models.refusal(parameters.setup):
            text = _("'{name}' cannot find the box for this choice and is not used.")
            self.say(text.format(name=parameters.localizer))
            parameters.localizer = ""

    def listModels(self, rows: list[ModelRow]) -> None:
        """Offer the installed models; called when they have changed."""
        installed = [row for row in rows if row.state in USABLE]
        self._names = [_titled(row) for row in installed]
        self._localizers = [_titled(row) for row in installed if row.localizes]

    def say(self, text: str) -> None:
        """A sentence for the person; this section has no room for one."""
        self.session.say(text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        parameters = self.session.parameters
        session, models, localizers = self.session, self._names, self._localizers
        if session.place.remote:
            models, localizers = [*session.serverModels], [*session.serverLocalizers]
        for name, entries in (("model", models), ("localizer", localizers)):
            chosen = getattr(parameters, name) if parameters is not None else ""
            other = [(chosen, chosen)] if chosen not in ("", *dict(entries)) else []  # an ensemble, by a script
            fill(self._selectors[name], [("", self._automatic(name)), *entries, *other], chosen)
        for name, selector in self._selectors.items():
            if parameters is not None:
                select(selector, getattr(parameters, name))
            own = name == "localizer"
            why = situation.whyNotChooseLocalizer() if own else situation.whyNotChooseSetup()
            self._reasons.show(selector, why)

    @staticmethod
    def _automatic(name: str) -> str:
        return {
            "model": _("Automatic: the best one installed"),
            "localizer": _("Automatic: the model's own, or the best one installed"),
            "pipeline": _("Automatic: the one the model is made for"),
            "device": _("Automatic: the graphics card if there is one"),
            "precision": _("Automatic: half where the device is fast at it"),
        }[name]


def _titled(row: ModelRow) -> tuple[str, str]:
    """Name and text of an entry."""
    return row.name, f"{row.title} {row.version}"

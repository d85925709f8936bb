"""Advanced: what the next run uses. Kept with the CT, like everything else about its result."""

from __future__ import annotations

from slicer.i18n import tr as _

from pancreasseg import pipelines
from pancreasseg.core.errors import ModelError
from pancreasseg.core.setup import DEVICES, PRECISIONS, Setup
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.VotersList import Voter, VotersList
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
        self._refusals: dict[tuple[str, str], str] = {}  # which model cannot vote with what; looking on disk is slow
        self._voters = VotersList(ui.votersList, self.onVoters, self.say)
        self._selectors = {
            "lead": ui.modelSelector,
            "localizer": ui.localizerSelector,
            "pipeline": ui.pipelineSelector,
            "device": ui.deviceSelector,
            "precision": ui.precisionSelector,
        }
        titles = {name: each.title for name, each in pipelines.declarations().items()}
        for name, choices in (("pipeline", titles), ("device", DEVICES), ("precision", PRECISIONS)):
            listed = [(choice, _(title)) for choice, title in choices.items()]
            fill(self._selectors[name], [("", self._automatic(name)), *listed], "")
        ui.modelSelector.connect("currentIndexChanged(int)", lambda index: self.onChoice("lead", index))
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
        if name == "lead":
            parameters.pipeline = ""  # the one that the model is made for
        if name in ("lead", "pipeline") and not self.session.place.remote:
            self._forgetMisfits(parameters)
        self.session.changed()

    @slot
    def onVoters(self) -> None:
        """Other models were chosen to vote for this CT."""
        if self.session.parameters is not None:
            self.session.parameters.voters = self._voters.checked
            self.session.changed()

    def _forgetMisfits(self, parameters: Parameters) -> None:
        """Leave out what has no use for what was chosen now: the localizer, and the models that voted before."""
        refusal = self.session.models.refusal
        texts = []
        if parameters.localizer and refusal(parameters.setup.alone):
            text = _("'{name}' cannot find the box for this choice and is not used.")
            texts.append(text.format(name=parameters.localizer))
            parameters.localizer = ""
        if parameters.voters and refusal(parameters.setup):
            text = _("Nothing can vote with this choice; '{names}' is not asked.")
            texts.append(text.format(names="', '".join(parameters.voters)))
            parameters.voters = ()
        if texts:
            self.say(" ".join(texts))

    def listModels(self, rows: list[ModelRow]) -> None:
        """Offer the installed models; called when they have changed."""
        self._refusals.clear()
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
        for name, entries in (("lead", models), ("localizer", localizers)):
            chosen = getattr(parameters, name) if parameters is not None else ""
            other = [(chosen, chosen)] if chosen not in ("", *dict(entries)) else []  # with a localizer, by a script
            fill(self._selectors[name], [("", self._automatic(name)), *entries, *other], chosen)
        for name, selector in self._selectors.items():
            if parameters is not None:
                select(selector, getattr(parameters, name))
            own = name == "localizer"
            why = situation.whyNotChooseLocalizer() if own else situation.whyNotChooseSetup()
            self._reasons.show(selector, why)
        self._voters.show([] if parameters is None else [self._voter(*it, parameters) for it in models])
        self._reasons.show(self.ui.votersList, situation.whyNotChooseSetup())

    def _voter(self, name: str, title: str, parameters: Parameters) -> Voter:
        """What the list shows of a model; the one that is chosen above is always asked."""
        if name == self._leadOf(parameters):
            return Voter(name, title, True, _("This model is asked anyway; check others to ask them too."))
        asked = name in parameters.voters
        return Voter(name, title, asked, "" if asked else self._whyNotVote(name, parameters.setup.alone))

    def _leadOf(self, parameters: Parameters) -> str:
        named = parameters.lead.rpartition("+")[2]
        if named or self.session.place.remote:
            return named
        try:
            return self.session.models.cast(parameters.setup).lead.card.name
        except (ModelError, ImportError):  # the status line says so
            return ""

    def _whyNotVote(self, name: str, setup: Setup) -> str:
        if self.session.place.remote:
            can = name in self.session.serverSegmenters
            return "" if can else _("It has no network that segments inside a box.")
        key = (repr(setup), name)
        if key not in self._refusals:
            self._refusals[key] = self.session.models.whyNotVote(setup, name)
        return self._refusals[key]

    @staticmethod
    def _automatic(name: str) -> str:
        return {
            "lead": _("Automatic: the best one installed"),
            "localizer": _("Automatic: the model's own, or the best one installed"),
            "pipeline": _("Automatic: the one the model is made for"),
            "device": _("Automatic: the graphics card if there is one"),
            "precision": _("Automatic: half where the device is fast at it"),
        }[name]


def _titled(row: ModelRow) -> tuple[str, str]:
    """Name and text of an entry."""
    return row.name, f"{row.title} {row.version}"

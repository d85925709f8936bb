"""Section 3: the one large button, progress, and what was found."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from pancreasseg import pipelines
from pancreasseg.core import results
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Update
from pancreasseg.core.setup import AUTOMATIC
from PancreasSegLib.Panel.Runner import Runner
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Quiet, Reasons, Ui, fill, showText
from PancreasSegLib.Scene import Overlay, Surfaces, Views
from PancreasSegLib.Work import Agreement, Attention, Structures
from PancreasSegLib.Work.Models import ModelRow
from PancreasSegLib.Work.Run import Outcome

COLOURS = {"serious": "#c62828", "warning": "#b26a00", "info": "#1565c0"}


SURFACE_KEY = "PancreasSeg/ShowSurface"


class SegmentSection:
    """Starts runs and shows what came of them.

    Args:
        ui: the widgets of the .ui file.
        session: shared by the sections.
        runner: starts and stops runs.

    Attributes:
        installModel: called with the row of a model that is to be downloaded.
    """

    def __init__(self, ui: Ui, session: Session, runner: Runner) -> None:
        self.ui = ui
        self.session = session
        self.runner = runner
        self.installModel: Callable[[ModelRow], object] = lambda _row: None
        self._reasons = Reasons()
        self._steps = pipelines.words()
        ui.segmentButton.connect("clicked(bool)", self.onButton)
        ui.fastRadioButton.connect("toggled(bool)", self.onFast)
        ui.agreementCheckBox.connect("toggled(bool)", self.onAgreement)
        ui.structuresCheckBox.connect("toggled(bool)", self.onStructures)
        ui.attentionSelector.connect("currentIndexChanged(int)", self.onAttention)
        ui.patientModelButton.connect("clicked(bool)", self.onPatientModel)
        with Quiet(ui.surfaceCheckBox):
            ui.surfaceCheckBox.checked = qt.QSettings().value(SURFACE_KEY) != "no"
        ui.surfaceCheckBox.connect("toggled(bool)", self.onSurface)
        for label in (ui.segmentMessage, ui.progressLabel, ui.staleLabel, ui.findingsLabel):
            showText(label, label.text)

    @slot
    def onButton(self) -> None:
        """Segment, or cancel while a run is going on."""
        if self.session.busy:
            self.runner.cancel()
        else:
            self.runner.start("segment")

    @slot
    def onFast(self, fast: bool) -> None:
        """Accurate or fast."""
        if self.session.parameters is not None:
            accurate, faster = self.session.models.speeds(self.session.parameters.pipeline)
            self.session.parameters.pipeline = faster if fast else accurate
        self.session.changed()

    @slot
    def onPatientModel(self) -> None:
        """Choose a model that was trained on CTs of people, or offer to download one."""
        row = self.session.models.forPatients()
        parameters = self.session.parameters
        if row is None or parameters is None:
            self.say(_("No model for patients is known; install one from a file under Advanced, Models."))
            return
        parameters.model = parameters.pipeline = parameters.localizer = ""
        if row.state == "available":
            self.installModel(row)  # the best one that is installed is then chosen by itself
        elif self.session.models.isSynthetic(AUTOMATIC):
            parameters.model = row.name
        self.session.changed()

    @slot
    def onSurface(self, shown: bool) -> None:
        """Show or hide the segment in the 3D view, now and after the next runs."""
        qt.QSettings().setValue(SURFACE_KEY, "yes" if shown else "no")
        parameters = self.session.parameters
        if parameters is not None and parameters.hasSegment():
            Surfaces.showSurface(parameters.segmentationNode, shown)

    def showSurface(self, outcome: Outcome) -> None:
        """Show a result in the 3D view; the camera goes there the first time, and stays where a person turns it."""
        node = outcome.parameters.segmentationNode
        if not self.ui.surfaceCheckBox.checked:
            return
        known = Surfaces.isSurfaceShown(node)
        Surfaces.showSurface(node, True)
        if not known and slicer.app.layoutManager() is not None:
            slicer.util.resetThreeDViews()

    @slot
    def onAgreement(self, shown: bool) -> None:
        """Lay the agreement map over the CT, or take it away."""
        if self.session.parameters is not None:
            Agreement.showAgreement(self.session.parameters, shown)
            self.session.changed()

    @slot
    def onStructures(self, wanted: bool) -> None:
        """With the next run, the other structures too; those of an earlier one are shown or hidden."""
        parameters = self.session.parameters
        if parameters is not None:
            parameters.structuresWanted = wanted
            if parameters.structuresNode is not None:
                parameters.structuresNode.SetDisplayVisibility(wanted)

    def writeStructures(self, outcome: Outcome) -> Iterator[None]:
        """Write the other structures of a result, one with every step; then say which there are."""
        found: list[str] = []
        if outcome.segmentation is None:
            return
        for name, millilitres, whole in Structures.writeStructures(outcome.parameters, outcome.segmentation):
            found.append(
                f"{name} {millilitres:.0f} ml" if whole else _("{name} (cut off by the box)").format(name=name)
            )
            yield
        if outcome.parameters.volumeNode is not self.session.volumeNode:
            return  # of a list of CTs; another one is looked at
        if found:
            self.say(_("Also found: {names}.").format(names=", ".join(found)))
        else:
            self.say(_("The model knows the pancreas alone; there are no other structures."))

    @slot
    def onAttention(self, index: int) -> None:
        """Lay another map of where the network looked over the CT, or take it away; a new one comes from the worker."""
        parameters = self.session.parameters
        name = self.ui.attentionSelector.itemData(index) or ""
        if parameters is None or index < 0:
            return
        if name and (name != parameters.attentionMap or parameters.attentionVolume is None):
            self.session.attentionMap = name
            self.runner.start("attention")
        else:
            Attention.showAttention(parameters, bool(name))
            self.session.changed()

    def attended(self, attention: results.Attention) -> None:
        """A map of where the network looked has come."""
        ((name, _map),) = attention.maps.items()
        low, high = Attention.colourRange(attention)
        message = _("Attention, {name}: {low:.2f} (dark) to {high:.2f} (bright) of 0 to 1.")
        self.say(message.format(name=_mapTitle(name), low=low, high=high))

    def selected(self) -> None:
        """Another CT is selected, or a scene was loaded: its map lies over it as it was left."""
        if self.session.parameters is not None:
            Overlay.followSelection(self.session.parameters)

    def showProgress(self, update: Update) -> None:
        """Stage, share done and time left."""
        self.ui.progressBar.value = round(100 * update.fraction)
        stage = _(self._steps.get(update.stage, update.stage))
        self.ui.progressLabel.text = stage if update.seconds_left is None else f"{stage} · {_left(update.seconds_left)}"

    def showNotice(self, finding: Finding) -> None:
        """What a person must know while the run goes on."""
        showText(self.ui.segmentMessage, finding.sentence)

    def say(self, text: str) -> None:
        """A sentence about the last run."""
        showText(self.ui.segmentMessage, text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        parameters = self.session.parameters
        self._reasons.show(ui.segmentButton, situation.whyNotSegment())
        ui.segmentButton.text = self._buttonText(situation)
        if not situation.whyNotSegment():
            ui.segmentButton.toolTip = self._buttonTip(situation)
        for button in (ui.accurateRadioButton, ui.fastRadioButton):
            self._reasons.show(button, situation.volumeRefusal or situation.whyNotFast())
        self._reasons.show(ui.agreementCheckBox, situation.whyNotAgreement())
        with Quiet(ui.accurateRadioButton, ui.fastRadioButton, ui.agreementCheckBox):
            pipeline = parameters.pipeline if parameters is not None else ""
            fast = pipeline != "" and pipeline == self.session.models.speeds(pipeline)[1]
            ui.fastRadioButton.checked = fast
            ui.accurateRadioButton.checked = not fast
            ui.agreementCheckBox.checked = parameters is not None and Agreement.isAgreementShown(parameters)
        self._reasons.show(ui.structuresCheckBox, situation.volumeRefusal)
        with Quiet(ui.structuresCheckBox):
            ui.structuresCheckBox.checked = parameters is not None and parameters.structuresWanted
        self._reasons.show(ui.attentionSelector, situation.whyNotAttention())
        maps = [("", _("Hidden")), *((name, _mapTitle(name)) for name in situation.attentionMaps)]
        shown = self.session.attentionMap if situation.busy == "attention" else ""
        fill(ui.attentionSelector, maps, shown or (Attention.shownMap(parameters) if parameters is not None else ""))
        ui.progressBar.setVisible(situation.running)
        ui.progressLabel.setVisible(situation.running)
        if not situation.running:
            ui.progressBar.value = 0
            ui.progressLabel.text = _("Starting")
        ui.staleLabel.setVisible(situation.stale and situation.segmentPresent and not situation.running)
        warn = situation.syntheticModel and not situation.running
        showText(ui.syntheticLabel, _syntheticWarning() if warn else "")
        ui.patientModelButton.setVisible(warn)
        findings = parameters.result.get("findings", []) if parameters is not None and situation.segmentPresent else []
        showText(ui.findingsLabel, asHtml(findings))

    def jumpToResult(self, outcome: Outcome) -> None:
        """Show what was found in the slice views: the slices with most of the segment, or the middle of the box."""
        parameters = outcome.parameters
        if outcome.segmentation is not None:
            Views.jumpToFullestSlices(parameters)
        elif parameters.roiNode is not None:
            Views.jumpTo(parameters.roiNode.GetCenterWorld(), slicer.mrmlScene)

    @staticmethod
    def _buttonText(situation: Situation) -> str:
        if situation.cancelling:
            return _("Cancelling...")
        if situation.running:
            return _("Cancel")
        if not situation.insideRoi:
            return _("Segment pancreas")
        return _("Segment again inside the ROI") if situation.stale else _("Segment pancreas inside the ROI")

    @staticmethod
    def _buttonTip(situation: Situation) -> str:
        if situation.running:
            return _("Stop the run; nothing in the scene is changed.")
        if situation.insideRoi:
            return _("Segment only inside the ROI box as it was placed by hand.")
        return _("Find the pancreas, put the ROI box around it, and segment it.")


def _syntheticWarning() -> str:
    text = html.escape(_("This model has seen synthetic images only. It is not made for CTs of patients."))
    return f'<span style="color:{COLOURS["serious"]}"><b>{text}</b></span>'


def _mapTitle(name: str) -> str:
    """The name of a map for people."""
    _level, level, *rest = name.split("-")
    if rest == ["mean"]:
        return _("level {level}, mean of its heads").format(level=level)
    return _("level {level}, head {head}").format(level=level, head=rest[1])


def asHtml(findings: Iterable[dict]) -> str:
    """Findings as lines with a coloured mark each, the serious ones first."""
    order = list(COLOURS)
    lines = [
        f'<span style="color:{COLOURS[finding["severity"]]}">&#9679;</span> {html.escape(finding["sentence"])}'
        for finding in sorted(findings, key=lambda finding: order.index(finding["severity"]))
    ]
    return "<br>".join(lines)


def _left(seconds: float) -> str:
    if seconds < 60:
        return _("about {count} s left").format(count=max(1, round(seconds)))
    return _("about {count} min left").format(count=round(seconds / 60))

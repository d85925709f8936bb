"""The panel: puts the sections together, and follows what happens in the scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from PancreasSegLib.Panel.AdvancedSection import AdvancedSection
from PancreasSegLib.Panel.ComputeSection import ComputeSection
from PancreasSegLib.Panel.CorrectSection import CorrectSection
from PancreasSegLib.Panel.DependencySection import DependencySection
from PancreasSegLib.Panel.Dialogs import Dialogs
from PancreasSegLib.Panel.ExportSection import ExportSection
from PancreasSegLib.Panel.FirstRunSection import FirstRunSection
from PancreasSegLib.Panel.Folding import rememberFolding
from PancreasSegLib.Panel.InputSection import InputSection
from PancreasSegLib.Panel.Installer import Installer
from PancreasSegLib.Panel.LocateSection import LocateSection
from PancreasSegLib.Panel.ModelSection import ModelSection
from PancreasSegLib.Panel.PatientsSection import PatientsSection
from PancreasSegLib.Panel.Runner import Runner
from PancreasSegLib.Panel.SegmentSection import SegmentSection
from PancreasSegLib.Panel.SequenceSection import SequenceSection
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.StatisticsSection import StatisticsSection
from PancreasSegLib.Panel.Widgets import Ui
from PancreasSegLib.Scene import Orphans, Overlay, Views
from PancreasSegLib.Scene.Observers import Observers
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Agreement, Attention
from PancreasSegLib.Work.Run import Outcome
from PancreasSegLib.Work.Workflow import Workflow

# Dragging an ROI is a burst of changes; the panel follows when it pauses.
ROI_MILLISECONDS = 100

SEGMENTATION_EVENTS = (
    "SourceRepresentationModified",
    "SegmentAdded",
    "SegmentRemoved",
    "SegmentModified",
)


class Panel:
    """What a person sees of PancreasSeg.

    Args:
        ui: the widgets of the .ui file by name.
        workflow: a PancreasSegLib.Work.Workflow.Workflow for this panel alone.
        python: the Python that runs tasks beside the worker.
        dialogs: asks the person; replaced in tests.
    """

    def __init__(self, ui: Ui, workflow: Workflow, python: str, dialogs: Dialogs | None = None) -> None:
        self.ui = ui
        self.session = Session(workflow, dialogs or Dialogs(), python)
        self.runner = Runner(self.session)
        self._refreshing = False
        self._closing = False
        self._observers = Observers()  # of the scene
        self._watched: dict[str, tuple[slicer.vtkMRMLNode, Observers]] = {}
        self._roiTimer = qt.QTimer()
        self._roiTimer.setSingleShot(True)
        self._roiTimer.setInterval(ROI_MILLISECONDS)
        self._roiTimer.connect("timeout()", self.onPause)
        self._shown = True  # Slicer builds a panel when it is about to show it
        self._missed = False  # something happened while another module was shown
        self._onScreen = ""  # ID of the CT that was shown when it was selected
        self._newcomer = False  # a volume came, and none is selected yet
        self._nodesLeft = False  # some node was removed
        self._restored = False  # it came with a scene that was loaded

        rememberFolding(ui)
        self.input = InputSection(ui, self.session, self.onSelected)
        self.locate = LocateSection(ui, self.session, self.runner)
        self.segment = SegmentSection(ui, self.session, self.runner)
        self.correct = CorrectSection(ui, self.session)
        self.statistics = StatisticsSection(ui, self.session)
        self.export = ExportSection(ui, self.session)
        self.patients = PatientsSection(ui, self.session, self.runner)
        self.sequence = SequenceSection(ui, self.session, self.runner)
        self.advanced = AdvancedSection(ui, self.session)
        self.compute = ComputeSection(ui, self.session, self.runner)
        self.installer = Installer(self.session)
        self.models = ModelSection(ui, self.session, self.installer, self.advanced.listModels)
        self.firstRun = FirstRunSection(ui, self.session, self.installer, self.models)
        self.segment.installModel = self.models.download
        self.dependencies = DependencySection(ui, self.session, self.segment.say, self.onPackages)
        self.sections = (
            self.input,
            self.locate,
            self.segment,
            self.correct,
            self.statistics,
            self.export,
            self.patients,
            self.sequence,
            self.advanced,
            self.compute,
            self.models,
            self.firstRun,
            self.dependencies,
        )
        self.runner.onProgress.subscribe(self.segment.showProgress)
        self.runner.onNotice.subscribe(self.segment.showNotice)
        self.runner.onDescribed.subscribe(self.input.showDescription)
        self.runner.onMessage.subscribe(self.showMessage)
        self.runner.onOutcome.subscribe(self.onOutcome)
        self.patients.patients.onOutcome = self.onPatientOutcome
        workflow.afterWrite = self.onWritten
        self._lost: list[str] = []
        self.runner.offerPackages.subscribe(self.dependencies.offer)

        scene = slicer.mrmlScene
        self._observers.add(scene, scene.StartCloseEvent, self.onStartClose)
        self._observers.add(scene, scene.EndCloseEvent, self.onEndClose)
        self._observers.add(scene, scene.EndImportEvent, self.onEndImport)
        self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeLeaving)
        self._observers.add(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self._observers.add(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.session.volumeNode = ui.volumeSelector.currentNode()
        self.session.changed.subscribe(self.refresh)
        self.session.say.subscribe(self.say)
        self.session.changedSoon.subscribe(self._roiTimer.start)
        self.onSelected()

    @slot
    def enter(self) -> None:
        """The panel is shown."""
        self.wake()
        self.runner.describe()
        self.models.list()

    def wake(self) -> None:
        """Follow the scene, and catch up with what happened to it meanwhile."""
        self._shown = True
        self.correct.enter()
        self._preselect(restored=self._restored)
        if self._missed:
            self._missed = False
            self.onSelected()
        else:
            self.refresh()

    @slot
    def exit(self) -> None:
        """Another module is shown: nothing may keep Slicer from answering there but a run that is going on."""
        self._shown = False
        self.correct.exit()

    def close(self) -> None:
        """The panel goes away for good."""
        self._closing = True
        self._roiTimer.stop()
        self._observers.clear()
        self._forget()
        self.runner.close()
        for section in (self.input, self.statistics, self.export, self.patients, self.sequence, self.models):
            section.close()
        self.correct.releaseScene()

    @property
    def settled(self) -> bool:
        """No run is going on, and everything that follows from the last one is done and measured."""
        return not (self.session.busy or self.session.workflow.pending or self.statistics.pending)

    @slot
    def refresh(self) -> None:
        """Bring every widget in line with the scene and the run."""
        if self._refreshing or self._closing or not self._shown or slicer.mrmlScene.IsClosing():
            return
        self._refreshing = True
        try:
            with self.session.reading():
                self.session.forgetGoneModel()
                situation = self.session.situation()
                for section in self.sections:
                    section.show(situation)
                self._watch()
        finally:
            self._refreshing = False

    @slot
    def onSelected(self) -> None:
        """Another CT was selected: show what belongs to it."""
        if not self._shown:
            self._missed = True
            return
        self.showMessage("", "")
        self._showSelected()
        self.segment.selected()
        self.refresh()
        self.statistics.update()
        self.export.segmentChanged()

    def _showSelected(self) -> None:
        """Show a CT that was just selected; one that was shown before is not forced on a person who looks elsewhere."""
        parameters = self.session.parameters
        selected = parameters.volumeNode.GetID() if parameters is not None else ""
        if parameters is not None and selected != self._onScreen:
            Views.showVolume(parameters.volumeNode)
            Views.showResultsOf(parameters)
        self._onScreen = selected

    def onPackages(self) -> None:
        """Python packages were installed: what they read and run can be shown now, by a worker that knows of them."""
        self.session.workflow.shutdown()
        self.models.list()
        self.runner.describe()

    def showMessage(self, kind: str, text: str) -> None:
        """A sentence about a run, in the section where it was started."""
        self.locate.say(text if kind == "locate" else "")
        self.segment.say(text if kind != "locate" else "")

    def say(self, text: str) -> None:
        """A sentence that belongs to no section: below the large button, where a person looks first."""
        self.segment.say(text)

    @slot
    def onWritten(self, parameters: Parameters) -> None:
        """A result was written a moment ago; what belongs to the same step of Undo follows at once."""
        self._lost = self.correct.overwriteOthers(parameters)

    @slot
    def onOutcome(self, outcome: Outcome) -> None:
        """A run has put its result into the scene; the rest follows piece by piece."""
        parameters = outcome.parameters
        if parameters.volumeNode is None:
            return  # the scene was closed a moment ago
        if outcome.attention is not None:
            self.segment.attended(outcome.attention)
            return
        if outcome.localization is not None:
            found = outcome.segmentation or outcome.localization
            parameters.automaticBox = found.box
        if outcome.segmentation is None:
            self.showMessage("locate", " ".join(finding.sentence for finding in outcome.findings))
            self._later(outcome, lambda: self.segment.jumpToResult(outcome))
            return
        message = ""
        if self._lost:
            message = _(
                "Overwritten where it overlaps, as the Segment Editor's setting says: {names}. Undo is possible."
            )
            message = message.format(names=", ".join(self._lost))
        self.showMessage("segment", message)
        self.session.edited = self.session.segmentEmpty = False
        if not self._shown:
            self._missed = True
            self._later(outcome, lambda: self._keepMaps(outcome))
            return
        self.statistics.outdate()
        for piece in (
            self.statistics.update,  # first: the worker measures while the rest is done here
            lambda: self._keepMaps(outcome),
            lambda: self.segment.jumpToResult(outcome),
            lambda: self.segment.showSurface(outcome),
            self.export.segmentChanged,
            self.refresh,
        ):
            self._later(outcome, piece)

    def onPatientOutcome(self, outcome: Outcome) -> None:
        """A CT of the list was segmented, whether it is the selected one or not."""
        if outcome.parameters.volumeNode is self.session.volumeNode:
            self.onOutcome(outcome)
            return
        if outcome.segmentation is not None:
            outcome.parameters.automaticBox = outcome.segmentation.box
        self._keepMaps(outcome)
        if self.session.parameters is not None:
            Overlay.followSelection(self.session.parameters)
        self.patients.showOnlySelected()

    def _writeStructures(self, outcome: Outcome) -> None:
        """What else the model knows, where a person wants it: a structure in every turn of the event loop."""
        if not outcome.parameters.structuresWanted:
            return
        steps = self.segment.writeStructures(outcome)

        def step() -> None:
            if next(steps, self) is not self:
                self._later(outcome, step)

        self._later(outcome, step)

    def _keepMaps(self, outcome: Outcome) -> None:
        """Where the voters differed, and the other structures; where the network looked was about an earlier result."""
        if outcome.segmentation is not None:
            Agreement.keepAgreement(outcome.parameters, outcome.segmentation)
        Attention.forgetAttention(outcome.parameters)
        self._writeStructures(outcome)

    def _later(self, outcome: Outcome, piece: Callable[[], object]) -> None:
        """Do a piece of work in a turn of its own, if the CT and its segment are still there then."""
        self.runner.later(partial(self._do, outcome, piece))

    @slot
    def _do(self, outcome: Outcome, piece: Callable[[], object]) -> None:
        parameters = outcome.parameters
        if parameters.volumeNode is not None and (outcome.segmentation is None or parameters.hasSegment()):
            piece()

    @slot
    def onPause(self) -> None:
        """Whatever happened in the scene has paused."""
        if self._nodesLeft:
            self._nodesLeft = False
            Orphans.removeOrphans(slicer.mrmlScene)
        if self._newcomer and self._shown:
            self._preselect(restored=self._restored)
        self.refresh()

    def _preselect(self, *, restored: bool = False) -> None:
        """Select the CT that a person most likely means, when none is selected."""
        if self.ui.volumeSelector.currentNode() is not None:
            return
        node = Views.likelyVolume(slicer.mrmlScene, restored=restored)
        if node is not None:
            self._newcomer = self._restored = False
            self.ui.volumeSelector.setCurrentNode(node)

    @slot
    def onRoiChanged(self, *_arguments: object) -> None:
        """The ROI is being dragged."""
        self._roiTimer.start()

    @slot
    def onSegmentationChanged(self, *_arguments: object) -> None:
        """A segment was edited, added, removed or renamed."""
        self._changed()

    def _changed(self) -> None:
        """The segment has to be measured anew; when the panel is shown again, if it is not shown now."""
        if self._shown:
            self.session.scheduleStatistics()
        else:
            self._missed = True

    @slot
    def onVolumeChanged(self, *_arguments: object) -> None:
        """The CT's voxels or its transform have changed."""
        self._roiTimer.start()

    @slot
    def onNodeAdded(self, *_arguments: object) -> None:
        """Some node came; it may be a CT, or the ROI of the run that is going on."""
        self._newcomer = self._newcomer or self.session.volumeNode is None
        self._roiTimer.start()

    @slot
    def onNodeRemoved(self, *_arguments: object) -> None:
        """Some node is gone; what pointed to it points nowhere now."""
        self._forget(goneOnly=True)
        self._nodesLeft = True
        self.session.leaving = ""
        self._roiTimer.start()
        self._changed()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    @slot
    def onNodeLeaving(self, _scene: slicer.vtkMRMLScene, _event: str, node: slicer.vtkMRMLNode) -> None:
        """Some node is about to go; the selectors do not know yet, and will move on to another one by themselves."""
        self.session.leaving = node.GetID()

    @slot
    def onStartClose(self, *_arguments: object) -> None:
        """The scene is about to be closed."""
        self.patients.forget()
        self.sequence.forget()
        self.session.workflow.forget()
        self._forget()
        self.correct.releaseScene()
        self.session.volumeNode = None
        self._onScreen = ""

    @slot
    def onEndClose(self, *_arguments: object) -> None:
        """The scene is empty."""
        self.correct.connectEditor()
        self.session.volumeNode = self.ui.volumeSelector.currentNode()
        self.onSelected()

    @slot
    def onEndImport(self, *_arguments: object) -> None:
        """A scene was loaded: everything that was kept with its CTs is there again."""
        self.correct.connectEditor()
        self.session.volumeNode = self.ui.volumeSelector.currentNode()
        self._newcomer = self._restored = True  # the selectors do not offer its nodes before the import is over
        self.onSelected()
        self._roiTimer.start()

    def _watch(self) -> None:
        """Observe the nodes of the selected CT, and no others."""
        parameters = self.session.parameters
        wanted = {"volume": self.session.volumeNode, "roi": None, "segmentation": None}
        if parameters is not None:
            wanted["roi"], wanted["segmentation"] = parameters.roiNode, parameters.segmentationNode
        for kind, node in wanted.items():
            watched, observers = self._watched.get(kind, (None, Observers()))
            if watched is not node:
                observers.clear()
                for observed, event, method in self._eventsOf(kind, node):
                    observers.add(observed, event, method)
                self._watched[kind] = (node, observers)

    def _forget(self, *, goneOnly: bool = False) -> None:
        """Watch none of the CT's nodes any more, or none of those that have left the scene: they must not be kept."""
        for kind, (node, observers) in list(self._watched.items()):
            if node is None or node.GetScene() is None or not goneOnly:
                observers.clear()
                del self._watched[kind]

    def _eventsOf(self, kind: str, node: slicer.vtkMRMLNode | None) -> list[tuple]:
        if node is None:
            return []
        transformed = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        if kind == "roi":
            display = node.DisplayModifiedEvent
            return [(node, e, self.onRoiChanged) for e in (vtk.vtkCommand.ModifiedEvent, transformed, display)]
        if kind == "segmentation":
            segmentation = node.GetSegmentation()
            return [(segmentation, getattr(segmentation, e), self.onSegmentationChanged) for e in SEGMENTATION_EVENTS]
        return [(node, e, self.onVolumeChanged) for e in (node.ImageDataModifiedEvent, transformed)]

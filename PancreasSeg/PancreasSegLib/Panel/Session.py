"""What the sections of the panel share: the CT at hand, its parameters, the run, and who hears of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from pancreasseg import pipelines
from pancreasseg.core.errors import InputError, PancreasSegError
from PancreasSegLib.Panel.Dialogs import Dialogs
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Scene import RoiNodes, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Attention, Dependencies
from PancreasSegLib.Work.Compute import HERE, Place
from PancreasSegLib.Work.Models import Models
from PancreasSegLib.Work.Sentences import sentenceOf
from PancreasSegLib.Work.Signal import Signal
from PancreasSegLib.Work.Statistics import Question
from PancreasSegLib.Work.Workflow import OnMeasured, Workflow


class Session:
    """The state behind the panel.

    Args:
        workflow: a PancreasSegLib.Work.Workflow.Workflow for this panel alone.
        dialogs: asks the person, see `Dialogs`.
        python: the Python that runs tasks beside the worker.

    Attributes:
        models: installed and available models.
        place: where is computed; chosen in the section for it.
        serverModels, serverLocalizers: (name, title) of the models on the server, and of those that can find the box
            for another, once it was asked.
        serverSegmenters: names of those that segment inside a box, and so can vote.
        changed: called without arguments whenever buttons may have to change.
        say: called with a sentence that no section has a place for.
        changedSoon: the same, when it may wait for a moment and for other changes.
        scheduleStatistics: called when the segment may have changed.
        measure: called with what to have measured and with whom to tell; see `Workflow.measure`.
        offerPackage: called with an error and what to do afterwards; true when a package that was missing is offered.
        saveForUndo: called with a segmentation node before it is changed; true when Undo can bring it back.
        busy: "locate", "segment", "attention" or "patients" (a CT of the list) while a run is going on, else empty.
        attentionMap: which map a run "attention" fetches.
        cancelling: Cancel was clicked.
        leaving: ID of the node that is just being removed from the scene.
        folder: where files are exported to.
        modelSelected: state of the selected row of the model table.
        installing: a model is being installed.
        dicomRefusal: why DICOM export would fail; found out by the export section.
        segmentEmpty, edited: about the segment; found out by the statistics section.
    """

    def __init__(self, workflow: Workflow, dialogs: Dialogs, python: str) -> None:
        self.workflow = workflow
        workflow.measureResults = False  # the statistics section does, once the segment is on the screen
        self.dialogs = dialogs
        self.python = python
        self.models = Models()
        self.place: Place = HERE
        self.serverModels: tuple[tuple[str, str], ...] = ()
        self.serverLocalizers: tuple[tuple[str, str], ...] = ()
        self.serverSegmenters: frozenset[str] = frozenset()
        self.changed: Signal[None] = Signal()
        self.changedSoon: Signal[None] = Signal()
        self.say: Signal[str] = Signal()
        self.scheduleStatistics: Signal[None] = Signal()
        self.measure: Callable[[Question, OnMeasured], object] = lambda _question, _onMeasured: None
        self.offerPackage: Callable[[Exception, Callable[[], object]], bool] = lambda _error, _then: False
        self.saveForUndo: Callable[[slicer.vtkMRMLSegmentationNode], bool] = lambda _segmentationNode: False
        self.busy = ""
        self.attentionMap = ""
        self.cancelling = False
        self.folder = ""
        self.modelSelected = ""
        self.installing = False
        self.dicomRefusal = ""
        # Known from the last statistics: looking at every voxel is too slow for every change of a button.
        self.segmentEmpty = False
        self.edited = False
        self.leaving = ""
        self._volumeNodeId = ""
        self._reading: Parameters | None = None

    @property
    def volumeNode(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The selected volume, usable or not; None when there is none."""
        return slicer.mrmlScene.GetNodeByID(self._volumeNodeId) if self._volumeNodeId else None

    @volumeNode.setter
    def volumeNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self._volumeNodeId = node.GetID() if node is not None else ""

    def isLeaving(self, node: slicer.vtkMRMLNode | None) -> bool:
        """True while this node is being removed: what a selector moves on to then is nobody's choice."""
        return node is not None and node.GetID() == self.leaving

    def volumeRefusal(self) -> str:
        """Why the selected volume cannot be used, in a sentence; empty when it can."""
        try:
            VolumeNodes.checkVolumeNode(self.volumeNode)
        except InputError as error:
            return str(error)
        return ""

    @property
    def parameters(self) -> Parameters | None:
        """The parameters of the selected CT; None when no usable CT is selected."""
        if self._reading is not None:
            return self._reading
        return None if self.volumeRefusal() else Parameters.forVolume(self.volumeNode)

    @property
    def selectedCt(self) -> Parameters:
        """The same, for what can only be done with a CT.

        Raises:
            InputError: no usable CT is selected, and why.
        """
        VolumeNodes.checkVolumeNode(self.volumeNode)
        return Parameters.forVolume(self.volumeNode)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Look up the CT's parameters and the model once for all sections, while nothing can change between them."""
        self._reading = self.parameters
        try:
            with self.models.reading():
                yield
        finally:
            self._reading = None

    def forgetGoneModel(self) -> None:
        """Leave the choice to the engine where the CT's own names a model that is not installed here, and say so."""
        parameters = self.parameters
        if parameters is None or self.place.remote or self.busy:
            return
        gone = self.models.gone(parameters.setup)
        texts = []
        if parameters.localizer in gone:
            text = _("The localizer '{name}', which was chosen for this CT, is not installed; the model's own is used.")
            texts.append(text.format(name=parameters.localizer))
            gone.remove(parameters.localizer)
            parameters.localizer = ""
        for name in [voter for voter in parameters.voters if voter in gone]:
            text = _("The model '{name}', which was chosen to vote for this CT, is not installed; it is not asked.")
            texts.append(text.format(name=name))
            gone.remove(name)
            parameters.voters = [other for other in parameters.voters if other != name]
        if gone:
            text = _("The model '{name}', which was chosen for this CT, is not installed; {instead} is used.")
            instead = ", ".join(parameters.voters) or _("the best one")
            texts.append(text.format(name=parameters.lead, instead=instead))
            parameters.model, parameters.pipeline = ",".join(parameters.voters), ""
        if texts:
            self.say(" ".join(texts))

    def missing(self) -> tuple[str, ...]:
        """Python packages that a run needs and that are not installed; a server has its own."""
        return () if self.place.remote else Dependencies.missing()

    def situation(self) -> Situation:
        """What is possible now."""
        refusal = self.volumeRefusal()
        shared: dict[str, Any] = {
            "volumeRefusal": refusal,
            "volumeSelected": self.volumeNode is not None,
            "missingPackages": self.missing(),
            "busy": self.busy,
            "cancelling": self.cancelling,
            "folder": self.folder,
            "modelSelected": self.modelSelected,
            "installing": self.installing,
        }
        parameters = self.parameters
        if parameters is None:
            return Situation(**shared)
        return Situation(**shared, **self._ofModel(parameters), **self._ofRoi(parameters), **self._ofResult(parameters))

    def _ofModel(self, parameters: Parameters) -> dict:
        pipeline = self.models.pipelineOf(parameters.setup)
        fast = margin = localizer = ""
        if pipeline and pipeline not in self.models.speeds(pipeline):
            fast = _("The pipeline '{name}' has one way to run; accurate and fast are for two-stage models.")
        if pipeline and pipelines.declarations()[pipeline].margin_mm is None:
            margin = _("The pipeline '{name}' leaves no margin around what it finds.")
        remote = self.place.remote  # it has models of its own
        if not (remote or parameters.localizer or self.models.usesLocalizer(parameters.setup)):
            localizer = _("The pipeline '{name}' looks without a localizer.")
        synthetic = not remote and self.models.isSynthetic(parameters.setup)
        return {
            "syntheticModel": synthetic and not VolumeNodes.isPhantom(parameters.volumeNode),
            "modelRefusal": "" if remote else self.models.refusal(parameters.setup),
            "fastRefusal": fast.format(name=pipeline),
            "marginRefusal": margin.format(name=pipeline),
            "localizerRefusal": localizer.format(name=pipeline),
        }

    def _ofRoi(self, parameters: Parameters) -> dict:
        if parameters.roiNode is None:
            return {}
        state = {"roiPresent": True, "stale": parameters.isStale()}
        try:
            box = RoiNodes.boxOfRoi(parameters.roiNode, parameters.volumeNode)
        except InputError as error:
            return {**state, "roiByHand": True, "roiRefusal": str(error), "roiRotated": error.code == "roi-rotated"}
        return {**state, "roiByHand": box != parameters.automaticBox}

    def _ofResult(self, parameters: Parameters) -> dict:
        if not parameters.hasSegment():
            return {}
        node = parameters.segmentationNode
        draft = Segments.draftOf(node)
        hasDraft = draft is not None and draft.GetSegmentation().GetSegment(parameters.segmentId) is not None
        return {
            "segmentPresent": True,
            "segmentEmpty": self.segmentEmpty,
            "draftPresent": hasDraft,
            "edited": self.edited,
            "agreementPresent": parameters.agreementMap is not None,
            **self._ofAttention(parameters),
            "dicomRefusal": self.dicomRefusal,
        }

    def _ofAttention(self, parameters: Parameters) -> dict:
        if not self.models.readable:
            return {"attentionRefusal": _("Python packages are missing; install them to see where the network looked.")}
        try:
            return {"attentionMaps": Attention.mapsOf(parameters)}
        except PancreasSegError as error:
            return {"attentionRefusal": sentenceOf(error)}

    @staticmethod
    def sentence(error: Exception) -> str:
        """What a person reads about an error."""
        return sentenceOf(error)

"""From a CT volume node to the box, the segment and its numbers: what a click on Segment pancreas does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import slicer
import vtk

from pancreasseg.errors import InputError, PancreasSegError, RunError
from pancreasseg.findings.finding import Finding, Severity
from pancreasseg.progress import Update
from pancreasseg.results import Localization, Segmentation
from pancreasseg.volume import Box, Volume
from PancreasSegLib import RoiNodes, Segments, Tables, VolumeNodes
from PancreasSegLib.Models import marginOf
from PancreasSegLib.Parameters import Parameters
from PancreasSegLib.Placement import placeBeside

POLL_SECONDS = 0.01

# Share of a run's time that each step takes, roughly.
STEP_COSTS = {"load": 1.0, "localize": 3.0, "segment": 6.0}


@dataclass(frozen=True)
class Outcome:
    """What a run brought into the scene.

    Attributes:
        parameters: the CT's parameters; they lead to the ROI, segmentation and table nodes.
        localization: where the pancreas was found, or None when a person placed the box.
        segmentation: the engine's result, or None when only the box was asked for.
        measurements: of the segment as it is in the scene.
        findings: all remarks, from loading to the result.
    """

    parameters: Parameters
    localization: Localization | None
    segmentation: Segmentation | None
    measurements: tuple = ()
    findings: tuple[Finding, ...] = ()


@dataclass
class _Run:
    """One run in progress. Holds the CT by its parameters, never by a pointer that could outlive it."""

    parameters: Parameters
    key: tuple
    geometry: object
    array: np.ndarray | None
    steps: list[str]
    box: Box | None
    before: np.ndarray | None
    replaceEdited: bool
    request: int = 0
    localization: Localization | None = None
    findings: list[Finding] = field(default_factory=list)
    planned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.planned = tuple(self.steps)

    def overall(self, update: Update) -> Update:
        """A step's progress as progress of the whole run."""
        costs = [STEP_COSTS[step] for step in self.planned]
        behind = len(self.planned) - len(self.steps)
        fraction = (sum(costs[:behind]) + costs[behind] * update.fraction) / sum(costs)
        # Only the last step knows how long the run will take; before it, its length would be a guess.
        left = update.seconds_left if len(self.steps) == 1 else None
        return replace(update, fraction=fraction, seconds_left=left)


class Workflow:
    """Drives the engine for one scene. All calls belong to the main thread; nothing here waits but `run` and `locate`.

    `startSegment` or `startLocate` begins a run. Then `poll`, called from a timer, hands on progress, puts results
    into the scene, and returns the `Outcome` once the run is over. It raises what went wrong, after which the workflow
    is ready for the next run. Deleting the CT or closing the scene ends the run.

    Args:
        client: a `pancreasseg.worker.client.WorkerClient`, for this workflow alone.
        onProgress: called with every progress update.
        onNotice: called with what a person must know while the run goes on.
        beforeWrite: called with a segmentation node before one of its segments is overwritten; saves for undo, and
            answers False where it cannot: then a segment with voxels is left as it is and a new one is written.
        onDescribed: called with the answer to `describe`, a dict, or with the error.

    Attributes:
        measureResults: whether a result is measured and put into a table node before the run ends; a panel that
            measures afterwards sets it to false.
    """

    def __init__(
        self,
        client,
        *,
        onProgress: Callable[[Update], None] | None = None,
        onNotice: Callable[[Finding], None] | None = None,
        beforeWrite: Callable[[object], bool] | None = None,
        onDescribed: Callable[[object], None] | None = None,
    ) -> None:
        self.client = client
        self.onProgress = onProgress
        self.onNotice = onNotice
        self.beforeWrite = beforeWrite
        self.onDescribed = onDescribed
        self.measureResults = True
        self._description: int | None = None
        self._run: _Run | None = None
        self._loadedKey: tuple | None = None
        self._failure: PancreasSegError | None = None
        self._observed: tuple[object, list[int]] | None = None

    @property
    def running(self) -> bool:
        """True from the start of a run until `poll` has reported its end."""
        return self._run is not None

    @property
    def describing(self) -> bool:
        """True from `describe` until `poll` has handed on the answer."""
        return self._description is not None

    def describe(self) -> None:
        """Ask for device, memory and installed models, which also starts and warms the worker."""
        self._description = self.client.hello()

    def startLocate(self, volumeNode) -> None:
        """Begin to find the pancreas and to put the ROI around it.

        Raises:
            InputError: the node is no CT that can be used.
            RunError: a run is going on.
        """
        self._start(volumeNode, ["localize"], None, replaceEdited=True)

    def startSegment(self, volumeNode, *, inRoi: bool = False, replaceEdited: bool = False) -> None:
        """Begin to segment.

        Args:
            volumeNode: the CT.
            inRoi: segment only inside the CT's ROI as the person placed it, instead of finding the pancreas first.
            replaceEdited: the person has agreed that a segment edited by hand is replaced.

        Raises:
            InputError: the CT or the ROI cannot be used; "segment-edited" when replacing needs the person's consent.
            RunError: a run is going on.
        """
        self._start(volumeNode, ["segment"] if inRoi else ["localize", "segment"], inRoi, replaceEdited=replaceEdited)

    def locate(self, volumeNode) -> Outcome:
        """`startLocate`, and wait for the end."""
        self.startLocate(volumeNode)
        return self._wait()

    def run(self, volumeNode, *, inRoi: bool = False, replaceEdited: bool = False) -> Outcome:
        """`startSegment`, and wait for the end."""
        self.startSegment(volumeNode, inRoi=inRoi, replaceEdited=replaceEdited)
        return self._wait()

    def cancel(self) -> None:
        """Stop the run; `poll` raises `Cancelled` within half a second."""
        if self._run is not None:
            self.client.cancel(self._run.request)

    def shutdown(self) -> None:
        """Give up the run, if there is one, and end the worker process; the next run starts a new one."""
        self._end()
        self._loadedKey = None
        self._description = None
        self.client.shutdown()

    def poll(self) -> Outcome | None:
        """Hand on what has happened since the last call; never waits for the engine.

        Returns:
            The outcome when the run has just ended, else None.

        Raises:
            PancreasSegError: why the run has ended without one.
        """
        for event in self.client.poll():
            if event.request == self._description:
                if event.final:
                    self._description = None
                    _tell(self.onDescribed, event.value)
                continue
            if self._run is None or self._failure is not None or event.request != self._run.request:
                continue  # from a run that was given up
            if event.name == "progress":
                _tell(self.onProgress, self._run.overall(event.value))
            elif event.name == "notice":
                self._run.findings.append(event.value)
                _tell(self.onNotice, event.value)
            elif event.name == "error":
                self._failure = event.value
            else:
                outcome = self._proceed(event.value)
                if outcome is not None:
                    return outcome
        if self._failure is not None:
            failure = self._failure
            self._end()
            raise failure
        return None

    def _start(self, volumeNode, steps: list[str], inRoi: bool | None, *, replaceEdited: bool) -> None:
        if self._run is not None:
            raise RunError("busy", "A run is going on already.", "Wait until it has ended, or cancel it.")
        image = VolumeNodes.readVolumeNode(volumeNode)
        parameters = Parameters.forVolume(volumeNode)
        box = RoiNodes.boxOfRoi(parameters.roiNode, volumeNode) if inRoi else None
        before = None
        if "segment" in steps and parameters.hasSegment():
            node, segmentId = parameters.segmentationNode, parameters.segmentId
            if not replaceEdited and Segments.isEdited(node, segmentId, volumeNode):
                raise InputError(
                    "segment-edited",
                    f"The segment in '{node.GetName()}' was edited by hand; a new run would replace it.",
                    "Agree to replace it, or rename or copy it first.",
                )
            before = Segments.readMask(node, segmentId, volumeNode)
        if image.key != self._loadedKey:
            steps = ["load", *steps]
        self._run = _Run(parameters, image.key, image.geometry, image.array, steps, box, before, replaceEdited)
        self._run.findings += VolumeNodes.transformFindings(volumeNode)
        self._observe(volumeNode)
        try:
            self._request()
        except PancreasSegError:
            self._end()
            raise

    def _request(self) -> None:
        """Send the next step's request."""
        run = self._run
        parameters = run.parameters
        settings = {
            "pipeline": parameters.pipeline or None,
            "model": parameters.model or None,
            "device": parameters.device or "auto",
            "precision": parameters.precision or "auto",
        }
        if parameters.marginChosen and marginOf(parameters.model, parameters.pipeline) is not None:
            settings["options"] = {"margin_mm": parameters.marginMm}
        if run.steps[0] == "load":
            self._loadedKey = None
            run.request = self.client.load(run.array, run.geometry)
            run.array = None  # the view must not outlive the node's voxels
        elif run.steps[0] == "localize":
            run.request = self.client.localize(**settings)
        else:
            run.request = self.client.segment(run.box, **settings)

    def _proceed(self, value) -> Outcome | None:
        """Take a step's result; the outcome after the last step."""
        run = self._run
        step = run.steps.pop(0)
        try:
            if step == "load":
                self._loadedKey = run.key
                run.findings += value
            elif step == "localize":
                run.localization = value
                self._showBox(value.box)
            outcome = None
            if not run.steps:
                outcome = self._finish(value if step == "segment" else None)
            else:
                self._request()
        except Exception:
            self._end()
            raise
        if outcome is not None:
            self._end()
        return outcome

    def _showBox(self, box: Box) -> None:
        """Put the CT's ROI around a box; a new one where there is none."""
        parameters = self._run.parameters
        volumeNode = self._checkedVolumeNode()
        if parameters.roiNode is None:
            parameters.roiNode = RoiNodes.addRoiNode(volumeNode.GetScene(), f"{volumeNode.GetName()} pancreas ROI")
        RoiNodes.setBox(parameters.roiNode, box, volumeNode)
        placeBeside(parameters.roiNode, volumeNode)

    def _finish(self, segmentation: Segmentation | None) -> Outcome:
        """Put the result into the scene."""
        run = self._run
        parameters = run.parameters
        volumeNode = self._checkedVolumeNode()
        if segmentation is None:
            return Outcome(parameters, run.localization, None, (), _once(run.findings, run.localization.findings))
        findings = _once(run.findings, segmentation.findings)
        segmentationNode, segmentId = self._target(volumeNode)
        Segments.writeMask(segmentation.mask, segmentationNode, segmentId, volumeNode)
        Segments.keepDraft(segmentationNode, segmentId)
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        Segments.setAlgorithm(segment, "AUTOMATIC", f"{Segments.ALGORITHM_NAME} {segmentation.provenance.pipeline}")
        serious = any(finding.severity is Severity.SERIOUS for finding in findings)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetSegmentStatus(segment, logic.Flagged if serious else logic.InProgress)
        parameters.segmentationNode, parameters.segmentId = segmentationNode, segmentId
        if self._roiIsWhereItWasPut(volumeNode):
            self._showBox(segmentation.box)
        parameters.segmentedBox = segmentation.box
        parameters.result = {
            "findings": [finding.as_dict() for finding in findings],
            "timings": segmentation.timings,
            "provenance": asdict(segmentation.provenance),
        }
        measurements = ()
        if self.measureResults:
            measurements = measureSegment(parameters)
            Tables.showMeasurements(parameters, measurements)
        return Outcome(parameters, run.localization, segmentation, measurements, findings)

    def _checkedVolumeNode(self):
        """The CT, if it still is what the run began with."""
        volumeNode = self._run.parameters.volumeNode
        VolumeNodes.checkVolumeNode(volumeNode)
        if VolumeNodes.contentKey(volumeNode) != self._run.key:
            raise InputError(
                "volume-changed",
                f"The volume '{volumeNode.GetName()}' was changed while it was being segmented.",
                "Run again; nothing else was changed.",
            )
        return volumeNode

    def _target(self, volumeNode) -> tuple[object, str]:
        """The segment to write: the one of the last run where nothing of a person's would be lost, else a new one."""
        run = self._run
        parameters = run.parameters
        node = parameters.segmentationNode
        if node is None or node.GetTransformNodeID() != volumeNode.GetTransformNodeID():
            node = Segments.addSegmentationNode(volumeNode, f"{volumeNode.GetName()} pancreas")
            return node, Segments.addPancreasSegment(node)
        undoable = self.beforeWrite is None or self.beforeWrite(node)
        if not parameters.hasSegment():
            return node, Segments.addPancreasSegment(node)
        present = Segments.readMask(node, parameters.segmentId, volumeNode)
        touched = run.before is None or not np.array_equal(present, run.before)  # edited while the run was going on
        if (touched or not undoable) and present.any():
            return node, Segments.addPancreasSegment(node, name=f"{Segments.SEGMENT_NAME} (new run)")
        return node, parameters.segmentId

    def _roiIsWhereItWasPut(self, volumeNode) -> bool:
        """False when the ROI was dragged while the run was going on: then the person's box stays."""
        run = self._run
        expected = run.localization.box if run.localization is not None else run.box
        if run.parameters.roiNode is None:
            return True
        try:
            return RoiNodes.boxOfRoi(run.parameters.roiNode, volumeNode) == expected
        except InputError:
            return False

    def _wait(self) -> Outcome:
        while True:
            outcome = self.poll()
            if outcome is not None:
                return outcome
            time.sleep(POLL_SECONDS)

    def _observe(self, volumeNode) -> None:
        scene = volumeNode.GetScene()

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAboutToBeRemoved(caller, event, node):  # noqa: ARG001 - VTK's signature
            if node is volumeNode:
                self._giveUp("volume-removed", "The CT was removed while it was being segmented.")

        def onStartClose(caller, event):  # noqa: ARG001 - VTK's signature
            self._giveUp("scene-closed", "The scene was closed while a CT was being segmented.")

        tags = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, onNodeAboutToBeRemoved),
            scene.AddObserver(scene.StartCloseEvent, onStartClose),
        ]
        self._observed = (scene, tags)

    def _giveUp(self, code: str, message: str) -> None:
        """End the run from an observer; `poll` says so."""
        self.client.cancel(self._run.request)
        self._failure = RunError(code, message, "The run was stopped; nothing else was changed.")
        self._run.array = None
        self._stopObserving()

    def _stopObserving(self) -> None:
        if self._observed is not None:
            scene, tags = self._observed
            for tag in tags:
                scene.RemoveObserver(tag)
            self._observed = None

    def _end(self) -> None:
        self._stopObserving()
        self._run = None
        self._failure = None


def measureSegment(parameters: Parameters) -> tuple:
    """The measurements of the CT's pancreas segment as it is in the scene now."""
    from pancreasseg.run import measurements_of

    image = VolumeNodes.readVolumeNode(parameters.volumeNode)
    mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    return measurements_of(mask, Volume(image.array, image.geometry))


def _tell(listener, value) -> None:
    if listener is not None:
        listener(value)


def _once(*groups) -> tuple[Finding, ...]:
    """All findings in order, the same remark once."""
    return tuple(dict.fromkeys(finding for group in groups for finding in group))

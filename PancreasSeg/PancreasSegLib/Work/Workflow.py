"""From a CT volume node to the box, the segment and its numbers: what a click on Segment pancreas does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

import slicer
import vtk

from pancreasseg.core.errors import Cancelled, InputError, PancreasSegError, RunError
from pancreasseg.core.finding import Finding
from pancreasseg.core.measurement import Measurement
from pancreasseg.core.progress import Update
from pancreasseg.core.results import Segmentation
from pancreasseg.worker.codec import Measured
from pancreasseg.worker.contract import Transfer, Worker
from PancreasSegLib.Scene import RoiNodes, Segments, Tables, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Attention, History, Results
from PancreasSegLib.Work.Models import hasOption, marginOf
from PancreasSegLib.Work.Run import Outcome, Run, Step, once
from PancreasSegLib.Work.Statistics import Question, measureSegment

T = TypeVar("T")

#: Called with what the worker has measured, or with why it could not.
OnMeasured: TypeAlias = Callable[[Measured | PancreasSegError], object]

POLL_SECONDS = 0.01


class Workflow:
    """Drives the engine for one scene. All calls belong to the main thread; nothing here waits but `run` and `locate`.

    `startSegment` or `startLocate` begins a run. Then `poll`, called from a timer, hands on progress, puts results
    into the scene, and returns the `Outcome` once the run is over. It raises what went wrong, after which the workflow
    is ready for the next run. Deleting the CT or closing the scene ends the run.

    Each `poll` does one piece of work that is over within a few hundredths of a second: a block of the CT on its way
    to the worker, arrays of the result on their way back, the result into the scene. In between Slicer lives on, so
    every piece looks anew whether its nodes are there. What belongs together is one piece: the state for undo, the
    mask, the draft and the tags are all in the scene or none of them.

    Args:
        client: a `pancreasseg.worker.client.WorkerClient`, or another worker, for this workflow alone.
        onProgress: called with every progress update.
        onNotice: called with what a person must know while the run goes on.
        beforeWrite: called with a segmentation node before one of its segments is overwritten; saves for undo, and
            answers False where it cannot: then a segment with voxels is left as it is and a new one is written.
        afterWrite: called with the parameters when the segment is written, before anything else can happen.
        onDescribed: called with the answer to `describe`, a dict, or with the error.

    Attributes:
        measureResults: whether a result is measured and put into a table node before the run ends; a panel that
            measures afterwards sets it to false.
    """

    def __init__(
        self,
        client: Worker,
        *,
        onProgress: Callable[[Update], None] | None = None,
        onNotice: Callable[[Finding], None] | None = None,
        beforeWrite: Callable[[object], bool] | None = None,
        afterWrite: Callable[[Parameters], None] | None = None,
        onDescribed: Callable[[dict[str, Any] | PancreasSegError], object] | None = None,
    ) -> None:
        self.client = client
        self.onProgress = onProgress
        self.onNotice = onNotice
        self.beforeWrite = beforeWrite
        self.afterWrite = afterWrite
        self.onDescribed = onDescribed
        self.measureResults = True
        self._description: int | None = None
        self._measuring: dict[int, OnMeasured] = {}
        self._run: Run | None = None
        self._loadedKey: tuple | None = None
        self._failure: PancreasSegError | None = None
        self._pieces: deque[Callable[[], object]] = deque()
        self._observed: tuple[slicer.vtkMRMLScene, list[int]] | None = None

    @property
    def running(self) -> bool:
        """True from the start of a run until `poll` has reported its end."""
        return self._run is not None

    @property
    def describing(self) -> bool:
        """True from `describe` until `poll` has handed on the answer."""
        return self._description is not None

    @property
    def measuring(self) -> bool:
        """True from `measure` until `poll` has handed on the answer."""
        return bool(self._measuring)

    @property
    def eager(self) -> bool:
        """True when the next `poll` has work to do that does not wait for the worker."""
        return bool(self._pieces) or (self._run is not None and (self._run.turn is not None or self.client.reading))

    @property
    def pending(self) -> bool:
        """True while pieces wait that were handed over by `later`."""
        return bool(self._pieces)

    def later(self, piece: Callable[[], object]) -> None:
        """Do a piece of work in a `poll` of its own, after those that wait already and before the next run goes on.

        It must look by itself whether what it works on is still there, and raise nothing: anything can happen between
        two polls.
        """
        self._pieces.append(piece)

    def forget(self) -> None:
        """Do none of the pieces that wait."""
        self._pieces.clear()

    def describe(self) -> None:
        """Ask for device, memory and installed models, which also starts and warms the worker."""
        self._description = self.client.hello()

    def startLocate(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Begin to find the pancreas and to put the ROI around it.

        Raises:
            InputError: the node is no CT that can be used.
            RunError: a run is going on.
        """
        self._start(volumeNode, [Step.LOCALIZE], None, replaceEdited=True)

    def startSegment(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, *, inRoi: bool = False, replaceEdited: bool = False
    ) -> None:
        """Begin to segment.

        Args:
            volumeNode: the CT.
            inRoi: segment only inside the CT's ROI as the person placed it, instead of finding the pancreas first.
            replaceEdited: the person has agreed that a segment edited by hand is replaced.

        Raises:
            InputError: the CT or the ROI cannot be used; "segment-edited" when replacing needs the person's consent.
            RunError: a run is going on.
        """
        self._start(
            volumeNode, [Step.SEGMENT] if inRoi else [Step.LOCALIZE, Step.SEGMENT], inRoi, replaceEdited=replaceEdited
        )

    def locate(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Outcome:
        """`startLocate`, and wait for the end."""
        self.startLocate(volumeNode)
        return self._wait()

    def run(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, *, inRoi: bool = False, replaceEdited: bool = False
    ) -> Outcome:
        """`startSegment`, and wait for the end."""
        self.startSegment(volumeNode, inRoi=inRoi, replaceEdited=replaceEdited)
        return self._wait()

    def measure(self, question: Question, onMeasured: OnMeasured) -> None:
        """Have a segment measured in the worker, whatever else it does.

        Args:
            question: what to measure, as it was in the scene a moment ago.
            onMeasured: called from `poll` with a `pancreasseg.worker.codec.Measured`, or with the error.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        request = self.client.measure(question.mask, question.hu, question.geometry, question.reference)
        self._measuring[request] = onMeasured

    def startAttention(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> None:
        """Begin to look where the network of the present result looked.

        Args:
            volumeNode: the CT.
            name: one of `Attention.mapsOf`.

        Raises:
            InputError: the CT cannot be used, or it has no result.
            RunError: a run is going on.
        """
        self._start(volumeNode, [Step.ATTENTION], False, replaceEdited=True, attention=name)

    def attend(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> Outcome:
        """`startAttention`, and wait for the end."""
        self.startAttention(volumeNode, name)
        return self._wait()

    def cancel(self) -> None:
        """Stop the run; `poll` raises `Cancelled` within half a second. Too late once the result is in the scene."""
        run = self._run
        if run is not None and not run.written:
            run.cancelled = True
            if run.request:
                self.client.cancel(run.request)

    def shutdown(self) -> None:
        """Give up the run, if there is one, and end the worker process; the next run starts a new one."""
        self._end()
        self._loadedKey = None
        self._description = None
        self.client.shutdown()
        lost, self._measuring = self._measuring, {}
        for onMeasured in lost.values():
            onMeasured(RunError("worker-ended", "Measuring was interrupted.", "Change the segment to measure again."))

    def changeClient(self, client: Worker) -> None:
        """Have another worker from now on, perhaps on another machine; gives up the run, if there is one."""
        self.shutdown()
        self.client = client

    def poll(self) -> Outcome | None:
        """Do the next piece of work, or hand on what has happened since the last call; never waits for the engine.

        Returns:
            The outcome when the run has just ended, else None.

        Raises:
            PancreasSegError: why the run has ended without one.
        """
        if self._pieces:
            self._pieces.popleft()()
            return None
        run = self._run
        if run is None or run.turn is None:
            self._listen()
        elif self._failure is None and not run.cancelled:
            outcome = self._work(run, run.turn)
            if outcome is not None:
                return outcome
        elif self._failure is None:
            self._failure = Cancelled()
        if self._failure is not None:
            failure = self._failure
            self._end()
            raise failure
        return None

    def _listen(self) -> None:
        """Hand on what the worker says."""
        for event in self.client.poll():
            run = self._run
            if event.request == self._description:
                if event.final:
                    self._description = None
                    _tell(self.onDescribed, event.value)
            elif event.request in self._measuring:
                if event.final:
                    self._measuring.pop(event.request)(event.value)
            elif run is None or self._failure is not None or event.request != run.request:
                continue  # from a run that was given up
            elif event.name == "progress":
                _tell(self.onProgress, run.overall(event.value))
            elif event.name == "notice":
                run.findings.append(event.value)
                _tell(self.onNotice, event.value)
            elif event.name == "error":
                self._failure = event.value
            else:
                run.request = 0
                run.turn = partial(self._proceed, run, event.value)

    def _work(self, run: Run, turn: Callable[[], Outcome | None]) -> Outcome | None:
        """Do the run's next piece; the outcome with the last one."""
        run.turn = None
        try:
            outcome = turn()
        except Exception:
            self._end()
            raise
        if outcome is not None:
            self._end()
        return outcome

    def _start(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        steps: list[Step],
        inRoi: bool | None,
        *,
        replaceEdited: bool,
        attention: str = "",
    ) -> None:
        if self._run is not None:
            raise RunError("busy", "A run is going on already.", "Wait until it has ended, or cancel it.")
        geometry = VolumeNodes.checkedGeometry(volumeNode)
        key = VolumeNodes.contentKey(volumeNode)
        parameters = Parameters.forVolume(volumeNode)
        box = RoiNodes.boxOfRoi(parameters.roiNode, volumeNode) if inRoi else None
        if attention:
            box = parameters.segmentedBox
            if box is None:
                raise InputError("no-result", "This CT has no result yet.", "Segment the pancreas first.")
        before = None
        if Step.SEGMENT in steps and parameters.hasSegment():
            node, segmentId = parameters.segmentationNode, parameters.segmentId
            if not replaceEdited and History.isEdited(parameters):
                raise InputError(
                    "segment-edited",
                    f"The segment in '{node.GetName()}' was edited by hand; a new run would replace it.",
                    "Agree to replace it, or rename or copy it first.",
                )
            before = Segments.contentOf(node, segmentId, volumeNode)
        if key != self._loadedKey or not self.client.holds_volume:
            steps = [Step.LOAD, *steps]
        self._run = run = Run(parameters, key, geometry, steps, box, before, attention=attention)
        run.findings += VolumeNodes.transformFindings(volumeNode)
        self._observe(volumeNode)
        try:
            self._request(run)
        except PancreasSegError:
            self._end()
            raise

    def _request(self, run: Run) -> None:
        """Begin the next step."""
        parameters = run.parameters
        setup = parameters.setup
        options: dict[str, Any] = {}
        if parameters.marginChosen and marginOf(setup) is not None:
            options["margin_mm"] = parameters.marginMm
        if parameters.structuresWanted and hasOption(setup, "structures"):
            options["structures"] = True
        setup = replace(setup, options=options) if options else setup
        if run.steps[0] is Step.LOAD:
            self._loadedKey = None
            run.upload = self.client.upload(run.geometry.shape, VolumeNodes.voxelType(parameters.volumeNode))
            run.turn = partial(self._sendBlock, run, run.upload)
        elif run.steps[0] is Step.LOCALIZE:
            run.request = self.client.localize(setup)
        elif run.steps[0] is Step.ATTENTION:
            assert run.box is not None  # noqa: S101  (`_start` refuses without one)
            run.request = self.client.attention(run.box, [run.attention], Attention.setupOf(parameters))
        else:
            run.request = self.client.segment(run.box, setup)

    def _sendBlock(self, run: Run, upload: Transfer) -> None:
        """Hand some slices of the CT to the worker."""
        if run.sendBlock(upload):
            run.upload = None
            run.request = self.client.load(upload, run.geometry)
        else:
            run.turn = partial(self._sendBlock, run, upload)

    def _proceed(self, run: Run, value: Any) -> Outcome | None:
        """Take a step's result; the outcome when only the box was asked for."""
        step = run.steps.pop(0)
        if step is Step.SEGMENT:
            self._write(run, value)
            run.turn = partial(self._conclude, run, value)
            return None
        if step is Step.ATTENTION:
            run.checkedVolumeNode()
            Attention.keepAttention(run.parameters, value)
            return Outcome(run.parameters, None, None, (), tuple(run.findings), value)
        if step is Step.LOAD:
            self._loadedKey = run.key
            run.findings += value
        else:
            run.localization = value
            Results.showBox(run.parameters, run.checkedVolumeNode(), value.box)
            if not run.steps:
                return Outcome(run.parameters, value, None, (), once(run.findings, value.findings))
        self._request(run)
        return None

    def _write(self, run: Run, segmentation: Segmentation) -> None:
        """Put the result into the scene."""
        run.findings = list(once(run.findings, segmentation.findings))
        Results.writeSegmentation(
            run.parameters,
            run.checkedVolumeNode(),
            segmentation,
            run.findings,
            before=run.before,
            placed=run.box if run.localization is None else run.localization.box,
            beforeWrite=self.beforeWrite,
        )
        _tell(self.afterWrite, run.parameters)
        run.written = True
        self._stopObserving()  # what happens to the scene from now on does not concern the run

    def _conclude(self, run: Run, segmentation: Segmentation) -> Outcome:
        """The outcome, with measurements where they are wanted."""
        measurements: tuple[Measurement, ...] = ()
        if self.measureResults:
            measurements = measureSegment(run.parameters)
            Tables.showMeasurements(run.parameters, measurements)
        return Outcome(run.parameters, run.localization, segmentation, measurements, tuple(run.findings))

    def _wait(self) -> Outcome:
        while True:
            outcome = self.poll()
            if outcome is not None:
                return outcome
            time.sleep(POLL_SECONDS)

    def _observe(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        scene = volumeNode.GetScene()

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAboutToBeRemoved(_scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
            if node is volumeNode:
                self._giveUp("volume-removed", "The CT was removed while it was being segmented.")

        def onStartClose(_scene: object, _event: str) -> None:
            self._giveUp("scene-closed", "The scene was closed while a CT was being segmented.")

        tags = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, onNodeAboutToBeRemoved),
            scene.AddObserver(scene.StartCloseEvent, onStartClose),
        ]
        self._observed = (scene, tags)

    def _giveUp(self, code: str, message: str) -> None:
        """End the run from an observer; `poll` says so."""
        if self._run is not None and self._run.request:
            self.client.cancel(self._run.request)
        self._failure = RunError(code, message, "The run was stopped; nothing else was changed.")
        self._stopObserving()

    def _stopObserving(self) -> None:
        if self._observed is not None:
            scene, tags = self._observed
            for tag in tags:
                scene.RemoveObserver(tag)
            self._observed = None

    def _end(self) -> None:
        self._stopObserving()
        if self._run is not None and self._run.upload is not None:
            self._run.upload.discard()
        self._run = None
        self._failure = None


def _tell(listener: Callable[[T], object] | None, value: T) -> None:
    if listener is not None:
        listener(value)

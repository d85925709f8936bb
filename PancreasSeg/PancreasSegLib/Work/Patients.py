"""A list of CTs that are segmented one after the other, each with its state and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import slicer

from pancreasseg.core.errors import Cancelled, InputError, PancreasSegError, RunError
from pancreasseg.core.finding import Finding
from pancreasseg.core.measurement import Measurement
from pancreasseg.worker.codec import Measured
from PancreasSegLib.Scene import VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import DicomBrowser, Statistics
from PancreasSegLib.Work.Run import Ending, Outcome, StartRun
from PancreasSegLib.Work.Sentences import sentenceOf
from PancreasSegLib.Work.Workflow import OnMeasured

WAITING, RUNNING, DONE, KEPT, FAILED, CANCELLED = "waiting", "running", "done", "kept", "failed", "cancelled"

#: See `Workflow.measure`.
AskToMeasure: TypeAlias = Callable[[Statistics.Question, OnMeasured], object]

# What is begun anew when the list is started again.
UNFINISHED = (WAITING, CANCELLED, FAILED)


@dataclass
class Patient:
    """One CT of the list.

    Attributes:
        name: of the CT, for people.
        nodeId: of its volume node; empty while it is not loaded.
        series: its UID in Slicer's DICOM database, where it is loaded from when its turn comes.
        state: one of the words above; "kept" is a segment that a person has edited, which no run replaces.
        message: why it failed, or the most serious remark about the result.
        measurements: of its segment, as it was last measured.
    """

    name: str
    nodeId: str = ""
    series: str = ""
    state: str = WAITING
    message: str = ""
    measurements: tuple[Measurement, ...] = ()

    @property
    def volumeNode(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The CT; None while it is not loaded, and when it is gone."""
        return slicer.mrmlScene.GetNodeByID(self.nodeId) if self.nodeId else None

    @property
    def parameters(self) -> Parameters | None:
        """The parameters of a CT that has a segment; None without."""
        parameters = Parameters.forVolume(self.volumeNode) if self.volumeNode is not None else None
        return parameters if parameters is not None and parameters.hasSegment() else None


class Patients:
    """The list, and what is going on with it. All calls belong to the main thread.

    Args:
        startRun: begins to segment a CT, and calls the function it is given with the outcome or with the error.
        cancelRun: stops that run.
        measure: see `Workflow.measure`.

    Attributes:
        rows: the patients in their order.
        changed: called when something in the list has changed.
        onOutcome: called with the outcome of each run.
    """

    def __init__(self, startRun: StartRun, cancelRun: Callable[[], None], measure: AskToMeasure) -> None:
        self._startRun = startRun
        self._cancelRun = cancelRun
        self._measure = measure
        self.rows: list[Patient] = []
        self.changed: Callable[[], None] = lambda: None
        self.onOutcome: Callable[[Outcome], object] = lambda _outcome: None
        self._going = False
        self._round: list[Patient] = []  # of this start, still to come
        self._current: Patient | None = None
        self._measuring = 0

    @property
    def going(self) -> bool:
        """True from `start` until the last one is done."""
        return self._going

    @property
    def measuring(self) -> bool:
        """True while numbers are on their way."""
        return self._measuring > 0

    @property
    def current(self) -> Patient | None:
        """The one that is being segmented."""
        return self._current

    def addVolumes(self, volumeNodes: Iterable) -> int:
        """Add CTs of the scene that can be segmented and are not in the list; returns how many came."""
        known = {patient.nodeId for patient in self.rows}
        came = 0
        for node in volumeNodes:
            try:
                VolumeNodes.checkVolumeNode(node)
            except InputError:
                continue  # a labelmap, an MR, a moment of a sequence ...
            if node.GetID() in known or node.GetHideFromEditors():
                continue
            done = Parameters.forVolume(node).hasSegment()
            self.rows.append(Patient(node.GetName(), node.GetID(), state=DONE if done else WAITING))
            came += 1
        self.changed()
        self.measureAll()
        return came

    def addSeries(self, series: Iterable[tuple[str, str]]) -> int:
        """Add CTs of Slicer's DICOM database, as (UID, name); each is loaded when its turn comes."""
        known = {patient.series for patient in self.rows}
        fresh = [Patient(name, series=uid) for uid, name in series if uid not in known]
        self.rows += fresh
        self.changed()
        return len(fresh)

    def remove(self, number: int) -> None:
        """Take one from the list; the scene stays as it is."""
        if self.rows[number] is not self._current:
            patient = self.rows.pop(number)
            self._round = [it for it in self._round if it is not patient]
            self.changed()

    def clear(self) -> None:
        """Forget the list: the scene is being closed."""
        self._going, self._round, self.rows = False, [], []
        self.changed()

    def start(self) -> None:
        """Begin with those that are not done; `step` goes on."""
        self._round = [patient for patient in self.rows if patient.state in UNFINISHED]
        self._going = bool(self._round)
        for patient in self._round:
            patient.state, patient.message = WAITING, ""
        self.changed()

    def stop(self) -> None:
        """Stop after cancelling the one that is being segmented; the others go on waiting."""
        self._round = []
        if self._current is not None:
            self._cancelRun()
        else:
            self._going = False
        self.changed()

    def step(self) -> None:
        """Called by a timer while `going`: begin with the next one when none is being segmented."""
        if not self._going or self._current is not None:
            return
        if not self._round:
            self._going = False
            self.changed()
            return
        patient = self._round.pop(0)
        self._current, patient.state = patient, RUNNING
        self.changed()
        try:
            self._startRun(self._loaded(patient), partial(self._ended, patient))
        except Exception as error:
            self._ended(patient, error)

    def measureAll(self) -> None:
        """Measure every segment of the list as it is now; `measuring` tells when that is done."""
        for patient in self.rows:
            self._measureOne(patient)

    def _loaded(self, patient: Patient) -> slicer.vtkMRMLScalarVolumeNode:
        """The volume node of a patient, from the DICOM database where it is not in the scene yet."""
        if not patient.nodeId and patient.series:
            node = DicomBrowser.load(patient.series)
            patient.nodeId, patient.name = node.GetID(), node.GetName()
        if patient.volumeNode is None:
            raise InputError("volume-gone", "The CT is no longer in the scene.", "Load it again.")
        return patient.volumeNode

    def _ended(self, patient: Patient, answer: Ending) -> None:
        """A run has ended, with an outcome or an error."""
        self._current = None
        if isinstance(answer, Cancelled):
            patient.state = CANCELLED
            self._going, self._round = False, []  # whoever cancels wants the computer back
        elif isinstance(answer, PancreasSegError) and answer.code == "segment-edited":
            patient.state, patient.message = KEPT, answer.message
        elif isinstance(answer, Exception):
            patient.state, patient.message = FAILED, sentenceOf(answer)
        else:
            patient.state = DONE
            patient.message = _worst(answer.findings)
            self.onOutcome(answer)
        self._measureOne(patient)
        self.changed()

    def _measureOne(self, patient: Patient) -> None:
        parameters = patient.parameters
        if parameters is None:
            patient.measurements = ()
            return
        try:
            question = Statistics.questionOf(parameters)
            self._measure(question, partial(self._measured, patient))
        except PancreasSegError as error:
            patient.message = sentenceOf(error)
        else:
            self._measuring += 1

    def _measured(self, patient: Patient, answer: Measured | PancreasSegError) -> None:
        self._measuring -= 1
        if isinstance(answer, RunError):
            patient.message = sentenceOf(answer)
        elif not isinstance(answer, Exception):
            patient.measurements = tuple(answer.own)
        self.changed()


def _worst(findings: Iterable[Finding]) -> str:
    """The sentence of the most serious finding that is more than information; empty where there is none."""
    for severity in ("serious", "warning"):
        for finding in findings:
            if finding.severity.value == severity:
                return finding.sentence
    return ""

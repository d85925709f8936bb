"""Starts, watches and stops runs. A timer asks the worker for news, so Slicer stays responsive."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from pancreasseg.core.errors import Cancelled, PancreasSegError, RunError
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Update
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Work.Run import Ending, Outcome
from PancreasSegLib.Work.Signal import Signal
from PancreasSegLib.Work.Statistics import Question
from PancreasSegLib.Work.Workflow import OnMeasured

POLL_MILLISECONDS = 50

# Between two polls that both have something to do by themselves, for Slicer's own events.
EAGER_MILLISECONDS = 3

# A click on Cancel so soon after the start is the second half of a double click.
DOUBLE_CLICK_SECONDS = 0.4


class Runner:
    """One run at a time.

    Args:
        session: shared by the sections.

    Attributes:
        onProgress: every progress update.
        onNotice: what a person must know while the run goes on.
        onOutcome: the outcome of a run.
        onMessage: the kind of run and a sentence when it could not start, was cancelled or failed.
        onDescribed: what the worker runs on, or the error; None while another worker has not been asked.
        offerPackages: packages are missing; told is what to do afterwards.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.onProgress: Signal[Update] = Signal()
        self.onNotice: Signal[Finding] = Signal()
        self.onOutcome: Signal[Outcome] = Signal()
        self.onMessage: Signal[str] = Signal()
        self.onDescribed: Signal[dict[str, Any] | PancreasSegError | None] = Signal()
        self.offerPackages: Signal[Callable[[], None]] = Signal()
        workflow = session.workflow
        workflow.onProgress, workflow.onNotice = self.onProgress, self.onNotice
        workflow.onDescribed = self.onDescribed
        session.measure = self.measure
        self._started = 0.0
        self._onEnd: Callable[[Ending], object] = _nobody  # of a run for a list
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)

    def later(self, piece: Callable[[], object]) -> None:
        """Do a piece of work in a turn of the event loop of its own; see `Workflow.later`."""
        self.session.workflow.later(piece)
        self._pace()
        self._timer.start()

    def describe(self) -> None:
        """Ask the worker what it runs on, which warms it up."""
        if not self.session.workflow.describing and not self.session.missing():
            self.session.workflow.describe()
            self._timer.start()

    def measure(self, question: Question, onMeasured: OnMeasured) -> None:
        """Have the worker measure a segment; see `Workflow.measure`."""
        self.session.workflow.measure(question, onMeasured)
        self._timer.start()

    @slot
    def start(self, kind: str) -> None:
        """Begin a run: "locate", "segment" or "attention". Ignored while one is going on."""
        session = self.session
        if session.busy:
            return
        if session.missing():
            self.offerPackages(lambda: self.start(kind))
            return
        self.onMessage(kind, "")
        try:
            if not self._begin(kind):
                return
        except Exception as error:
            self._failed(kind, error)
            return
        self._go(kind)

    def startFor(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, onEnd: Callable[[Ending], object]) -> None:
        """Segment a CT of a list, selected or not; ``onEnd`` is called with the outcome, or with the error.

        Raises:
            PancreasSegError: it cannot be segmented, or another run is going on.
        """
        missing = self.session.missing()
        if missing:
            names = ", ".join(missing)
            raise RunError("package-missing", _("Python packages are missing: {names}.").format(names=names))
        self.session.workflow.startSegment(volumeNode)
        self._onEnd = onEnd
        self._go("patients")

    def _go(self, kind: str) -> None:
        self.session.busy = kind
        self.session.cancelling = False
        self._started = time.monotonic()
        self._pace()
        self._timer.start()
        self.session.changed()

    @slot
    def cancel(self) -> None:
        """Stop the run; a double click on the button that started it does not."""
        if self.session.busy and time.monotonic() - self._started > DOUBLE_CLICK_SECONDS:
            self.session.cancelling = True
            self.session.workflow.cancel()
            self.session.changed()

    @slot
    def poll(self) -> None:
        """Called by the timer."""
        session = self.session
        kind = session.busy
        try:
            outcome = session.workflow.poll()
        except Exception as error:
            self._ended()
            self._failed(kind, error)
            return
        if outcome is not None:
            self._ended()
            (self._onEnd if kind == "patients" else self.onOutcome)(outcome)
            session.changed()
        elif self._idle:
            self._timer.stop()
        else:
            self._pace()

    def say(self, text: str) -> None:
        """A sentence about the run."""
        self.onMessage(self.session.busy, text)

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()
        self.session.workflow.forget()
        self.session.busy = ""
        self.session.workflow.shutdown()

    def _begin(self, kind: str) -> bool:
        """Start the workflow; false when the person declined to have hand work replaced."""
        session = self.session
        workflow = session.workflow
        if kind == "locate":
            workflow.startLocate(session.volumeNode)
            return True
        if kind == "attention":
            workflow.startAttention(session.volumeNode, session.attentionMap)
            return True
        inside = session.situation().insideRoi
        try:
            workflow.startSegment(session.volumeNode, inRoi=inside)
        except PancreasSegError as error:
            if error.code != "segment-edited":
                raise
            question = _("{sentence} Undo can bring it back. Replace it?").format(sentence=error.message)
            if not session.dialogs.confirm(question):
                self.onMessage(kind, _("The corrected segment was kept."))
                return False
            workflow.startSegment(session.volumeNode, inRoi=inside, replaceEdited=True)
        return True

    def _ended(self) -> None:
        self.session.busy = ""
        self.session.cancelling = False
        self._pace()
        if self._idle:
            self._timer.stop()

    @property
    def _idle(self) -> bool:
        """Nothing is asked of the worker."""
        workflow = self.session.workflow
        return not (workflow.running or workflow.describing or workflow.measuring or workflow.pending)

    def _pace(self) -> None:
        """Poll sooner when there is something to do already."""
        interval = EAGER_MILLISECONDS if self.session.workflow.eager else POLL_MILLISECONDS
        self._timer.setInterval(interval)  # counts from now, not from when this poll was due

    def _failed(self, kind: str, error: Exception) -> None:
        if not isinstance(error, PancreasSegError):
            # A mistake in the program: the traceback is for its makers, and the next click must work.
            logging.exception("PancreasSeg: the run failed unexpectedly")
            self.session.workflow.shutdown()
        if kind == "patients":
            self._onEnd(error)
            self.session.changed()
            return
        sentence = (
            _("Cancelled; nothing was changed.") if isinstance(error, Cancelled) else self.session.sentence(error)
        )
        self.onMessage(kind, sentence)
        self.session.offerPackage(error, lambda: self.start(kind))
        self.session.changed()


def _nobody(_ending: Ending) -> None:
    """Nobody waits for the end of a run."""

"""Section 8: a CT over time (4D): one moment, or all of them, and their volumes as a plot."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from PancreasSegLib.Panel.Runner import Runner
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, showText
from PancreasSegLib.Work import Sequences

POLL_MILLISECONDS = 50


class SequenceSection:
    """Args: the widgets of the .ui file, the session, and the runner."""

    def __init__(self, ui: Ui, session: Session, runner: Runner) -> None:
        self.ui = ui
        self.session = session
        self.runner = runner
        self._reasons = Reasons()
        self._run: Sequences.SequenceRun | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)
        ui.sequenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onSequence)
        ui.momentButton.connect("clicked(bool)", self.onMoment)
        ui.allMomentsButton.connect("clicked(bool)", self.onAll)
        ui.plotMomentsButton.connect("clicked(bool)", self.onPlot)
        showText(ui.sequenceMessage, "")

    @property
    def pending(self) -> bool:
        """Moments are being segmented."""
        return self._run is not None

    @slot
    def onSequence(self, _node: slicer.vtkMRMLNode) -> None:
        """Another sequence was selected."""
        self.say("")
        self.session.changed()

    @slot
    def onMoment(self) -> None:
        """Make the moment on the screen a CT of its own, and segment it."""
        self.ui.volumeSelector.setCurrentNode(Sequences.momentAsCt(self._browser()))
        self.runner.start("segment")

    @slot
    def onAll(self) -> None:
        """Segment all moments, or stop."""
        if self._run is not None:
            self._run.stop()
            return
        self._run = Sequences.SequenceRun(self._browser(), self.runner.startFor, self.runner.cancel)
        self._timer.start()
        self.session.changed()

    @slot
    def onPlot(self) -> None:
        """Show the volumes over time."""
        chart = Sequences.plotVolumes(self._browser())
        self.say(_("Shown as the chart '{name}', with its table.").format(name=chart.GetName()))

    @slot
    def poll(self) -> None:
        """Called by the timer while moments are being segmented."""
        run = self._run
        if run is None:
            self._timer.stop()
        elif run.step():
            self._timer.stop()
            self._run = None
            self.say(_summary(run))
            self.session.changed()
        else:
            self.say(_("Moment {number} of {count}").format(number=run.number + 1, count=run.count))

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        going = self._run is not None
        none = "" if self._browser() is not None else _("Select a sequence above first.")
        ui.allMomentsButton.text = _("Cancel") if going else _("Segment all moments")
        self._reasons.show(ui.allMomentsButton, "" if going else none or situation.whyNotSample())
        self._reasons.show(ui.momentButton, none or situation.whyNotSample())
        self._reasons.show(ui.plotMomentsButton, none or situation.whyNotSample())
        self._reasons.show(ui.sequenceSelector, situation.whyNotSample())

    def forget(self) -> None:
        """The scene is being closed."""
        self._timer.stop()
        self._run = None
        self.say("")

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.sequenceMessage, text)

    def _browser(self) -> slicer.vtkMRMLSequenceBrowserNode | None:
        return self.ui.sequenceSelector.currentNode()


def _summary(run: Sequences.SequenceRun) -> str:
    words = [_("{done} of {count} moments are segmented.").format(done=run.done, count=run.count)]
    if run.cancelled:
        words.append(_("Cancelled."))
    return " ".join([*words, *run.troubles])

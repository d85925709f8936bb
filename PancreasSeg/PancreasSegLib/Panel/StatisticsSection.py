"""Section 5: the numbers of the segment as it is now; they follow every edit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import qt
import slicer
from slicer.i18n import tr as _

from pancreasseg.core.errors import InputError, PancreasSegError
from pancreasseg.core.measurement import Measurement
from pancreasseg.worker.codec import Measured
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import ROW_PIXELS, Quiet, Reasons, Ui, fill, showText
from PancreasSegLib.Scene import Tables
from PancreasSegLib.Work import History, Statistics

# An edit is a burst of changes; numbers follow when it pauses.
DEBOUNCE_MILLISECONDS = 300

# How measuring fails when it was not the segment's fault.
LOST = ("worker-lost", "worker-ended")

# What is read first stands first; the comparison comes next, everything else after it.
FIRST = ("volume", "hu_mean", "hu_sd", "length", "diameter_long", "diameter_short")


class StatisticsSection:
    """Shows the numbers; the worker finds them. Until they come, the old ones stay in grey.

    Args:
        ui: the widgets of the .ui file.
        session: shared by the sections.
    """

    def __init__(self, ui: Ui, session: Session) -> None:
        self.ui = ui
        self.session = session
        self.statistics: Statistics.Statistics | None = None
        self._of: tuple[str, str] | None = None  # parameter node and segment that the numbers are of
        self._asked = 0  # counts what was sent to be measured, so that a late answer is known as one
        self._waiting = False
        self._again = True  # a worker that was lost while measuring is asked once more
        self._reasons = Reasons()
        self._seen: set[str] = set()  # what was measured before: it can come back by Undo or Redo
        self._layoutBefore = self._chartLayout = 0  # numbers of layouts; 0 while no chart is shown
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MILLISECONDS)
        self._timer.connect("timeout()", self.update)
        session.scheduleStatistics.subscribe(self.schedule)
        table = ui.statisticsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Measurement"), _("Value")])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
        table.setColumnWidth(0, 230)
        ui.referenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onReference)
        ui.referenceSegmentSelector.connect("currentIndexChanged(int)", self.onReferenceSegment)
        ui.copyButton.connect("clicked(bool)", self.onCopy)
        ui.csvButton.connect("clicked(bool)", self.onCsv)
        ui.tableButton.connect("clicked(bool)", self.onTable)
        ui.chartButton.connect("clicked(bool)", self.onChart)
        showText(ui.statisticsMessage, "")

    def schedule(self) -> None:
        """Measure soon; again from now when something else changes meanwhile."""
        self._timer.start()
        self.outdate()

    @property
    def pending(self) -> bool:
        """Something has changed that is not measured yet."""
        return self._timer.active or self._waiting

    def outdate(self) -> None:
        """The numbers are no longer those of the segment: grey them."""
        if self.statistics is None or not self.ui.statisticsTable.enabled:
            return
        self.ui.statisticsTable.enabled = False
        showText(self.ui.statisticsMessage, _("Measuring the segment as it is now ..."))
        self._enable(_("The segment is being measured."))

    @slot
    def onReference(self, node: slicer.vtkMRMLNode | None) -> None:
        """Another reference was selected."""
        parameters = self.session.parameters
        if parameters is not None and self.session.isLeaving(parameters.referenceNode):
            node = None
        if parameters is not None and parameters.referenceNode is not node:
            parameters.referenceNode = node
            choices = Statistics.referenceChoices(node)
            parameters.referenceSegmentId = _likely(choices)
            self.update()
            self.session.changed()

    @slot
    def onReferenceSegment(self, index: int) -> None:
        """Another segment or label of the reference was selected."""
        parameters = self.session.parameters
        if parameters is not None and index >= 0:
            parameters.referenceSegmentId = self.ui.referenceSegmentSelector.itemData(index)
            self.update()

    @slot
    def update(self) -> None:
        """Have the segment measured as it is now, and bring in line what is known at once."""
        self._timer.stop()
        session = self.session
        parameters = session.parameters
        self._asked += 1
        self._waiting = False
        if parameters is not None and not parameters.hasSegment():
            parameters = None  # there is nothing to measure
        of = (parameters.node.GetID(), parameters.segmentId) if parameters is not None else None
        if of != self._of or of is None:
            self._of = of
            self._show(None)  # what is in the table is of something else
        if parameters is not None:
            try:
                voxels = History.follow(parameters)
                question = Statistics.questionOf(parameters)
                session.measure(question, partial(self._onMeasured, self._asked, question))
            except PancreasSegError as error:
                self._show(None, session.sentence(error))
            else:
                self._waiting = True
                self.outdate()
                session.edited = question.edited
                session.segmentEmpty = not question.mask.any()
                if question.edited and voxels not in self._seen:
                    History.tag(parameters)  # nothing that Undo or Redo has brought, so nothing to be redone is lost
                self._seen.add(voxels)
            self._timer.stop()  # reading and tagging change nodes for a moment; that is nobody's edit
        session.changedSoon()

    def _onMeasured(self, asked: int, question: Statistics.Question, answer: Measured | PancreasSegError) -> None:
        """The worker has measured, or says why it could not."""
        if asked != self._asked:
            return  # the segment was changed, and is being measured anew
        self._waiting = False
        if not isinstance(answer, PancreasSegError):
            self._again = True
            self._show(question.answered(answer.own, answer.against))
        elif self._again and answer.code in LOST:
            self._again = False
            self.schedule()
        else:
            self._again = True
            self._show(None, self.session.sentence(answer))
        self.session.changed()

    def _show(self, statistics: Statistics.Statistics | None, message: str = "") -> None:
        """Numbers that are true now, or a sentence in their place."""
        self.statistics = statistics
        self.ui.statisticsTable.enabled = True
        self._fillTable()
        showText(self.ui.statisticsMessage, message)

    @slot
    def onCopy(self) -> None:
        """Copy the table, tab separated."""
        lines = [f"{m.title}\t{m.value_text}\t{m.unit_text}" for m in self._numbers().all]
        qt.QApplication.clipboard().setText("\n".join(lines))
        showText(self.ui.statisticsMessage, _("Copied."))

    @slot
    def onCsv(self) -> None:
        """Save the table as a CSV file."""
        from pancreasseg.io.atomic import atomic_write
        from pancreasseg.io.write import statistics_csv

        path = self.session.dialogs.saveFile(_("Save the statistics"), "statistics.csv", "CSV (*.csv)")
        if not path:
            return
        try:
            with atomic_write(path) as partial:
                partial.write_text(statistics_csv(self._numbers().all), encoding="utf-8")
        except PancreasSegError as error:
            showText(self.ui.statisticsMessage, str(error))
        else:
            showText(self.ui.statisticsMessage, _("Saved."))

    @slot
    def onTable(self) -> None:
        """Put the numbers into the CT's table node."""
        parameters = self.session.selectedCt
        Tables.showMeasurements(parameters, self._numbers().all)
        name = parameters.tableNode.GetName()
        showText(self.ui.statisticsMessage, _("Written to the table '{name}'.").format(name=name))

    @slot
    def onChart(self) -> None:
        """Show the overlap measures as bars in place of some of the views, or bring those views back."""
        layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if self._chartLayout and layoutNode.GetViewArrangement() == self._chartLayout:
            layoutNode.SetViewArrangement(self._layoutBefore)
            self._chartLayout = 0
        else:
            self._layoutBefore = layoutNode.GetViewArrangement() if layoutNode is not None else 0
            Statistics.showChart(self.session.selectedCt, self._numbers())
            shown = layoutNode.GetViewArrangement() if layoutNode is not None else 0
            self._chartLayout = shown if shown != self._layoutBefore else 0
        self.session.changed()

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.statisticsMessage, text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        why = situation.whyNotMeasure()
        if not why and self.pending:
            why = _("The segment is being measured.")
        if not why and self.statistics is None:
            why = _("There are no numbers yet.")
        self._enable(why)
        self._reasons.show(ui.referenceSelector, situation.whyNotMeasure())
        parameters = self.session.parameters
        reference = parameters.referenceNode if parameters is not None else None
        with Quiet(ui.referenceSelector):
            ui.referenceSelector.setCurrentNode(reference)
        choices = Statistics.referenceChoices(reference)
        fill(ui.referenceSegmentSelector, choices, parameters.referenceSegmentId if parameters is not None else "")
        self._reasons.show(
            ui.referenceSegmentSelector, "" if reference is not None else _("Select a reference above first.")
        )

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()
        self._asked += 1  # an answer that comes now finds nobody
        self._waiting = False

    def _numbers(self) -> Statistics.Statistics:
        """The statistics, for what can only be done with them.

        Raises:
            InputError: there are none; the buttons that need them are disabled then.
        """
        if self.statistics is None:
            raise InputError("no-statistics", _("There are no numbers yet."), _("Segment the pancreas first."))
        return self.statistics

    def _enable(self, why: str) -> None:
        """Enable what uses the numbers, or say why not."""
        ui = self.ui
        for button in (ui.copyButton, ui.csvButton, ui.tableButton):
            self._reasons.show(button, why)
        nothing = (
            "" if self.statistics is not None and self.statistics.against else _("There is nothing to compare with.")
        )
        self._reasons.show(ui.chartButton, why or nothing)
        ui.chartButton.text = _("Back to the views") if self._chartLayout else _("Chart")

    def _fillTable(self) -> None:
        rows: list[tuple[str, str, str]] = []
        if self.statistics is not None:
            rows = [_row(m) for m in self.statistics.own if m.name in FIRST]
            if self.statistics.against:
                rows.append((_("Compared with {name}").format(name=self.statistics.reference), "", ""))
                rows += [_row(m) for m in self.statistics.against]
            rows.append((_("More"), "", ""))
            rows += [_row(m) for m in self.statistics.own if m.name not in FIRST]
        table = self.ui.statisticsTable
        table.setRowCount(len(rows))
        for row, (title, value, note) in enumerate(rows):
            for column, text in enumerate((title, value)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(note)
                if not value:
                    font = qt.QFont()
                    font.setBold(True)
                    item.setFont(font)
                table.setItem(row, column, item)


def _likely(choices: Iterable[tuple[str, str]]) -> str:
    """The choice that is probably the pancreas: by its name, else the first."""
    named = [identifier for identifier, name in choices if "pancreas" in name.lower()]
    return (named or [identifier for identifier, _name in choices] or [""])[0]


def _row(measurement: Measurement) -> tuple[str, str, str]:
    return (measurement.title, measurement.text, measurement.note)

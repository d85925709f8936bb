"""Section 5: the numbers of the segment as it is now; they follow every edit."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from pancreasseg.errors import PancreasSegError
from PancreasSegLib import Segments, Statistics, Tables
from PancreasSegLib.Panel.Widgets import Quiet, Reasons, fill, showText

# An edit is a burst of changes; numbers follow when it pauses.
DEBOUNCE_MILLISECONDS = 300

ROW_PIXELS = 22

# What is read first stands first; the comparison comes next, everything else after it.
FIRST = ("volume", "hu_mean", "hu_sd", "length", "diameter_long", "diameter_short")


class StatisticsSection:
    """Args: the widgets of the .ui file and the session."""

    def __init__(self, ui, session) -> None:
        self.ui = ui
        self.session = session
        self.statistics = None
        self._reasons = Reasons()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MILLISECONDS)
        self._timer.connect("timeout()", self.update)
        session.scheduleStatistics = self.schedule
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

    @property
    def pending(self) -> bool:
        """Something has changed that is not measured yet."""
        return self._timer.active

    def onReference(self, node) -> None:
        """Another reference was selected."""
        parameters = self.session.parameters
        if parameters is not None and parameters.referenceNode is not node:
            parameters.referenceNode = node
            choices = Statistics.referenceChoices(node)
            parameters.referenceSegmentId = _likely(choices)
            self.update()
            self.session.changed()

    def onReferenceSegment(self, index: int) -> None:
        """Another segment or label of the reference was selected."""
        parameters = self.session.parameters
        if parameters is not None and index >= 0:
            parameters.referenceSegmentId = self.ui.referenceSegmentSelector.itemData(index)
            self.update()

    def update(self) -> None:
        """Measure now, and bring everything in line that depends on it."""
        self._timer.stop()
        session = self.session
        parameters = session.parameters
        self.statistics = None
        message = ""
        if parameters is not None and parameters.hasSegment():
            try:
                self.statistics = Statistics.statisticsOf(parameters)
            except (PancreasSegError, ModuleNotFoundError) as error:
                message = session.sentence(error)
        if self.statistics is not None:
            session.edited = self.statistics.edited
            session.segmentEmpty = not any(m.name == "volume" and m.value for m in self.statistics.own)
            self._tag(parameters)
        self._fillTable()
        showText(self.ui.statisticsMessage, message)
        session.changed()

    def onCopy(self) -> None:
        """Copy the table, tab separated."""
        lines = [f"{m.title}\t{m.value_text}\t{m.unit_text}" for m in self.statistics.all]
        qt.QApplication.clipboard().setText("\n".join(lines))
        showText(self.ui.statisticsMessage, _("Copied."))

    def onCsv(self) -> None:
        """Save the table as a CSV file."""
        from pancreasseg.io.atomic import atomic_write
        from pancreasseg.io.write import statistics_csv

        path = self.session.dialogs.saveFile(_("Save the statistics"), "statistics.csv", "CSV (*.csv)")
        if not path:
            return
        try:
            with atomic_write(path) as partial:
                partial.write_text(statistics_csv(self.statistics.all), encoding="utf-8")
        except PancreasSegError as error:
            showText(self.ui.statisticsMessage, str(error))
        else:
            showText(self.ui.statisticsMessage, _("Saved."))

    def onTable(self) -> None:
        """Put the numbers into the CT's table node."""
        Tables.showMeasurements(self.session.parameters, self.statistics.all)
        name = self.session.parameters.tableNode.GetName()
        showText(self.ui.statisticsMessage, _("Written to the table '{name}'.").format(name=name))

    def onChart(self) -> None:
        """Show the overlap measures as bars."""
        try:
            Statistics.showChart(self.session.parameters, self.statistics)
        except PancreasSegError as error:
            showText(self.ui.statisticsMessage, str(error))

    def show(self, situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        why = situation.whyNotMeasure()
        if not why and self.statistics is None:
            why = _("There are no numbers yet.")
        for button in (ui.copyButton, ui.csvButton, ui.tableButton):
            self._reasons.show(button, why)
        nothing = (
            "" if self.statistics is not None and self.statistics.against else _("There is nothing to compare with.")
        )
        self._reasons.show(ui.chartButton, why or nothing)
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

    def _tag(self, parameters) -> None:
        """Say on the segment itself, for DICOM and Slicer, whether a person has had a hand in it."""
        segment = parameters.segmentationNode.GetSegmentation().GetSegment(parameters.segmentId)
        if Segments.draftOf(parameters.segmentationNode) is not None:
            Segments.setAlgorithmType(segment, "SEMIAUTOMATIC" if self.statistics.edited else "AUTOMATIC")

    def _fillTable(self) -> None:
        rows = []
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


def _likely(choices) -> str:
    """The choice that is probably the pancreas: by its name, else the first."""
    named = [identifier for identifier, name in choices if "pancreas" in name.lower()]
    return (named or [identifier for identifier, _name in choices] or [""])[0]


def _row(measurement) -> tuple[str, str, str]:
    return (measurement.title, measurement.text, measurement.note)

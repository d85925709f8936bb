"""Section 7: several patients, segmented in the background, looked through one after the other, in one table."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from pancreasseg.export.formats import formats
from PancreasSegLib.Panel.Runner import Runner
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import ROW_PIXELS, Reasons, Ui, fill, showText
from PancreasSegLib.Work import DicomBrowser, PatientTables
from PancreasSegLib.Work.Patients import UNFINISHED, Patients

POLL_MILLISECONDS = 50

COLUMN_PIXELS = (170, 90, 70)  # what is left is for the remark


class PatientsSection:
    """Args: the widgets of the .ui file, the session, and the runner."""

    def __init__(self, ui: Ui, session: Session, runner: Runner) -> None:
        self.ui = ui
        self.session = session
        self.patients = Patients(runner.startFor, runner.cancel, lambda *asked: session.measure(*asked))
        self.patients.changed = self.onChanged
        self._reasons = Reasons()
        self._export: PatientTables.ExportOfAll | None = None
        self._then: Callable[[], str] | None = None  # what is to be done once all segments are measured
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)
        self._states = {
            "waiting": _("waiting"),
            "running": _("running"),
            "done": _("segmented"),
            "kept": _("corrected by hand, kept"),
            "failed": _("failed"),
            "cancelled": _("cancelled"),
        }
        table = ui.patientsTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("CT"), _("State"), _("Volume"), _("Remark")])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
        for column, width in enumerate(COLUMN_PIXELS):
            table.setColumnWidth(column, width)
        table.connect("itemSelectionChanged()", self.onSelected)
        table.connect("cellDoubleClicked(int,int)", self.showPatient)
        fill(ui.patientsFormatSelector, [(name, _(form.title)) for name, form in formats().items()], "dicom-seg")
        ui.addLoadedButton.connect("clicked(bool)", self.onAddLoaded)
        ui.addDicomButton.connect("clicked(bool)", self.onAddDicom)
        ui.removePatientButton.connect("clicked(bool)", self.onRemove)
        ui.segmentAllButton.connect("clicked(bool)", self.onSegmentAll)
        ui.previousPatientButton.connect("clicked(bool)", lambda: self.go(-1))
        ui.nextPatientButton.connect("clicked(bool)", lambda: self.go(+1))
        ui.patientsTableButton.connect("clicked(bool)", lambda: self._measured(self._writeTable))
        ui.patientsCsvButton.connect("clicked(bool)", lambda: self._measured(self._writeCsv))
        ui.exportAllButton.connect("clicked(bool)", self.onExportAll)
        showText(ui.patientsMessage, "")

    @property
    def pending(self) -> bool:
        """Something is going on with the list."""
        patients = self.patients
        return patients.going or patients.measuring or self._export is not None or self._then is not None

    @slot
    def onAddLoaded(self) -> None:
        """Put every CT of the scene into the list."""
        scene = slicer.mrmlScene
        count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        nodes = [scene.GetNthNodeByClass(number, "vtkMRMLScalarVolumeNode") for number in range(count)]
        came = self.patients.addVolumes(nodes)
        self.say("" if came else _("There is no CT in the scene that is not in the list already."))

    @slot
    def onAddDicom(self) -> None:
        """Put what is selected in the DICOM browser into the list."""
        try:
            came = self.patients.addSeries(DicomBrowser.selectedSeries())
        except Exception as error:
            self.say(self.session.sentence(error))
        else:
            self.say("" if came else _("What is selected in the DICOM browser is in the list already."))

    @slot
    def onRemove(self) -> None:
        """Take the selected row from the list."""
        self.patients.remove(self._row())

    @slot
    def onSegmentAll(self) -> None:
        """Begin with the list, or stop."""
        if self.patients.going:
            self.patients.stop()
            return
        self.patients.start()
        self._timer.start()

    @slot
    def go(self, step: int) -> None:
        """Show the next CT of the list, or the one before."""
        loaded = [number for number, patient in enumerate(self.patients.rows) if patient.volumeNode is not None]
        present = self._shown()
        behind = [number for number in loaded if number < present]
        ahead = [number for number in loaded if number > present]
        if step > 0 and ahead:
            self.showPatient(ahead[0])
        elif step < 0 and behind:
            self.showPatient(behind[-1])

    @slot
    def showPatient(self, number: int) -> None:
        """Show one CT of the list with its segment, and hide the segments of the others."""
        patient = self.patients.rows[number]
        if patient.volumeNode is None:
            self.say(_("This CT is loaded when its turn comes."))
            return
        self.ui.volumeSelector.setCurrentNode(patient.volumeNode)
        self.showOnlySelected()
        self.ui.patientsTable.selectRow(number)

    def showOnlySelected(self) -> None:
        """Show segment and ROI of the selected CT, and hide those of the others of the list."""
        for patient in self.patients.rows:
            parameters = patient.parameters
            if parameters is not None:
                shown = parameters.volumeNode is self.session.volumeNode
                for node in (parameters.segmentationNode, parameters.roiNode):
                    if node is not None and node.GetDisplayNode() is not None:
                        node.GetDisplayNode().SetVisibility(shown)

    @slot
    def onExportAll(self) -> None:
        """Write the segments of all patients, or stop."""
        if self._export is not None:
            self._export.end()
            self._endExport()
            return
        kind = self.ui.patientsFormatSelector.itemData(self.ui.patientsFormatSelector.currentIndex)
        self._export = PatientTables.ExportOfAll(kind, self.patients.rows, self.session.folder, self.session.python)
        self._timer.start()
        self.session.changed()

    @slot
    def poll(self) -> None:
        """Called by the timer while something is going on with the list."""
        self.patients.step()
        if self._then is not None and not self.patients.measuring:
            then, self._then = self._then, None
            self._do(then)
        if self._export is not None:
            if self._export.poll():
                self._endExport()
            else:
                self.say(_("Writing; {count} CTs are left.").format(count=self._export.left))
        if not self.pending:
            self._timer.stop()
            self.session.changed()

    @slot
    def onSelected(self) -> None:
        """Another row was selected."""
        self.session.changed()

    def onChanged(self) -> None:
        """The list has changed."""
        self._fillTable()
        if self.patients.going:
            self.say(self._progress())
        elif self.patients.rows and self._export is None and self._then is None:
            self.say(self._summary())
        self.session.changed()

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        patients = self.patients
        empty = "" if patients.rows else _("Put some CTs into the list first.")
        segments = "" if any(patient.measurements for patient in patients.rows) else _("There are no segments yet.")
        ui.segmentAllButton.text = _("Cancel") if patients.going else _("Segment all")
        why = empty or self._whyNothingToDo() or situation.whyNotSample()
        self._reasons.show(ui.segmentAllButton, "" if patients.going else why)
        self._reasons.show(ui.removePatientButton, empty or self._whyNotRemove())
        numbers = [n for n, patient in enumerate(patients.rows) if patient.volumeNode is not None]
        shown = self._shown()
        none = _("There is no other CT in this direction.")
        self._reasons.show(ui.previousPatientButton, empty or ("" if any(n < shown for n in numbers) else none))
        self._reasons.show(ui.nextPatientButton, empty or ("" if any(n > shown for n in numbers) else none))
        for button in (ui.patientsTableButton, ui.patientsCsvButton):
            self._reasons.show(button, empty)
        ui.exportAllButton.text = _("Cancel") if self._export is not None else _("Export all")
        folder = "" if situation.folder else _("Choose a folder under Export first.")
        self._reasons.show(ui.exportAllButton, "" if self._export is not None else empty or segments or folder)

    def forget(self) -> None:
        """The scene is being closed."""
        self._timer.stop()
        self._then = None
        if self._export is not None:
            self._export.end()
            self._export = None
        self.patients.clear()
        self.say("")

    def close(self) -> None:
        """The panel goes away."""
        self.patients.changed = lambda: None
        self._timer.stop()
        if self._export is not None:
            self._export.end()

    def _whyNothingToDo(self) -> str:
        done = all(patient.state not in UNFINISHED for patient in self.patients.rows)
        return _("All CTs of the list are segmented; one of them can be segmented again above.") if done else ""

    def _whyNotRemove(self) -> str:
        number = self._row()
        if number < 0:
            return _("Select a row in the table first.")
        running = self.patients.rows[number] is self.patients.current
        return _("This CT is being segmented.") if running else ""

    def _row(self) -> int:
        """The selected row; -1 when there is none."""
        table = self.ui.patientsTable
        selected = len(table.selectedItems()) > 0 and table.currentRow() < len(self.patients.rows)
        return table.currentRow() if selected else -1

    def _shown(self) -> int:
        """Which of the list is the selected CT; -1 when it is none of them."""
        node = self.session.volumeNode
        rows = self.patients.rows
        return next((n for n, it in enumerate(rows) if node is not None and it.volumeNode is node), -1)

    @slot
    def _measured(self, then: Callable[[], str]) -> None:
        """Do something once all segments are measured as they are now."""
        self._then = then
        self.patients.measureAll()
        self.say(_("Measuring."))
        self._timer.start()

    def _do(self, then: Callable[[], str]) -> None:
        try:
            self.say(then())
        except Exception as error:
            self.say(self.session.sentence(error))

    def _writeTable(self) -> str:
        node = PatientTables.showTable(self.patients.rows)
        return _("Written to the table '{name}'.").format(name=node.GetName())

    def _writeCsv(self) -> str:
        from pancreasseg.io.atomic import atomic_write

        path = self.session.dialogs.saveFile(_("Save the table"), "patients.csv", "CSV (*.csv)")
        if not path:
            return ""
        with atomic_write(path) as partial:
            partial.write_text(PatientTables.csvOf(self.patients.rows), encoding="utf-8")
        return _("Saved.")

    def _endExport(self) -> None:
        export, self._export = self._export, None
        if export is None:
            return
        text = _("Written: the segments of {count} CTs.").format(count=export.written)
        self.say(" ".join([text, *export.troubles]))
        self.session.changed()

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.patientsMessage, text)

    def _progress(self) -> str:
        rows = self.patients.rows
        current = self.patients.current
        if current is None:
            return _("Starting.")
        number = next((n for n, patient in enumerate(rows, 1) if patient is current), 0)
        return _("CT {number} of {count}: {name}").format(number=number, count=len(rows), name=current.name)

    def _summary(self) -> str:
        counts: dict[str, int] = {}
        for patient in self.patients.rows:
            counts[patient.state] = counts.get(patient.state, 0) + 1
        return ", ".join(f"{count} {self._states[state]}" for state, count in counts.items())

    def _fillTable(self) -> None:
        table = self.ui.patientsTable
        table.setRowCount(len(self.patients.rows))
        for number, patient in enumerate(self.patients.rows):
            volume = next((m.text for m in patient.measurements if m.name == "volume"), "")
            for column, text in enumerate((patient.name, self._states[patient.state], volume, patient.message)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(number, column, item)

"""Section 6: files for planning and PACS, and margins in mm."""

from __future__ import annotations

import html
import logging
from collections.abc import Sequence
from pathlib import Path

import qt
from slicer.i18n import tr as _

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.core.finding import Finding
from pancreasseg.export.format import Format
from pancreasseg.export.formats import formats
from PancreasSegLib.Panel.SegmentSection import asHtml
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Quiet, Reasons, Ui, showText
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Work import Dicom, Export

FOLDER_KEY = "PancreasSeg/ExportFolder"
POLL_MILLISECONDS = 100


class ExportSection:
    """Args: the widgets of the .ui file and the session."""

    def __init__(self, ui: Ui, session: Session) -> None:
        self.ui = ui
        self.session = session
        self._reasons = Reasons()
        self._reader = Dicom.SeriesReader(session.python)
        self._writing: Dicom.DicomExport | None = None
        self._kind = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)
        self._buttons = {name: self._button(form) for name, form in formats().items()}
        ui.exportSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        ui.exportFolder.connect("currentPathChanged(QString)", self.onFolder)
        ui.isotropicCheckBox.connect("toggled(bool)", self.onIsotropic)
        ui.marginXSpinBox.connect("valueChanged(double)", self.onMarginX)
        ui.addMarginButton.connect("clicked(bool)", self.onMargin)
        with Quiet(ui.exportFolder):
            ui.exportFolder.setCurrentPath(rememberedFolder())
        session.folder = ui.exportFolder.currentPath
        self.onIsotropic(ui.isotropicCheckBox.checked)
        showText(ui.exportMessage, "")
        showText(ui.preflightLabel, "")

    @property
    def busy(self) -> bool:
        """Something is being read or written beside Slicer."""
        return self._writing is not None or self._reader.reading

    def _button(self, form: Format) -> qt.QPushButton:
        """The button of a format: the one in the .ui file, or a new one below the others."""
        first, *rest = form.name.split("-")
        button = getattr(self.ui, f"{first}{''.join(word.capitalize() for word in rest)}Button", None)
        if button is None:
            button = qt.QPushButton(_(form.title))
            button.toolTip = _(form.words)
            self.ui.exportSection.layout().addWidget(button)
        button.connect("clicked(bool)", lambda: self.onExport(form.name))
        return button

    @slot
    def onFolder(self, folder: str) -> None:
        """Another folder was chosen, or is being typed; one that is there is remembered."""
        self.session.folder = folder
        if folder and Path(folder).is_dir():
            qt.QSettings().setValue(FOLDER_KEY, folder)
        self.session.changed()

    @slot
    def onCollapsed(self, collapsed: bool) -> None:
        """The section was opened: find out what DICOM export needs."""
        if not collapsed:
            self.preflight()

    def preflight(self) -> None:
        """Say what stands in the way of DICOM export, or should be known before it."""
        parameters = self.session.parameters
        refusal, remarks = "", []
        if parameters is not None and parameters.hasSegment():
            try:
                remarks = Export.marginRemarks(parameters)
                facts = self._reader.facts(Dicom.filesOf(parameters.volumeNode))
                if facts is None:
                    refusal = _("The headers of the DICOM series are being read.")
                    self._timer.start()
                else:
                    remarks = [*facts.findings, *remarks]
                    facts.check(geometryOfNode(parameters.volumeNode))
            except Exception as error:
                refusal = self.session.sentence(error)
        self._showPreflight(remarks, refusal)

    def _showPreflight(self, remarks: Sequence[Finding], refusal: str) -> None:
        """Remarks inform; a refusal disables what would end in it."""
        self.session.dicomRefusal = refusal
        lines = [html.escape(refusal)] if refusal else []
        if remarks:
            lines.append(asHtml([remark.as_dict() for remark in remarks]))
        showText(self.ui.preflightLabel, "<br>".join([_("Before DICOM export:"), *lines]) if lines else "")
        self.session.changed()

    def segmentChanged(self) -> None:
        """What was found out may no longer hold."""
        if not self.ui.exportSection.collapsed:
            self.preflight()

    @slot
    def onExport(self, kind: str) -> None:
        """Write the pancreas and its margins in one format."""
        session = self.session
        try:
            if formats()[kind].needs_series:
                self._begin(kind)
            else:
                self._tell(Export.write(kind, session.selectedCt, session.folder))
        except Exception as error:
            self._fail(error, kind)

    def _begin(self, kind: str) -> None:
        """Start writing a DICOM object."""
        session = self.session
        parameters = session.selectedCt
        facts = self._reader.facts(Dicom.filesOf(parameters.volumeNode))
        if facts is None:  # the files are others than a moment ago
            self.preflight()
            return
        path = Export.freePath(session.folder, kind)
        self._kind = kind
        self._writing = Dicom.DicomExport(kind, parameters, path, session.python, facts)
        showText(self.ui.exportMessage, _("Writing {file}.").format(file=path.name))
        self._timer.start()
        session.changed()

    @slot
    def poll(self) -> None:
        """Called by the timer while something is being read or written."""
        try:
            if self._reader.poll():
                self.preflight()
        except Exception as error:
            self._showPreflight([], self.session.sentence(error))
        try:
            written = self._writing.poll() if self._writing is not None else None
        except Exception as error:
            self._writing = None
            self._fail(error, self._kind)
        else:
            if written is not None:
                self._writing = None
                self._tell(written)
        if not self.busy:
            self._timer.stop()

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()
        self._reader.end()
        if self._writing is not None:
            self._writing.end()

    def _tell(self, written: Export.Written) -> None:
        with Quiet(self.ui.exportFolder):  # CTK passes through other paths on the way
            self.ui.exportFolder.addCurrentPathToHistory()
        text = _("Written: {files}.").format(files=", ".join(path.name for path in written.paths))
        showText(self.ui.exportMessage, " ".join([text, *(finding.sentence for finding in written.findings)]))
        self.session.changed()

    def _fail(self, error: Exception, kind: str = "") -> None:
        """Say why something could not be done; offer the package that was missing for it."""
        if not isinstance(error, PancreasSegError):
            logging.error("PancreasSeg: the export failed unexpectedly", exc_info=error)
        showText(self.ui.exportMessage, self.session.sentence(error))
        if kind:
            self.session.offerPackage(error, lambda: self.onExport(kind))
        self.session.changed()

    @slot
    def onIsotropic(self, same: bool) -> None:
        """One margin for all directions, or three."""
        reason = _("Untick 'Same in all directions' to set this one by itself.") if same else ""
        self._reasons.show(self.ui.marginYSpinBox, reason)
        self._reasons.show(self.ui.marginZSpinBox, reason)
        self.onMarginX(self.ui.marginXSpinBox.value)

    @slot
    def onMarginX(self, value: float) -> None:
        """The other two follow while they are the same."""
        if self.ui.isotropicCheckBox.checked:
            self.ui.marginYSpinBox.value = value
            self.ui.marginZSpinBox.value = value

    @slot
    def onMargin(self) -> None:
        """Add the margin as a segment."""
        ui = self.ui
        parameters = self.session.selectedCt
        sides = (ui.marginXSpinBox.value, ui.marginYSpinBox.value, ui.marginZSpinBox.value)
        self.session.saveForUndo(parameters.segmentationNode)
        try:
            identifier = Export.addMargin(parameters, sides, insideBody=ui.insideBodyCheckBox.checked)
        except Exception as error:
            self._fail(error)
            return
        name = parameters.segmentationNode.GetSegmentation().GetSegment(identifier).GetName()
        showText(ui.exportMessage, _("Added the segment '{name}'.").format(name=name))

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.exportMessage, text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        writing = _("A file is being written.") if self._writing is not None else ""
        for kind, button in self._buttons.items():
            why = situation.whyNotDicom() if formats()[kind].needs_series else situation.whyNotExport()
            self._reasons.show(button, writing or why)
        self._reasons.show(self.ui.addMarginButton, situation.whyNotMargin())


def rememberedFolder() -> str:
    """The folder of the last export; a person's own documents before the first."""
    stored = qt.QSettings().value(FOLDER_KEY)
    if stored and Path(stored).is_dir():
        return stored
    documents = Path.home() / "Documents"
    return str(documents if documents.is_dir() else Path.home())

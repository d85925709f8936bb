"""Section 6: files for planning and PACS, and margins in mm."""

from __future__ import annotations

import html

import qt
from slicer.i18n import tr as _

from pancreasseg.core.errors import PancreasSegError
from PancreasSegLib.Panel.SegmentSection import asHtml
from PancreasSegLib.Panel.Widgets import Quiet, Reasons, showText
from PancreasSegLib.Work import Export

FOLDER_KEY = "PancreasSeg/ExportFolder"


class ExportSection:
    """Args: the widgets of the .ui file and the session."""

    def __init__(self, ui, session) -> None:
        self.ui = ui
        self.session = session
        self._reasons = Reasons()
        self._checked: tuple | None = None
        self._buttons = {
            "DICOM SEG": ui.dicomSegButton,
            "RTSTRUCT": ui.rtStructButton,
            "NIfTI": ui.niftiButton,
            "NRRD": ui.nrrdButton,
            "STL": ui.stlButton,
        }
        ui.dicomSegButton.connect("clicked(bool)", lambda: self.onExport("DICOM SEG"))
        ui.rtStructButton.connect("clicked(bool)", lambda: self.onExport("RTSTRUCT"))
        ui.niftiButton.connect("clicked(bool)", lambda: self.onExport("NIfTI"))
        ui.nrrdButton.connect("clicked(bool)", lambda: self.onExport("NRRD"))
        ui.stlButton.connect("clicked(bool)", lambda: self.onExport("STL"))
        ui.exportSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        ui.exportFolder.connect("currentPathChanged(QString)", self.onFolder)
        ui.isotropicCheckBox.connect("toggled(bool)", self.onIsotropic)
        ui.marginXSpinBox.connect("valueChanged(double)", self.onMarginX)
        ui.addMarginButton.connect("clicked(bool)", self.onMargin)
        with Quiet(ui.exportFolder):
            ui.exportFolder.setCurrentPath(qt.QSettings().value(FOLDER_KEY) or "")
        session.folder = ui.exportFolder.currentPath
        self.onIsotropic(ui.isotropicCheckBox.checked)
        showText(ui.exportMessage, "")
        showText(ui.preflightLabel, "")

    def onFolder(self, folder: str) -> None:
        """Another folder was chosen."""
        self.session.folder = folder
        qt.QSettings().setValue(FOLDER_KEY, folder)
        self.session.changed()

    def onCollapsed(self, collapsed: bool) -> None:
        """The section was opened: find out what DICOM export needs."""
        if not collapsed:
            self.preflight()

    def preflight(self) -> None:
        """Say what stands in the way of DICOM export, or should be known before it."""
        parameters = self.session.parameters
        self.session.dicomRefusal = ""
        findings = []
        if parameters is not None and parameters.hasSegment():
            try:
                findings = Export.preflight(parameters)
            except (PancreasSegError, ModuleNotFoundError) as error:
                self.session.dicomRefusal = self.session.sentence(error)
        serious = [finding.sentence for finding in findings if finding.severity.value == "serious"]
        if serious:
            self.session.dicomRefusal = serious[0]
        lines = asHtml([finding.as_dict() for finding in findings])
        if lines or self.session.dicomRefusal:
            lines = f"{_('Before DICOM export:')}<br>{lines or html.escape(self.session.dicomRefusal)}"
        showText(self.ui.preflightLabel, lines)
        self.session.changed()

    def segmentChanged(self) -> None:
        """What was found out may no longer hold."""
        if not self.ui.exportSection.collapsed:
            self.preflight()

    def onExport(self, kind: str) -> None:
        """Write the pancreas and its margins in one format."""
        try:
            paths, findings = Export.write(kind, self.session.parameters, self.session.folder)
        except (PancreasSegError, ModuleNotFoundError, OSError) as error:
            showText(self.ui.exportMessage, self.session.sentence(error))
            return
        self.ui.exportFolder.addCurrentPathToHistory()
        written = _("Written: {files}.").format(files=", ".join(path.name for path in paths))
        showText(self.ui.exportMessage, " ".join([written, *(finding.sentence for finding in findings)]))

    def onIsotropic(self, same: bool) -> None:
        """One margin for all directions, or three."""
        reason = _("Untick 'Same in all directions' to set this one by itself.") if same else ""
        self._reasons.show(self.ui.marginYSpinBox, reason)
        self._reasons.show(self.ui.marginZSpinBox, reason)
        self.onMarginX(self.ui.marginXSpinBox.value)

    def onMarginX(self, value: float) -> None:
        """The other two follow while they are the same."""
        if self.ui.isotropicCheckBox.checked:
            self.ui.marginYSpinBox.value = value
            self.ui.marginZSpinBox.value = value

    def onMargin(self) -> None:
        """Add the margin as a segment."""
        ui = self.ui
        parameters = self.session.parameters
        sides = (ui.marginXSpinBox.value, ui.marginYSpinBox.value, ui.marginZSpinBox.value)
        self.session.saveForUndo(parameters.segmentationNode)
        try:
            identifier = Export.addMargin(parameters, sides, insideBody=ui.insideBodyCheckBox.checked)
        except (PancreasSegError, ModuleNotFoundError) as error:
            showText(ui.exportMessage, self.session.sentence(error))
            return
        name = parameters.segmentationNode.GetSegmentation().GetSegment(identifier).GetName()
        showText(ui.exportMessage, _("Added the segment '{name}'.").format(name=name))

    def show(self, situation) -> None:
        """Bring the widgets in line with the situation."""
        for kind, button in self._buttons.items():
            dicom = kind in ("DICOM SEG", "RTSTRUCT")
            self._reasons.show(button, situation.whyNotDicom() if dicom else situation.whyNotExport())
        self._reasons.show(self.ui.addMarginButton, situation.whyNotMargin())

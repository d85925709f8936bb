"""The rest of the panel for the pictures: correction, statistics, export, margins, models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PySide6 import QtCore, QtWidgets
from Testing.desktop.sitting import NARROW, RUN_SECONDS, Tour

from PancreasSegLib.Panel.Widgets import Quiet
from PancreasSegLib.Scene import Segments

# Slices of the segment that the correction takes away, counted from its foot.
ERASED_SLICES = 6
# Where a dialog is put on the screen, in pixels.
FORM_PLACE = (240, 120)


def showSections(tour: Tour, folder: Path) -> None:
    """Go through the sections below the large button, one picture each."""
    correct(tour)
    statistics(tour)
    export(tour, folder / "Planning")
    models(tour, folder)
    patients(tour)


def correct(tour: Tour) -> None:
    """Take the lowest slices away, as the Segment Editor's Erase would, whose stand-in has no brush."""
    person, ui = tour.person, tour.ui
    parameters = tour.session.parameters
    mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    lowest = np.flatnonzero(mask.any(axis=(1, 2)))[0]
    mask[lowest : lowest + ERASED_SLICES] = 0
    ui.segmentEditor.saveStateForUndo()
    Segments.writeMask(mask, parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    tour.show3D()
    tour.waitForNumbers()
    person.fold(ui.inputSection, folded=True)
    person.fold(ui.locateSection, folded=True)
    person.fold(ui.correctSection, folded=False)
    person.click(ui.draftCheckBox, QtCore.QPoint(8, ui.draftCheckBox.height // 2))
    person.wait(lambda: ui.draftCheckBox.checked)
    person.look("correct", ui.correctSection)
    person.click(ui.draftCheckBox, QtCore.QPoint(8, ui.draftCheckBox.height // 2))


def statistics(tour: Tour) -> None:
    """Numbers of the corrected segment, and against the AI draft."""
    person, ui = tour.person, tour.ui
    rows = range(ui.statisticsTable.rowCount)
    tour.record["statistics"] = {
        ui.statisticsTable.item(row, 0).text(): ui.statisticsTable.item(row, 1).text() for row in rows
    }
    person.fold(ui.correctSection, folded=True)
    person.click(ui.tableButton)
    person.look("statistics", ui.statisticsSection, width=NARROW)


def export(tour: Tour, folder: Path) -> None:
    """Preflight, two files and a margin."""
    person, ui = tour.person, tour.ui
    folder.mkdir()
    person.fold(ui.segmentSection, folded=True)
    person.fold(ui.statisticsSection, folded=True)
    person.fold(ui.exportSection, folded=False)
    ui.exportFolder.setCurrentPath(str(folder))
    person.rest()
    person.click(ui.niftiButton)
    person.click(ui.stlButton)
    tour.record["exported"] = sorted(path.name for path in folder.iterdir())
    sayNeutrally(ui.exportFolder, "Planning")
    person.look("export", ui.exportSection, width=NARROW)
    person.click(ui.marginGroup, QtCore.QPoint(12, 10))
    person.wait(lambda: not ui.marginGroup.collapsed)
    person.click(ui.addMarginButton)
    tour.show3D()
    tour.record["segments"] = tour.session.parameters.segmentationNode.GetSegmentation().GetNumberOfSegments()
    person.look("margin", ui.marginGroup)


def models(tour: Tour, folder: Path) -> None:
    """The list of models with the card of one that can be downloaded, and a network that has none."""
    person, ui = tour.person, tour.ui
    person.fold(ui.exportSection, folded=True)
    person.fold(ui.advancedSection, folded=False)
    if ui.modelsGroup.collapsed:
        person.click(ui.modelsGroup, QtCore.QPoint(12, 10))
    table = ui.modelsTable
    row = next(n for n in range(table.rowCount) if table.item(n, 0).toolTip() == "totalsegmentator-organs")
    person.click(table.viewport(), table.visualItemRect(table.item(row, 0)).center())
    person.wait(lambda: "organs at 1.5 mm" in ui.modelCard.toPlainText(), 5)
    sayNeutrally(ui.modelFolder, "Models")
    person.look("models", ui.modelsGroup, ui.votersList, ui.localizerSelector, width=NARROW)
    askAboutNetwork(tour, folder / "unet-abdomen.onnx")


def askAboutNetwork(tour: Tour, file: Path) -> None:
    """Drop a network without a card onto the models, and look at the dialog that asks about it."""
    file.write_bytes(b"")
    tour.window.widget.panel.models.onDropped([str(file)])
    form = QtWidgets.QApplication.activeModalWidget()
    tour.person.wait(lambda: form.isVisible(), 5)
    form.move(*FORM_PLACE)  # there is no window manager that would
    tour.record["asked about"] = form.windowTitle
    tour.person.look("network-card", form, width=NARROW)
    tour.person.click(form.findChild(QtWidgets.QPushButton, "cardCancelButton"))
    tour.person.wait(lambda: not form.isVisible(), 5)


def patients(tour: Tour) -> None:
    """Two CTs, segmented one after the other."""
    person, ui = tour.person, tour.ui
    person.fold(ui.advancedSection, folded=True)
    person.fold(ui.inputSection, folded=False)
    first = tour.session.volumeNode
    person.click(ui.phantomButton)
    person.wait(lambda: tour.session.volumeNode is not first, 90)
    first.SetName("Patient A, portal venous")
    tour.session.volumeNode.SetName("Patient B, portal venous")
    person.fold(ui.inputSection, folded=True)
    person.fold(ui.patientsSection, folded=False)
    person.click(ui.addLoadedButton)
    listed = tour.window.widget.panel.patients
    person.wait(lambda: ui.segmentAllButton.enabled and not listed.pending, 30)
    person.click(ui.segmentAllButton)
    person.wait(lambda: listed.patients.going, 5)
    person.wait(lambda: not listed.pending, RUN_SECONDS)
    tour.waitForNumbers()
    tour.record["patients"] = [ui.patientsTable.item(row, 1).text() for row in range(ui.patientsTable.rowCount)]
    person.look("patients", ui.patientsSection, width=NARROW)


def sayNeutrally(pathEdit, name: str) -> None:
    """Show a path in a picture that tells nothing of the computer it was taken on."""
    with Quiet(pathEdit):
        pathEdit.setCurrentPath(f"/home/radiology/{name}")

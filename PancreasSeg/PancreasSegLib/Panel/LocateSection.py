"""Section 2: find the pancreas, and the ROI box around it."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from pancreasseg.core.errors import InputError
from PancreasSegLib.Panel.Runner import Runner
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Quiet, Reasons, Ui, showText
from PancreasSegLib.Scene import RoiNodes
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Scene.Placement import placeBeside


class LocateSection:
    """Args: the widgets of the .ui file, the session, and the runner."""

    def __init__(self, ui: Ui, session: Session, runner: Runner) -> None:
        self.ui = ui
        self.session = session
        self.runner = runner
        self._reasons = Reasons()
        ui.locateButton.connect("clicked(bool)", self.onLocate)
        ui.marginSlider.connect("valueChanged(double)", self.onMargin)
        ui.roiSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onRoi)
        ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self.onRoiAdded)
        ui.roiVisibleCheckBox.connect("toggled(bool)", self.onVisible)
        ui.alignRoiButton.connect("clicked(bool)", self.onAlign)
        showText(ui.locateMessage, "")

    @slot
    def onLocate(self) -> None:
        """Find the pancreas and put the ROI around it."""
        self.runner.start("locate")

    @slot
    def onMargin(self, value: float) -> None:
        """Keep the margin with the CT."""
        if self.session.parameters is not None:
            self.session.parameters.marginMm = value

    @slot
    def onRoi(self, node: slicer.vtkMRMLNode | None) -> None:
        """Another ROI was selected, or the selected one is gone."""
        parameters = self.session.parameters
        if parameters is not None:
            parameters.roiNode = None if self.session.isLeaving(parameters.roiNode) else node
        self.session.changed()

    @slot
    def onRoiAdded(self, node: slicer.vtkMRMLNode) -> None:
        """A new ROI of a person's: put it into the middle of the CT, with handles to drag it."""
        RoiNodes.dressRoiNode(node)
        volumeNode = self.session.volumeNode
        if self.session.parameters is not None:
            RoiNodes.setBox(node, RoiNodes.middleBox(volumeNode), volumeNode)
            placeBeside(node, volumeNode)
        self.session.changed()

    @slot
    def onVisible(self, shown: bool) -> None:
        """Show or hide the ROI in all views."""
        parameters = self.session.parameters
        if parameters is not None and parameters.roiNode is not None:
            parameters.roiNode.SetDisplayVisibility(shown)

    @slot
    def onAlign(self) -> None:
        """Turn a rotated ROI straight."""
        parameters = self.session.selectedCt
        try:
            RoiNodes.alignToVolume(parameters.roiNode, parameters.volumeNode)
        except InputError as error:
            showText(self.ui.locateMessage, str(error))
        self.session.changed()

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        parameters = self.session.parameters
        self._reasons.show(ui.locateButton, situation.whyNotLocate())
        self._reasons.show(ui.roiSelector, situation.volumeRefusal)
        self._reasons.show(ui.marginSlider, situation.whyNotChooseMargin())
        self._reasons.show(ui.roiVisibleCheckBox, situation.whyNotShowRoi())
        self._reasons.show(ui.alignRoiButton, situation.whyNotAlign())
        roiNode = parameters.roiNode if parameters is not None else None
        with Quiet(ui.roiSelector, ui.roiVisibleCheckBox, ui.marginSlider):
            ui.roiSelector.setCurrentNode(roiNode)
            if roiNode is not None:
                ui.roiVisibleCheckBox.checked = bool(roiNode.GetDisplayVisibility())
            if parameters is not None:
                ui.marginSlider.value = self._margin(parameters)
        ui.roiFactsLabel.text = situation.roiRefusal or self._facts(roiNode)

    def say(self, text: str) -> None:
        """A sentence about the last run."""
        showText(self.ui.locateMessage, text)

    def _margin(self, parameters: Parameters) -> float:
        """What the person has chosen for this CT, else what the model does by itself, in mm."""
        own = None if parameters.marginChosen else self.session.models.marginOf(parameters.setup)
        return parameters.marginMm if own is None else own

    def _facts(self, roiNode: slicer.vtkMRMLMarkupsROINode) -> str:
        """Size of the ROI in mm, its volume, and its voxels."""
        if roiNode is None:
            return "-"
        volumeNode = self.session.volumeNode
        box = RoiNodes.boxOfRoi(roiNode, volumeNode)
        sides = box.extent_mm(geometryOfNode(volumeNode))
        mm = " x ".join(f"{side:.0f}" for side in sides)
        voxels = " x ".join(str(n) for n in box.size)
        ml = sides[0] * sides[1] * sides[2] / 1000
        return _("{mm} mm · {ml} ml · {voxels} voxels").format(mm=mm, ml=f"{ml:.0f}", voxels=voxels)

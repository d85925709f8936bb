"""What a person does in one sitting at the window, and what the scene holds at each point."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import slicer
from PySide6 import QtCore
from Testing.desktop.person import Person
from Testing.slicer_boot import boot

from PancreasSegLib.Scene import RoiNodes, Segments

RUN_SECONDS = 240.0

# Where the views beside the panel do not matter: the panel and one column of them.
NARROW = 1062


class Tour:
    """The sitting.

    Attributes:
        record: what was seen, for the test to judge.
    """

    def __init__(self, person: Person) -> None:
        self.person = person
        self.window = person.window
        self.ui = person.window.ui
        self.record: dict = {}

    @property
    def session(self):
        return self.window.widget.panel.session

    def open(self) -> None:
        """The window comes up; the panel asks the worker what it runs on."""
        self.window.show()
        self.window.widget.enter()
        self.person.wait(lambda: self.window.isVisible() and "not asked yet" not in self.ui.statusLabel.text, 60)
        self.record["status"] = self.ui.statusLabel.text
        if not self.ui.firstRunGroup.isHidden():
            self.person.look("first-run", self.ui.firstRunGroup, width=NARROW)
        self.person.look("start", self.ui.phantomButton, width=NARROW)
        if self.ui.firstRunGroup.visible:
            self.person.click(self.ui.firstRunSkipButton)

    def makePhantom(self) -> None:
        """Click on the panel's own sample data."""
        self.person.click(self.ui.phantomButton)
        self.person.wait(lambda: self.session.parameters is not None, 90)
        self._see()

    def openCt(self, path: Path) -> None:
        """Load a CT as File > Add Data does."""
        headless = boot()
        node = headless.logics["Volumes"].AddArchetypeVolume(str(path), "CT", 0)
        headless.applicationLogic.GetSelectionNode().SetActiveVolumeID(node.GetID())
        headless.applicationLogic.PropagateVolumeSelection()
        self.ui.volumeSelector.setCurrentNode(node)
        self._see()

    def segment(self, name: str) -> None:
        """One click on the large button, and wait."""
        started = time.monotonic()
        self.person.click(self.ui.segmentButton)
        self.record[f"{name} button while running"] = self.ui.segmentButton.text
        self.person.wait(lambda: self.ui.progressBar.value >= 35 or not self.session.busy, RUN_SECONDS)
        if self.session.busy and name == "first":
            self.person.look("running", self.ui.segmentButton, self.ui.progressBar, width=NARROW)
        self.person.wait(lambda: not self.session.busy, RUN_SECONDS)
        self.record[f"{name} seconds"] = round(time.monotonic() - started, 1)
        self.record[f"{name} message"] = self.ui.segmentMessage.text
        self.waitForNumbers()
        self.show3D()
        self.waitForNumbers()
        self._state(name)
        self.record["stale at the end"] = not self.ui.staleLabel.isHidden()
        self.person.look(f"{name}-result")

    def waitForNumbers(self) -> None:
        """Wait until the statistics are those of the segment as it is."""
        self.person.wait(lambda: self.window.widget.panel.settled, 30)

    def show3D(self) -> None:
        """What the Segment Editor's button Show 3D does, which its stand-in lacks."""
        node = self.session.parameters.segmentationNode
        if node is not None:
            node.CreateClosedSurfaceRepresentation()
            self.person.lookAround(self.window.threeD)

    def drag(self, millimetres: float) -> None:
        """Pull the box's handle on the patient's left, in the axial view: outward, or inward when negative."""
        parameters = self.session.parameters
        axial = self.window.slices["Axial"]
        bounds = [0.0] * 6
        parameters.roiNode.GetRASBounds(bounds)
        middle = parameters.roiNode.GetCenterWorld()
        here = [middle[0], middle[1], axial.view.node.GetSliceOffset()]
        axial.zoom(1.5)
        axial.view.node.JumpSliceByCentering(*here)
        self.person.rest()
        handle = [bounds[0], *here[1:]]
        # Right on the box's edge, the edge itself may be nearer to the mouse than the dot on it, and does not move.
        aside = QtCore.QPoint(4, 0)
        start = axial.pixelOf(handle) + aside
        end = axial.pixelOf([handle[0] - millimetres, *handle[1:]]) + aside
        self.person.grab(start)
        self.person.pull(start, end)
        self.person.rest()
        self.person.look("drag", self.ui.staleLabel, self.ui.segmentButton)
        self.person.drop()
        self.person.wait(lambda: not self.ui.staleLabel.isHidden(), 5)
        self.record["spacing"] = list(parameters.volumeNode.GetSpacing())
        self.record["stale"] = self.ui.staleLabel.text
        self.record["button after the drag"] = self.ui.segmentButton.text
        self._state("drag")

    def _see(self) -> None:
        for it in self.window.slices.values():
            it.fit()
        node = self.session.volumeNode
        bounds = [0.0] * 6
        node.GetRASBounds(bounds)
        middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
        slicer.vtkMRMLSliceNode.JumpAllSlices(boot().scene, *middle, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
        self.person.rest()

    def _state(self, name: str) -> None:
        """Box and mask in voxels (i, j, k) of the CT, half-open."""
        parameters = self.session.parameters
        box = RoiNodes.boxOfRoi(parameters.roiNode, parameters.volumeNode)
        mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode) != 0
        inside = np.zeros_like(mask)
        inside[tuple(slice(a, b) for a, b in zip(reversed(box.start), reversed(box.stop), strict=True))] = True
        self.record[name] = {
            "box": [list(box.start), list(box.stop)],
            "voxels": int(mask.sum()),
            "voxels outside the box": int((mask & ~inside).sum()),
            "measured": self.ui.statisticsTable.rowCount,
            "ml": self.ui.statisticsTable.item(0, 1).text(),
            "findings": [finding["code"] for finding in parameters.result.get("findings", [])],
        }

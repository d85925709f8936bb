"""The panel beside Slicer's views off screen, in which a simulated mouse drags the box by its handles.

    python -m Testing.helpers.dragging record.json

writes down what the scene and the panel showed after each drag, for the test to judge. It is a process of its own:
VTK ends the process where nothing can be drawn off screen.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import slicer
from PySide6 import QtCore
from Testing.helpers.actions import run
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.fakes import FakeClient
from Testing.helpers.panel import FakeDialogs, aWidget, wait
from Testing.slicer_boot import boot
from Testing.slicer_boot.views import SliceView, ThreeDView

from PancreasSegLib.Panel.Panel import Panel
from PancreasSegLib.Scene import RoiNodes, Segments, VolumeNodes
from PancreasSegLib.Work.Workflow import Workflow

DRAWN = "The views are drawn."

# View, and the face whose handle is dragged in it: axis of the world (RAS) and side.
DRAGS = {"Axial": (0, 1), "Coronal": (2, 0), "Sagittal": (1, 1), "3D": (0, 0)}
PULL_MM = 3.0

# Right on the box's edge, the edge itself may be nearer to the mouse than the handle on it, and does not move.
ASIDE_PIXELS = 4.0


class Person:
    """Drags in a view, and looks at the panel.

    Args:
        panel: with a segmented CT.
        client: its worker.
    """

    def __init__(self, panel: Panel, client: FakeClient) -> None:
        self.panel = panel
        self.client = client

    def drag(self, view: SliceView | ThreeDView, axis: int, side: int) -> dict:
        """Pull a face of the box outward by its handle, run again, and tell what was to be seen."""
        roiNode = self.panel.session.parameters.roiNode
        before = self._look()
        handle = np.array(roiNode.GetCenterWorld())
        handle[axis] = before["bounds"][2 * axis + side]
        outward = np.eye(3)[axis] * (2 * side - 1)
        start, end = (np.array(view.pixelOf(handle + outward * mm)) for mm in (0.0, PULL_MM))
        aside = ASIDE_PIXELS * (end - start) / np.linalg.norm(end - start)
        view.drag(tuple(start + aside), tuple(end + aside))
        wait(lambda: not self.panel.ui.staleLabel.isHidden() or self._look()["bounds"] == before["bounds"])
        dragged = self._look()
        asked = len(self.client.requests)
        run(self.panel)
        again = self._look()
        again["requests"] = [(name, list(box.bounds())) for name, box in self.client.requests[asked:]]
        return {"before": before, "dragged": dragged, "again": again}

    def _look(self) -> dict:
        parameters = self.panel.session.parameters
        bounds = [0.0] * 6
        parameters.roiNode.GetRASBounds(bounds)
        box = RoiNodes.boxOfRoi(parameters.roiNode, parameters.volumeNode)
        mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
        inside = mask[box.slices].sum()
        return {
            "bounds": bounds,
            "box": list(box.bounds()),
            "voxels": int(mask.sum()),
            "voxels outside the box": int(mask.sum() - inside),
            "stale": not self.panel.ui.staleLabel.isHidden(),
            "button": self.panel.ui.segmentButton.text,
        }


def main(record: Path) -> None:
    """Drag in every view, and write down what happened."""
    raised: list[str] = []
    sys.excepthook = lambda kind, error, trace: (raised.append(repr(error)), sys.__excepthook__(kind, error, trace))
    headless = boot()
    client = FakeClient()
    panel = Panel(slicer.util.childWidgetVariables(aWidget()), Workflow(client), sys.executable, FakeDialogs())
    panel.wake()
    # Voxels of 2 mm: the handles lie far enough apart to be grabbed one by one.
    volumeNode = VolumeNodes.addVolumeNode(headless.scene, aCt(aGeometry(spacing=(2.0, 2.0, 4.0))), "CT")
    panel.ui.volumeSelector.setCurrentNode(volumeNode)
    run(panel)
    person = Person(panel, client)
    seen = {}
    for name, (axis, side) in DRAGS.items():
        middle = panel.session.parameters.roiNode.GetCenterWorld()
        if name == "3D":
            view = ThreeDView(headless)
            view.lookFromTheFront()
        else:
            view = SliceView(headless, name, name)
            view.show(volumeNode, middle)
        view.takeSlicersMouse()
        view.window.Render()
        print(DRAWN, flush=True)
        seen[name] = person.drag(view, axis, side)
    seen["raised"] = raised
    record.write_text(json.dumps(seen, indent=2), encoding="utf-8")


if __name__ == "__main__":
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(Path(sys.argv[1]).parent)
    )
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # views that outlive the scene would end the process in a crash

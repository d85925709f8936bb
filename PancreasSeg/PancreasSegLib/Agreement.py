"""Where the voters of a pipeline differed, as a volume to lay over the CT."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from pancreasseg.results import Segmentation
from PancreasSegLib.Coordinates import geometryOfNode, setGeometryOfNode
from PancreasSegLib.Parameters import Parameters
from PancreasSegLib.Placement import placeBeside

OPACITY = 0.6
MAP = "PancreasSeg.Disagreement"
COLORS = "vtkMRMLColorTableNodeFileColdToHotRainbow.txt"


def keepAgreement(parameters: Parameters, segmentation: Segmentation) -> None:
    """Keep the share of voters that differ from the result (0-1) on the segmented box; a node where there is one.

    A result of a single voter has nothing to show, and an earlier map would be of another result.
    """
    volumeNode = parameters.volumeNode
    node = parameters.agreementNode
    disagreement = 1.0 - segmentation.agreement
    if not (disagreement > 0).any():
        if node is not None:
            volumeNode.GetScene().RemoveNode(node)
        return
    if node is None:
        name = f"{volumeNode.GetName()} pancreas disagreement"
        node = volumeNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetHideFromEditors(True)
        node.SetAttribute(MAP, "true")
        parameters.agreementNode = node
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(disagreement, dtype=np.float32))
    setGeometryOfNode(node, geometryOfNode(volumeNode).crop(segmentation.box))
    placeBeside(node, volumeNode)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(COLORS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetApplyThreshold(True)
    display.SetThreshold(0.01, 1.0)
    followSelection(parameters)


def showAgreement(parameters: Parameters, shown: bool) -> None:
    """Lay the map over the CT in all slice views, or take it away; the choice is saved with the scene."""
    parameters.agreementShown = shown
    followSelection(parameters)


def followSelection(parameters: Parameters) -> None:
    """Let all slice views show the map of this CT if a person wants it, and that of no other CT."""
    node = parameters.agreementNode if parameters.agreementShown else None
    for composite in _composites(parameters):
        if node is not None:
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetForegroundOpacity(OPACITY)
        elif _isMap(slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")):
            composite.SetForegroundVolumeID(None)


def isAgreementShown(parameters: Parameters) -> bool:
    """True while any slice view shows the map."""
    node = parameters.agreementNode
    return node is not None and any(c.GetForegroundVolumeID() == node.GetID() for c in _composites(parameters))


def _composites(parameters: Parameters) -> list:
    scene = parameters.volumeNode.GetScene()
    name = "vtkMRMLSliceCompositeNode"
    return [scene.GetNthNodeByClass(number, name) for number in range(scene.GetNumberOfNodesByClass(name))]


def _isMap(node) -> bool:
    return node is not None and node.GetAttribute(MAP) is not None

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


def showAgreement(parameters: Parameters, shown: bool) -> None:
    """Lay the map over the CT in all slice views, or take it away."""
    node = parameters.agreementNode
    scene = parameters.volumeNode.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(number, "vtkMRMLSliceCompositeNode")
        if shown and node is not None:
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetForegroundOpacity(OPACITY)
        elif node is not None and composite.GetForegroundVolumeID() == node.GetID():
            composite.SetForegroundVolumeID(None)


def isAgreementShown(parameters: Parameters) -> bool:
    """True while any slice view shows the map."""
    node = parameters.agreementNode
    scene = parameters.volumeNode.GetScene()
    composites = [
        scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode"))
    ]
    return node is not None and any(c.GetForegroundVolumeID() == node.GetID() for c in composites)

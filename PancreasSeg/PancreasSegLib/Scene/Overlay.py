"""Maps on the segmented box, as volumes to lay over the CT in the slice views: one at a time."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from pancreasseg.core import Box
from PancreasSegLib.Scene.Coordinates import geometryOfNode, setGeometryOfNode
from PancreasSegLib.Scene.Nodes import addHiddenNode, nodesOf
from PancreasSegLib.Scene.Parameters import Parameters

OPACITY = 0.6
MARK = "PancreasSeg.Overlay"


def keepVolume(
    node: slicer.vtkMRMLScalarVolumeNode | None,
    parameters: Parameters,
    name: str,
    array: np.ndarray,
    box: Box,
    colors: str,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put a map into a volume node beside its CT; it is saved with the scene.

    Args:
        node: of an earlier map of this kind, or None for a new one.
        parameters: of the CT.
        name: of the node, after that of the CT.
        array: the map, of ``box.shape``.
        box: where it lies, in the CT's voxels.
        colors: node ID of a colour table.

    Returns:
        The node.
    """
    volumeNode = parameters.volumeNode
    if node is None:
        node = addHiddenNode(volumeNode.GetScene(), "vtkMRMLScalarVolumeNode", name)
        node.SetAttribute(MARK, "true")
    node.SetName(f"{volumeNode.GetName()} {name}")
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array, dtype=np.float32))
    setGeometryOfNode(node, geometryOfNode(volumeNode).crop(box))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(colors)
    return node


def setRange(
    node: slicer.vtkMRMLScalarVolumeNode, low: float, high: float, *, visibleFrom: float | None = None
) -> None:
    """The values that get the first and the last colour, and the one below which the map is clear (None: nowhere)."""
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)
    display.SetApplyThreshold(visibleFrom is not None)
    if visibleFrom is not None:
        display.SetThreshold(visibleFrom, 1.0)


def followSelection(parameters: Parameters) -> None:
    """Let all slice views show the map of this CT that a person wants, and that of no other CT."""
    node = shownNode(parameters)
    for composite in _composites(parameters):
        if node is not None:
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetForegroundOpacity(OPACITY)
        elif isMap(slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")):
            composite.SetForegroundVolumeID(None)


def shownNode(parameters: Parameters) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The map that a person wants to see over this CT; None when there is none."""
    if parameters.agreementShown and parameters.agreementMap is not None:
        return parameters.agreementMap
    return parameters.attentionVolume if parameters.attentionShown else None


def isShown(parameters: Parameters, node: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
    """True while any slice view shows this map."""
    return node is not None and any(c.GetForegroundVolumeID() == node.GetID() for c in _composites(parameters))


def _composites(parameters: Parameters) -> list:
    return nodesOf(parameters.volumeNode.GetScene(), "vtkMRMLSliceCompositeNode")


def isMap(node: slicer.vtkMRMLNode | None) -> bool:
    """True for what `keep` has made."""
    return node is not None and node.GetAttribute(MARK) is not None

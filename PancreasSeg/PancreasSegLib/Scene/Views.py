"""What the slice views show, and which CT a person who looks at them most likely means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import slicer.util

from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Coordinates import geometryOfNode, ijkToRas, transformToWorld
from PancreasSegLib.Scene.Nodes import nodesOf
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Scene.VolumeNodes import checkVolumeNode, setAbdominalWindow

# On a result that was hidden because another CT is shown; it comes back with its own CT.
HIDDEN = "PancreasSeg.HiddenWithCt"


def showVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a CT in all slice views, as the background; where it is shown already, everything stays as it was set.

    Nobody may segment a CT that is not on the screen. It gets an abdominal window unless somebody has set one.
    """
    setAbdominalWindow(volumeNode)
    identifier = volumeNode.GetID()
    composites = _composites(volumeNode.GetScene())
    shown = [identifier in (it.GetBackgroundVolumeID(), it.GetForegroundVolumeID()) for it in composites]
    if not all(shown):
        moved = not _sameBounds(shownVolume(volumeNode.GetScene()), volumeNode)
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=moved)


def shownVolume(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume in the background of the red slice view, else of the first one; None when there is none."""
    composites = sorted(_composites(scene), key=lambda it: it.GetLayoutName() != "Red")
    return scene.GetNodeByID(composites[0].GetBackgroundVolumeID() or "") if composites else None


def likelyVolume(scene: slicer.vtkMRMLScene, *, restored: bool = False) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The CT to begin with: the one in the views, else the only one.

    Args:
        scene: the vtkMRMLScene.
        restored: it was loaded; then a CT that was worked on comes first, best the one that was selected last.

    Returns:
        The volume node; None when there is no such CT that can be used.
    """
    shown = shownVolume(scene)
    known = sorted(Parameters.all(scene), key=lambda it: (not it.selected, it.volumeNode is not shown))
    worked = [parameters.volumeNode for parameters in known]
    usable = [node for node in nodesOf(scene, "vtkMRMLScalarVolumeNode") if _usable(node)]
    candidates = [*worked, shown] if restored else [shown]
    only = usable if len(usable) == 1 else []
    return next((node for node in [*candidates, *only] if _usable(node)), None)


def jumpToFullestSlices(parameters: Parameters) -> None:
    """Show in every slice view the slice that holds most of the segment; where it is empty, the views stay."""
    volumeNode = parameters.volumeNode
    content = Segments.contentOf(parameters.segmentationNode, parameters.segmentId, volumeNode)
    if content.box is None:
        return
    areas = [content.mask.sum(axis=others) for others in ((0, 1), (0, 2), (1, 2))]  # by i, j and k
    fullest = [start + int(np.argmax(area)) for start, area in zip(content.box.start, areas, strict=True)]
    toWorld = transformToWorld(volumeNode) @ ijkToRas(geometryOfNode(volumeNode))
    jumpTo((toWorld @ [*fullest, 1])[:3].tolist(), volumeNode.GetScene())


def jumpTo(ras: Sequence[float], scene: slicer.vtkMRMLScene) -> None:
    """Move all slice views to a point of the world."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *ras, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def showResultsOf(selected: Parameters) -> None:
    """Show the ROI and the segments of the selected CT, and hide those of all others: drawn over it they would mislead.

    What a person has hidden stays hidden, and what belongs to several CTs is shown.
    """
    own = _results(selected)
    for parameters in Parameters.all(selected.volumeNode.GetScene()):
        parameters.selected = parameters.volumeNode is selected.volumeNode
        for node in _results(parameters):
            if node in own:
                _reveal(node)
            elif node.GetDisplayVisibility():
                node.SetAttribute(HIDDEN, "true")
                node.SetDisplayVisibility(False)


def _reveal(node: slicer.vtkMRMLNode) -> None:
    if node.GetAttribute(HIDDEN):
        node.RemoveAttribute(HIDDEN)
        node.SetDisplayVisibility(True)


def _results(parameters: Parameters) -> list:
    segmentationNode = parameters.segmentationNode
    draftNode = None if segmentationNode is None else Segments.draftOf(segmentationNode)
    nodes = (parameters.roiNode, segmentationNode, draftNode)
    return [node for node in nodes if node is not None and node.GetDisplayNode() is not None]


def _usable(node: slicer.vtkMRMLNode | None) -> bool:
    if node is None or node.GetHideFromEditors():
        return False
    try:
        checkVolumeNode(node)
    except InputError:
        return False
    return True


def _composites(scene: slicer.vtkMRMLScene) -> list:
    return nodesOf(scene, "vtkMRMLSliceCompositeNode")


def _sameBounds(volumeNode: slicer.vtkMRMLScalarVolumeNode | None, otherNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """True when two volumes take up the same place in the world, so that the views may stay where they are."""
    if volumeNode is None:
        return False
    bounds = np.zeros((2, 6))
    for row, node in zip(bounds, (volumeNode, otherNode), strict=True):
        node.GetRASBounds(row)
    return np.allclose(bounds[0], bounds[1])

"""Hidden nodes whose owner is gone: nobody can see them, and they would be saved with every scene."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from PancreasSegLib.Scene import Overlay, Segments
from PancreasSegLib.Scene.Nodes import nodesOf
from PancreasSegLib.Scene.Parameters import MODULE, Parameters


def removeOrphans(scene: slicer.vtkMRMLScene) -> None:
    """Remove AI drafts without their segmentation, and maps and parameters without their CT."""
    if scene.IsBatchProcessing():
        return  # in the middle of loading, an owner may still come
    drafts = [Segments.draftOf(node) for node in nodesOf(scene, "vtkMRMLSegmentationNode")]
    present = Parameters.all(scene)
    maps = [node for it in present for node in (it.agreementNode, it.attentionNode)]
    parameterNodes = [it.node for it in present]
    for node in (
        *_without(drafts, nodesOf(scene, "vtkMRMLSegmentationNode"), _isDraft),
        *_without(maps, nodesOf(scene, "vtkMRMLScalarVolumeNode"), Overlay.isMap),
        *_without(parameterNodes, nodesOf(scene, "vtkMRMLScriptedModuleNode"), _isOurs),
    ):
        scene.RemoveNode(node)


def _without(owned: list, nodes: list, hidden: Callable[[slicer.vtkMRMLNode], bool]) -> list:
    return [node for node in nodes if hidden(node) and node not in owned]


def _isDraft(node: slicer.vtkMRMLNode) -> bool:
    return node.GetAttribute(Segments.DRAFT_ROLE) is not None


def _isOurs(node: slicer.vtkMRMLNode) -> bool:
    return node.GetModuleName() == MODULE

"""Nodes of a scene by class, and nodes that nobody is meant to see."""

from __future__ import annotations

import slicer


def nodesOf(scene: slicer.vtkMRMLScene, className: str) -> list:
    """All nodes of a class, in the scene's order."""
    return [scene.GetNthNodeByClass(number, className) for number in range(scene.GetNumberOfNodesByClass(className))]


def addHiddenNode(scene: slicer.vtkMRMLScene, className: str, name: str) -> slicer.vtkMRMLNode:
    """A new node that no selector, no Segment Editor and no Data tree offers.

    It is hidden before it comes into the scene: Slicer looks at the flag when a node is added, and never again.
    """
    node = scene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetHideFromEditors(True)
    return scene.AddNode(node)

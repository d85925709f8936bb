"""Nodes of a scene by class, and nodes that nobody is meant to see."""

from __future__ import annotations


def nodesOf(scene, className: str) -> list:
    """All nodes of a class, in the scene's order."""
    return [scene.GetNthNodeByClass(number, className) for number in range(scene.GetNumberOfNodesByClass(className))]


def addHiddenNode(scene, className: str, name: str):
    """A new node that no selector, no Segment Editor and no Data tree offers.

    It is hidden before it comes into the scene: Slicer looks at the flag when a node is added, and never again.
    """
    node = scene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetHideFromEditors(True)
    return scene.AddNode(node)

"""Segments as surfaces in the 3D view."""

from __future__ import annotations

import slicer

CLOSED_SURFACE = "Closed surface"


def isSurfaceShown(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """True while the segments have surfaces."""
    return segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)


def showSurface(segmentationNode: slicer.vtkMRMLSegmentationNode, shown: bool) -> None:
    """Make the surfaces of a segmentation, which Slicer keeps in line with its voxels from then on; or drop them."""
    if shown:
        segmentationNode.CreateClosedSurfaceRepresentation()
        segmentationNode.GetDisplayNode().SetVisibility3D(True)
    else:
        segmentationNode.RemoveClosedSurfaceRepresentation()

"""Between the engine's world (LPS mm) and Slicer's (RAS mm)."""

from __future__ import annotations

import numpy as np
import slicer.util
import vtk

from pancreasseg.core import Geometry
from pancreasseg.core.geometry import lps_ras


def geometryOfNode(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Geometry:
    """The grid of a volume node in its own frame (without parent transforms), exact to the bit."""
    directions = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASDirectionMatrix(directions)
    axes = lps_ras(slicer.util.arrayFromVTKMatrix(directions)[:3, :3])
    i, j, k = volumeNode.GetImageData().GetDimensions()
    x, y, z = (float(value) for value in lps_ras(volumeNode.GetOrigin()))
    return Geometry((i, j, k), tuple(volumeNode.GetSpacing()), (x, y, z), tuple(float(value) for value in axes.ravel()))


def setGeometryOfNode(volumeNode: slicer.vtkMRMLScalarVolumeNode, geometry: Geometry) -> None:
    """Put a volume node's voxels where ``geometry`` says; the inverse of `geometryOfNode`."""
    directions = np.eye(4)
    directions[:3, :3] = lps_ras(geometry.axes)
    volumeNode.SetSpacing(geometry.spacing)
    volumeNode.SetOrigin(lps_ras(geometry.origin))
    volumeNode.SetIJKToRASDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))


def ijkToRas(geometry: Geometry) -> np.ndarray:
    """4x4 array from voxel indices (i, j, k, 1) to RAS mm."""
    return lps_ras(geometry.index_to_world)


def transformToWorld(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """4x4 array from a node's own frame through all its parent transforms to the world.

    The transforms must be linear; `VolumeNodes.checkTransform` refuses others with a sentence.
    """
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)

"""The box as a person sees and drags it: a markups ROI node parallel to the volume's own axes."""

from __future__ import annotations

import numpy as np
import slicer.util

from pancreasseg.core import Box
from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene.Coordinates import geometryOfNode, ijkToRas, transformToWorld
from PancreasSegLib.Scene.VolumeNodes import checkTransform

COLOR = (0.98, 0.70, 0.44)
FILL_OPACITY = 0.1

# A side may lean by this much (in voxels, over the whole ROI) before the ROI counts as rotated.
LEAN_VOXELS = 0.5

_DRAG_APART = "Drag its faces apart."


def addRoiNode(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLMarkupsROINode:
    """A new ROI node with handles to drag the faces, none to rotate, and a light fill."""
    roiNode = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    dressRoiNode(roiNode)
    return roiNode


def dressRoiNode(roiNode: slicer.vtkMRMLMarkupsROINode) -> None:
    """Give an ROI node the look and the handles of `addRoiNode`."""
    roiNode.CreateDefaultDisplayNodes()
    display = roiNode.GetDisplayNode()
    display.SetHandlesInteractive(True)
    display.SetRotationHandleVisibility(False)
    display.SetFillOpacity(FILL_OPACITY)
    display.SetPropertiesLabelVisibility(False)  # its name would lie over the pancreas
    display.SetSelectedColor(*COLOR)


def setBox(roiNode: slicer.vtkMRMLMarkupsROINode, box: Box, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Put the ROI exactly on the outer faces of the box's voxels, under the volume's parent transform."""
    geometry = geometryOfNode(volumeNode)
    matrix = np.eye(4)
    toRas = ijkToRas(geometry)
    matrix[:3, :3] = toRas[:3, :3] / np.asarray(geometry.spacing)
    if np.linalg.det(matrix[:3, :3]) < 0:
        matrix[:3, 2] *= -1.0  # an ROI's own axes are right-handed; turning one round leaves the box as it is
    middle = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    matrix[:, 3] = toRas @ [*middle, 1.0]
    with slicer.util.NodeModify(roiNode):
        roiNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        roiNode.SetROIType(roiNode.ROITypeBox)
        roiNode.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
        roiNode.SetSize(box.extent_mm(geometry))


def middleBox(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Box:
    """A box for an ROI that a person wants to place: the middle third of the CT."""
    size = geometryOfNode(volumeNode).size
    return Box.between((n // 3 for n in size), (max(2 * n // 3, n // 3 + 1) for n in size))


def boxOfRoi(roiNode: slicer.vtkMRMLMarkupsROINode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Box:
    """The voxels whose centres lie inside the ROI, clipped to the volume.

    Raises:
        InputError: no ROI, not placed, inverted, of zero size, rotated against the volume, outside it, or under a
            non-linear transform.
    """
    _checkPlaced(roiNode)
    objectToIjk, sides = _objectToIjk(roiNode, volumeNode)
    if _leanVoxels(objectToIjk, sides) > LEAN_VOXELS:
        raise InputError(
            "roi-rotated",
            f"The ROI '{roiNode.GetName()}' is rotated against the slices of the CT.",
            "Align it to the volume, or click Locate to have a new one placed.",
        )
    low, high = _corners(objectToIjk, sides)
    if (high - low < 1 - LEAN_VOXELS / 10).any():
        raise InputError("roi-too-small", f"The ROI '{roiNode.GetName()}' is thinner than one voxel.", _DRAG_APART)
    # Voxel n reaches from n - 0.5 to n + 0.5: its centre is inside when the low face lies below n.
    bounds = np.floor(np.stack([low, high], axis=1) + 1.0).astype(int)
    try:
        return Box.checked(bounds.ravel().tolist(), geometryOfNode(volumeNode))
    except InputError as error:
        raise InputError(
            "roi-outside-volume",
            f"The ROI '{roiNode.GetName()}' lies outside the volume '{volumeNode.GetName()}'.",
            "Drag it over the pancreas, or click Locate to have it placed automatically.",
        ) from error


def alignToVolume(roiNode: slicer.vtkMRMLMarkupsROINode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Box:
    """Replace a rotated ROI by the smallest box of whole voxels around it; the way out of "roi-rotated".

    Raises:
        InputError: as `boxOfRoi`, but for the rotation.
    """
    _checkPlaced(roiNode)
    low, high = _corners(*_objectToIjk(roiNode, volumeNode))
    around = Box.between(np.floor(low + 0.5 + 1e-6), np.ceil(high + 0.5 - 1e-6))
    setBox(roiNode, around, volumeNode)
    box = boxOfRoi(roiNode, volumeNode)
    setBox(roiNode, box, volumeNode)
    return box


def _checkPlaced(roiNode: slicer.vtkMRMLMarkupsROINode | None) -> None:
    if roiNode is None:
        raise InputError("no-roi", "No ROI is selected.", "Click Locate, or place an ROI over the pancreas.")
    name = roiNode.GetName()
    size = np.asarray(roiNode.GetSize())
    if roiNode.GetNumberOfControlPoints() == 0 or not size.any():
        raise InputError("roi-empty", f"The ROI '{name}' has no size yet.", "Click Locate, or place it by hand.")
    if not np.isfinite(size).all() or (size < 0).any():
        raise InputError("roi-inverted", f"The ROI '{name}' is turned inside out.", "Click Locate to place it anew.")
    if not size.all():
        raise InputError("roi-too-small", f"The ROI '{name}' is thinner than one voxel.", _DRAG_APART)
    checkTransform(roiNode)


def _objectToIjk(
    roiNode: slicer.vtkMRMLMarkupsROINode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> tuple[np.ndarray, np.ndarray]:
    """4x4 array from the ROI's own frame (mm, zero in its centre) to voxel indices; and its sides in mm."""
    objectToNode = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix())
    scales = np.linalg.norm(objectToNode[:3, :3], axis=0)
    volumeToWorld = transformToWorld(volumeNode) @ ijkToRas(geometryOfNode(volumeNode))
    objectToWorld = transformToWorld(roiNode) @ objectToNode
    objectToWorld[:3, :3] /= scales  # the size is given in the node's mm, whatever scale the matrix carries
    return np.linalg.solve(volumeToWorld, objectToWorld), np.asarray(roiNode.GetSize(), dtype=float)


def _corners(objectToIjk: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest continuous index of the ROI's corners along i, j, k."""
    reach = np.abs(objectToIjk[:3, :3]) @ (sides / 2)
    return objectToIjk[:3, 3] - reach, objectToIjk[:3, 3] + reach


def _leanVoxels(objectToIjk: np.ndarray, sides: np.ndarray) -> float:
    """By how many voxels the ROI's edges stray at most from the volume's nearest index axes."""
    edges = np.abs(objectToIjk[:3, :3] * sides)
    along = edges.max(axis=0)
    return float((edges.sum(axis=0) - along).max())

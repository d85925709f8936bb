"""CT volume nodes: what the engine may see of them, and why some are refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from PancreasSegLib.Scene.Coordinates import geometryOfNode, setGeometryOfNode, transformToWorld
from PancreasSegLib.Scene.Nodes import nodesOf

# Parent transforms may stretch the CT by this share before a remark is made: rounding, not a scaling.
STRETCH = 0.002

# Width and level in HU.
ABDOMINAL_WINDOW = (400.0, 40.0)
AIR_HU = -100.0

SYNTHETIC = "PancreasSeg.Synthetic"


@dataclass(frozen=True)
class CtImage:
    """A CT as the engine takes it.

    Attributes:
        array: HU, shape (K, J, I), int16 or float32; a view of the node's own voxels wherever their type allows.
        geometry: the grid in the node's own frame. Parent transforms stay out of it: results get the same parent.
        key: see `contentKey`; with an equal key a loaded volume may stay loaded.
    """

    array: np.ndarray
    geometry: Geometry
    key: tuple


def readVolumeNode(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> CtImage:
    """The CT in a volume node.

    Raises:
        InputError: no node, not a scalar CT, no voxels, 4D, MR, skewed axes, NaN, or a non-linear parent transform.
    """
    geometry = checkedGeometry(volumeNode)
    return CtImage(readVoxels(volumeNode, Box.whole(geometry)), geometry, contentKey(volumeNode))


def checkedGeometry(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Geometry:
    """The grid of a CT that was checked in all that does not need a look at its voxels.

    Raises:
        InputError: as for `readVolumeNode`, but for NaN.
    """
    checkVolumeNode(volumeNode)
    geometry = geometryOfNode(volumeNode)
    if not np.allclose(geometry.axes.T @ geometry.axes, np.eye(3), atol=1e-3):
        raise InputError(
            "skewed-axes",
            f"The axes of the volume '{volumeNode.GetName()}' are not at right angles.",
            "Resample it onto straight axes first (module Resample Scalar Volume), or load it again from DICOM.",
        )
    return geometry


def voxelType(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.dtype:
    """What `readVoxels` returns: int16 where all values of the CT fit, else float32."""
    scalars = volumeNode.GetImageData().GetPointData().GetScalars()
    present = slicer.util.arrayFromVolume(volumeNode).dtype
    if present == np.float32 or not np.issubdtype(present, np.integer):
        return np.dtype(np.float32)
    low, high = (-32768, 32767) if present == np.int16 else scalars.GetRange()
    return np.dtype(np.int16 if low >= -32768 and high <= 32767 else np.float32)


def readVoxels(volumeNode: slicer.vtkMRMLScalarVolumeNode, box: Box) -> np.ndarray:
    """HU of a part of the CT: shape (K, J, I) of the box, of `voxelType`; a view wherever the node's type allows.

    Raises:
        InputError: voxels that are not numbers.
    """
    voxels = slicer.util.arrayFromVolume(volumeNode)[box.slices].astype(voxelType(volumeNode), copy=False)
    if voxels.dtype == np.float32 and not np.isfinite(voxels).all():
        raise InputError(
            "not-finite",
            f"The volume '{volumeNode.GetName()}' contains voxels that are not numbers.",
            "Load it again from its source, or replace those voxels by -1024 HU.",
        )
    return voxels


def contentKey(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple:
    """Changes whenever the node's voxels or grid change, and with nothing else."""
    scalars = volumeNode.GetImageData().GetPointData().GetScalars()
    return (volumeNode.GetID(), geometryOfNode(volumeNode), scalars.__this__, scalars.GetMTime())


def checkVolumeNode(volumeNode: slicer.vtkMRMLNode | None) -> None:
    """Refuse what cannot be a CT; quick enough to be asked whenever a selection changes.

    Raises:
        InputError: with the reason and the way out.
    """
    if volumeNode is None:
        raise InputError("no-volume", "No CT volume is selected.", "Select one, or load sample data.")
    name = volumeNode.GetName()
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError("not-a-volume", f"'{name}' is not a volume.", "Select a CT volume.")
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError("labelmap", f"'{name}' is a labelmap, not a CT.", "Select the CT it was drawn on.")
    image = volumeNode.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InputError("no-voxels", f"The volume '{name}' has no voxels.", "Load it again.")
    if image.GetNumberOfScalarComponents() != 1:
        count = image.GetNumberOfScalarComponents()
        raise InputError(
            "not-scalar",
            f"'{name}' has {count} values in each voxel; a CT has one.",
            "Select a CT, not a colour image.",
        )
    _checkNotSequence(volumeNode)
    _checkModality(volumeNode)
    checkTransform(volumeNode)


def checkTransform(node: slicer.vtkMRMLTransformableNode) -> None:
    """Refuse a node under a transform that bends space.

    Raises:
        InputError: some parent transform is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise InputError(
            "non-linear-transform",
            f"'{node.GetName()}' is under the non-linear transform '{parent.GetName()}'.",
            "Harden the transform (right-click it in the Data module) or take the volume out of it, then try again.",
        )


def transformFindings(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> list[Finding]:
    """A remark when the parent transforms stretch the CT: its own millimetres are then not those of the world."""
    linear = transformToWorld(volumeNode)[:3, :3]
    stretch = np.abs(np.linalg.svd(linear, compute_uv=False) - 1.0).max()
    if stretch < STRETCH:
        return []
    return [
        Finding(
            "stretched-by-transform",
            Severity.WARNING,
            f"'{volumeNode.GetName()}' is under a transform that stretches it by up to {100 * stretch:.0f} %. "
            "Volume and lengths are measured without it; harden the transform first if they should include it.",
            float(stretch),
        )
    ]


def addPhantomNode(scene: slicer.vtkMRMLScene, volume: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """`addVolumeNode` for a CT that was made up; models for synthetic images are made for it."""
    volumeNode = addVolumeNode(scene, volume, name)
    volumeNode.SetAttribute(SYNTHETIC, "true")
    return volumeNode


def isPhantom(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """True for what `addPhantomNode` has added; anything else may be a patient."""
    return volumeNode.GetAttribute(SYNTHETIC) == "true"


def addVolumeNode(scene: slicer.vtkMRMLScene, volume: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A new volume node with the voxels and the exact grid of an engine volume, shown with an abdominal window."""
    volumeNode = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volumeNode, volume.array)
    setGeometryOfNode(volumeNode, volume.geometry)
    volumeNode.CreateDefaultDisplayNodes()
    _setWindow(volumeNode.GetDisplayNode())
    return volumeNode


def setAbdominalWindow(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a CT as abdomens are read, unless the file or a person has set a window.

    A volume without air is no whole CT in HU, and keeps what Slicer has found for it.
    """
    volumeNode.CreateDefaultDisplayNodes()
    display = volumeNode.GetDisplayNode()
    if display.GetAutoWindowLevel() and volumeNode.GetImageData().GetScalarRange()[0] < AIR_HU:
        _setWindow(display)


def _setWindow(display: slicer.vtkMRMLScalarVolumeDisplayNode) -> None:
    display.AutoWindowLevelOff()
    display.SetWindowLevel(*ABDOMINAL_WINDOW)


def _checkNotSequence(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    scene = volumeNode.GetScene()
    for browser in nodesOf(scene, "vtkMRMLSequenceBrowserNode"):
        if browser.GetSequenceNode(volumeNode) is not None:
            raise InputError(
                "four-dimensional",
                f"'{volumeNode.GetName()}' shows one moment of the 4D sequence '{browser.GetName()}'.",
                "Segment this moment, or all of them, in the section Sequence (4D).",
            )


def _checkModality(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode)
    modality = hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""
    if modality not in ("", "CT"):
        raise InputError(
            "not-ct",
            f"'{volumeNode.GetName()}' is a {modality} series, not a CT.",
            "Select a contrast-enhanced abdominal CT.",
        )

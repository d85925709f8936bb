"""Masks as segments that the Segment Editor, DICOM export and the next person understand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from pancreasseg.core import Box
from pancreasseg.core.errors import InputError
from pancreasseg.io.seg_nrrd import COLOUR, SEGMENT_NAME, TERMINOLOGY
from PancreasSegLib.Scene.Coordinates import geometryOfNode, ijkToRas, transformToWorld
from PancreasSegLib.Scene.Nodes import addHiddenNode
from PancreasSegLib.Scene.Placement import placeBeside
from PancreasSegLib.Scene.VolumeNodes import checkTransform

SEGMENT_ID = SEGMENT_NAME
COLOR = tuple(channel / 255 for channel in COLOUR)
ALGORITHM_NAME = "PancreasSeg"
DRAFT_ROLE = "PancreasSeg.Draft"
LABELMAP = "Binary labelmap"

# Slicer's DICOM SEG exporter looks for voxels under this name, and takes a segment without it for empty.
SCALARS_NAME = "ImageScalars"

# Grids that stray by less than this count as the same: rounding in files, never a person's move.
SAME_GRID_VOXELS = 0.01


def addSegmentationNode(volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation node on the volume's grid, under its parent transform, beside it in the subject hierarchy."""
    segmentationNode = volumeNode.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentationNode.CreateDefaultDisplayNodes()
    placeBeside(segmentationNode, volumeNode)
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    return segmentationNode


def addPancreasSegment(segmentationNode: slicer.vtkMRMLSegmentationNode, *, name: str = SEGMENT_NAME) -> str:
    """An empty segment with the pancreas' colour and terminology; returns its ID."""
    segmentation = segmentationNode.GetSegmentation()
    identifier = segmentation.GenerateUniqueSegmentID(SEGMENT_ID)
    segmentation.AddEmptySegment(identifier, name, COLOR)
    segmentation.GetSegment(identifier).SetTerminology(TERMINOLOGY)
    return identifier


def setAlgorithm(segment: slicer.vtkSegment, algorithmType: str, algorithmName: str = ALGORITHM_NAME) -> None:
    """Say for DICOM how the segment was made: "AUTOMATIC", or "SEMIAUTOMATIC" after editing by hand."""
    segment.SetTag("DICOM.SegmentAlgorithmType", algorithmType)
    segment.SetTag("DICOM.SegmentAlgorithmName", algorithmName)


def setAlgorithmType(segment: slicer.vtkSegment, kind: str) -> None:
    """Change "AUTOMATIC" into "SEMIAUTOMATIC" or back; the algorithm's name stays, and nothing is touched in vain."""
    if tagOf(segment, "DICOM.SegmentAlgorithmType") != kind:
        segment.SetTag("DICOM.SegmentAlgorithmType", kind)


def tagOf(segment: slicer.vtkSegment, name: str) -> str:
    """A tag of a segment; empty where it has none of this name."""
    value = vtk.mutable("")
    return value.get() if segment.GetTag(name, value) else ""


def nameScalars(segment: slicer.vtkSegment) -> None:
    """Name the voxels of a segment that comes from elsewhere, for example from an older scene, as Slicer expects."""
    labelmap = segment.GetRepresentation(LABELMAP)
    scalars = labelmap.GetPointData().GetScalars() if labelmap is not None else None
    if scalars is not None and scalars.GetName() != SCALARS_NAME:
        scalars.SetName(SCALARS_NAME)


def writeMask(
    mask: np.ndarray,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    box: Box | None = None,
) -> None:
    """Replace a segment's voxels by a mask; other segments stay as they are.

    Only the region that holds the mask is written, which is what makes large volumes quick.

    Args:
        mask: bool or uint8, shape (K, J, I) of the volume, or of ``box``.
        segmentationNode: under the same parent transform as the volume.
        segmentId: an existing segment.
        volumeNode: gives the grid.
        box: the part of the volume that the mask lies on; beyond it the segment gets nothing.

    Raises:
        ValueError: the mask's shape is not the volume's, or there is no such segment.
    """
    geometry = geometryOfNode(volumeNode)
    box = box or Box.whole(geometry)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if mask.shape != box.shape:
        raise ValueError(f"mask {mask.shape} does not fit the volume {box.shape}")
    if segment is None:
        raise ValueError(f"no segment {segmentId!r}")
    # An empty mask is written as some background voxels: an image without voxels would not survive saving, and Slicer
    # makes no surface of an image that is one voxel thick.
    held = Box.of_mask(mask) or Box.between((0, 0, 0), (min(2, n) for n in box.size))
    region = held.out_of(box)
    labelmap = slicer.vtkOrientedImageData()
    extent = _extent(region)
    labelmap.SetExtent(extent)
    labelmap.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijkToRas(geometry)))
    values = np.ascontiguousarray(mask[held.slices] != 0, dtype=np.uint8)
    scalars = numpy_to_vtk(values.ravel(), deep=True)
    scalars.SetName(SCALARS_NAME)
    labelmap.GetPointData().SetScalars(scalars)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.SetBinaryLabelmapToSegment(labelmap, segmentationNode, segmentId, logic.MODE_REPLACE, extent):
        raise RuntimeError(f"the segment {segmentId!r} could not be written")


def readMask(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    box: Box | None = None,
) -> np.ndarray:
    """A segment on the volume's grid, or on a box of it: uint8, shape (K, J, I).

    A segment on another grid (imported, or a reference drawn elsewhere) is resampled by nearest neighbour.

    Raises:
        InputError: no such segment, or the segmentation lies under a non-linear transform.
    """
    box = box or Box.whole(geometryOfNode(volumeNode))
    mask = np.zeros(box.shape, np.uint8)
    held = _held(segmentationNode, segmentId, volumeNode)
    if held is None:
        return mask
    labelmap, place = held
    inside = place.intersect(box)
    if inside.voxels:
        values = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(place.shape)
        label = segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue()
        mask[inside.relative_to(box).slices] = values[inside.relative_to(place).slices] == label
    return mask


def regionOf(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Box | None:
    """A box outside which the segment has no voxels; not the smallest, but found without looking at them.

    Returns:
        None when the segment holds nothing on the volume's grid.

    Raises:
        InputError: as for `readMask`.
    """
    held = _held(segmentationNode, segmentId, volumeNode)
    if held is None:
        return None
    inside = held[1].intersect(Box.whole(geometryOfNode(volumeNode)))
    return inside if inside.voxels else None


@dataclass(frozen=True, eq=False)
class Content:
    """The voxels of a segment at some moment.

    Attributes:
        box: the smallest around them on the volume's grid; None when there are none.
        mask: uint8 on the box; of no voxel where there is none.
    """

    box: Box | None
    mask: np.ndarray

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Content) or self.box != other.box:
            return False
        return self.box is None or np.array_equal(self.mask, other.mask)


NOTHING = Content(None, np.zeros((0, 0, 0), np.uint8))


def contentOf(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Content:
    """What a segment holds now on the volume's grid; equal contents are the same voxels.

    Raises:
        InputError: as for `readMask`.
    """
    region = regionOf(segmentationNode, segmentId, volumeNode)
    if region is None:
        return NOTHING
    mask = readMask(segmentationNode, segmentId, volumeNode, region)
    held = Box.of_mask(mask)
    return NOTHING if held is None else Content(held.out_of(region), mask[held.slices])


def _held(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> tuple[slicer.vtkOrientedImageData, Box] | None:
    """The labelmap that holds a segment, and where it lies on the volume's grid; None when there is none."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if segment is None:
        raise InputError(
            "no-segment", f"'{segmentationNode.GetName()}' has no segment '{segmentId}'.", "Select a segment."
        )
    checkTransform(segmentationNode)
    if not segmentationNode.CreateBinaryLabelmapRepresentation():
        return None  # a segmentation without any voxels or surfaces
    labelmap = segment.GetRepresentation(LABELMAP)
    if labelmap is None or labelmap.GetNumberOfPoints() == 0:
        return None
    offset = _gridOffset(segmentationNode, labelmap, volumeNode)
    if offset is None:
        labelmap = _resampled(segmentationNode, labelmap, volumeNode)
        offset = np.zeros(3, dtype=int)
    start = np.asarray(labelmap.GetExtent()[::2]) + offset
    return labelmap, Box.between(start, start + labelmap.GetDimensions())


def takeFromOthers(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    *,
    visibleOnly: bool,
) -> list[str]:
    """Take the voxels of a segment away from the other segments, as the Segment Editor does when it overwrites.

    Args:
        segmentationNode: with the segments.
        segmentId: the one that keeps its voxels.
        volumeNode: gives the grid.
        visibleOnly: leave hidden segments as they are.

    Returns:
        The names of the segments that lost voxels.
    """
    segmentation = segmentationNode.GetSegmentation()
    taken = contentOf(segmentationNode, segmentId, volumeNode)
    losers: list[str] = []
    if taken.box is None:
        return losers
    for number in range(segmentation.GetNumberOfSegments()):
        other = segmentation.GetNthSegmentID(number)
        display = segmentationNode.GetDisplayNode()
        if other == segmentId or (visibleOnly and not display.GetSegmentVisibility(other)):
            continue
        region = regionOf(segmentationNode, other, volumeNode)
        shared = None if region is None else region.intersect(taken.box)
        if region is None or shared is None or not shared.voxels:
            continue
        lost = taken.mask[shared.relative_to(taken.box).slices] != 0
        present = readMask(segmentationNode, other, volumeNode, region)
        there = present[shared.relative_to(region).slices]
        if (there[lost] != 0).any():
            there[lost] = 0
            writeMask(present, segmentationNode, other, volumeNode, region)
            losers.append(segmentation.GetSegment(other).GetName())
    return losers


def keepDraft(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLSegmentationNode:
    """Keep what the segment holds now as the AI draft, in a hidden node that is saved with the scene.

    It lives apart from the segmentation, so that no editing mode can touch it and no export takes it along.

    Returns:
        The draft's segmentation node; the segment has the same ID there.
    """
    draftNode = _draftNode(segmentationNode)
    draft = draftNode.GetSegmentation()
    draft.CopyConversionParameters(segmentationNode.GetSegmentation())
    if draft.GetSegment(segmentId) is not None:
        draft.RemoveSegment(segmentId)
    draft.CopySegmentFromSegmentation(segmentationNode.GetSegmentation(), segmentId)
    return draftNode


def drawDraft(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    content: Content,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Make these voxels the AI draft of a segment, which itself is left as it is."""
    draftNode = _draftNode(segmentationNode)
    draftNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    if draftNode.GetSegmentation().GetSegment(segmentId) is None:
        draftNode.GetSegmentation().AddEmptySegment(segmentId, SEGMENT_NAME, COLOR)
    writeMask(content.mask, draftNode, segmentId, volumeNode, content.box)


def _draftNode(segmentationNode: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode:
    """The node for the AI draft; a new one where there is none."""
    draftNode = draftOf(segmentationNode)
    if draftNode is None:
        name = f"{segmentationNode.GetName()} AI draft"
        draftNode = addHiddenNode(segmentationNode.GetScene(), "vtkMRMLSegmentationNode", name)
        draftNode.CreateDefaultDisplayNodes()
        draftNode.SetDisplayVisibility(False)
        segmentationNode.SetNodeReferenceID(DRAFT_ROLE, draftNode.GetID())
    draftNode.SetAttribute(DRAFT_ROLE, "true")
    draftNode.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    return draftNode


def draftOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode | None:
    """The hidden node with the AI draft, or None."""
    return segmentationNode.GetNodeReference(DRAFT_ROLE)


def isEdited(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> bool:
    """True when a person has changed the segment since the AI wrote it, or drew it without AI."""
    present = contentOf(segmentationNode, segmentId, volumeNode)
    draftNode = draftOf(segmentationNode)
    if draftNode is None:
        return present.box is not None
    if draftNode.GetSegmentation().GetSegment(segmentId) is None:
        # A scene whose hidden files were not saved: nothing to compare with but what was said on the segment.
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        return tagOf(segment, "DICOM.SegmentAlgorithmType") != "AUTOMATIC"
    return present != contentOf(draftNode, segmentId, volumeNode)


def _extent(box: Box) -> tuple[int, int, int, int, int, int]:
    """VTK's extent, whose ends are included."""
    (i0, j0, k0), (i1, j1, k1) = box.start, box.stop
    return (i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)


def _gridOffset(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    labelmap: slicer.vtkOrientedImageData,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> np.ndarray | None:
    """Whole voxels along i, j, k from the labelmap's indices to the volume's; None when the grids differ."""
    labelmapToRas = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(labelmapToRas)
    volumeToRas = ijkToRas(geometryOfNode(volumeNode))
    if segmentationNode.GetTransformNodeID() != volumeNode.GetTransformNodeID():
        volumeToRas = _frameToFrame(volumeNode, segmentationNode) @ volumeToRas
    between = np.linalg.solve(volumeToRas, slicer.util.arrayFromVTKMatrix(labelmapToRas))
    offset = np.rint(between[:3, 3])
    lean = np.abs(between[:3, :3] - np.eye(3)) @ np.abs(labelmap.GetExtent()).reshape(3, 2).max(axis=1)
    if max(lean.max(), np.abs(between[:3, 3] - offset).max()) > SAME_GRID_VOXELS:
        return None
    return offset.astype(int)


def _resampled(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    labelmap: slicer.vtkOrientedImageData,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkOrientedImageData:
    """The labelmap on the volume's grid, nearest neighbour."""
    geometry = geometryOfNode(volumeNode)
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(_extent(Box.whole(geometry)))
    reference.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijkToRas(geometry)))
    toVolume = vtk.vtkTransform()
    toVolume.SetMatrix(slicer.util.vtkMatrixFromArray(_frameToFrame(segmentationNode, volumeNode)))
    resampled = slicer.vtkOrientedImageData()
    if not slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labelmap, reference, resampled, False, False, toVolume
    ):
        raise RuntimeError(f"'{segmentationNode.GetName()}' could not be resampled")
    return resampled


def _frameToFrame(node: slicer.vtkMRMLTransformableNode, otherNode: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """4x4 array from one node's own frame to another's, through the parent transforms of both."""
    return np.linalg.solve(transformToWorld(otherNode), transformToWorld(node))

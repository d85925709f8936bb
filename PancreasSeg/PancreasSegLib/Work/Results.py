"""A run's box and mask in the scene, with everything that makes them a result a person can go on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import slicer

from pancreasseg.core import Box
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.results import Segmentation
from pancreasseg.io.seg_nrrd import SEGMENT_NAME
from PancreasSegLib.Scene import RoiNodes, Segments
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Scene.Placement import placeBeside
from PancreasSegLib.Work import History


def showBox(parameters: Parameters, volumeNode: slicer.vtkMRMLScalarVolumeNode, box: Box) -> None:
    """Put the CT's ROI around a box; a new one where there is none."""
    if parameters.roiNode is None:
        parameters.roiNode = RoiNodes.addRoiNode(volumeNode.GetScene(), f"{volumeNode.GetName()} pancreas ROI")
    RoiNodes.setBox(parameters.roiNode, box, volumeNode)
    placeBeside(parameters.roiNode, volumeNode)


def writeSegmentation(
    parameters: Parameters,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentation: Segmentation,
    findings: Sequence[Finding],
    *,
    before: Segments.Content | None,
    placed: Box | None,
    beforeWrite: Callable[[object], bool] | None = None,
) -> None:
    """Write the mask with its draft, tags, box and findings.

    All at one go: were the event loop to run in between, a person could paint into the segment before it is the draft,
    or close the scene on half a result.

    Args:
        parameters: of the CT; they lead to the result afterwards.
        volumeNode: the CT.
        segmentation: the engine's result.
        findings: all remarks about it, from loading on.
        before: what the segment held when the run began; it is overwritten only if it still holds that.
        placed: where the run found the ROI, or put it; one that was dragged since stays where it is.
        beforeWrite: called with the segmentation node before it is overwritten; saves for undo, and answers False
            where it cannot: then a segment with voxels is left as it is and a new one is written.
    """
    History.leave(parameters)
    node, segmentId = _target(parameters, volumeNode, before, beforeWrite)
    Segments.writeMask(segmentation.mask, node, segmentId, volumeNode)
    Segments.keepDraft(node, segmentId)
    segment = node.GetSegmentation().GetSegment(segmentId)
    Segments.setAlgorithm(segment, "AUTOMATIC", f"{Segments.ALGORITHM_NAME} {segmentation.provenance.pipeline}")
    serious = any(finding.severity is Severity.SERIOUS for finding in findings)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segment, logic.Flagged if serious else logic.InProgress)
    parameters.segmentationNode, parameters.segmentId = node, segmentId
    if _isAt(parameters.roiNode, placed, volumeNode):
        showBox(parameters, volumeNode, segmentation.box)
    parameters.segmentedBox = segmentation.box
    parameters.result = {
        "findings": [finding.as_dict() for finding in findings],
        "timings": segmentation.timings,
        "provenance": asdict(segmentation.provenance),
    }
    History.keep(parameters)


def _target(
    parameters: Parameters,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    before: Segments.Content | None,
    beforeWrite: Callable[[object], bool] | None,
) -> tuple[slicer.vtkMRMLSegmentationNode, str]:
    """The segment to write: the one of the last run where nothing of a person's would be lost, else a new one."""
    node = parameters.segmentationNode
    if node is None or node.GetTransformNodeID() != volumeNode.GetTransformNodeID():
        node = Segments.addSegmentationNode(volumeNode, f"{volumeNode.GetName()} pancreas")
        return node, Segments.addPancreasSegment(node)
    undoable = beforeWrite is None or beforeWrite(node)
    if not parameters.hasSegment():
        return node, Segments.addPancreasSegment(node)
    present = Segments.contentOf(node, parameters.segmentId, volumeNode)
    touched = present != before  # edited while the run was going on
    if (touched or not undoable) and present.box is not None:
        return node, Segments.addPancreasSegment(node, name=f"{SEGMENT_NAME} (new run)")
    return node, parameters.segmentId


def _isAt(
    roiNode: slicer.vtkMRMLMarkupsROINode | None, box: Box | None, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> bool:
    """True when the ROI shows the box, or is not there at all."""
    if roiNode is None:
        return True
    try:
        return RoiNodes.boxOfRoi(roiNode, volumeNode) == box
    except InputError:
        return False

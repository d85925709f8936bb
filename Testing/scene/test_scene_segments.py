"""Masks as segments: exact in every direction, well labelled, and never at the cost of other work."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from Testing.helpers.builders import DIRECTIONS, aBendingTransform, aCt, aGeometry, aMask, aTransform

from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import Segments, VolumeNodes


@pytest.fixture
def aSegmentationNode(aVolumeNode):
    return Segments.addSegmentationNode(aVolumeNode, "CT pancreas")


@pytest.fixture
def aSegmentId(aSegmentationNode, aVolumeNode):
    segmentId = Segments.addPancreasSegment(aSegmentationNode)
    Segments.writeMask(aMask(aGeometry()), aSegmentationNode, segmentId, aVolumeNode)
    return segmentId


@pytest.mark.parametrize("transformed", [False, True], ids=["plain", "under a transform"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_mask_becomes_a_segment_and_reads_back_voxel_for_voxel(scene, name, transformed) -> None:
    geometry = aGeometry(DIRECTIONS[name])
    volumeNode = VolumeNodes.addVolumeNode(scene, aCt(geometry), "CT")
    if transformed:
        volumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    segmentationNode = Segments.addSegmentationNode(volumeNode, "S")
    segmentId = Segments.addPancreasSegment(segmentationNode)
    mask = aMask(geometry)
    Segments.writeMask(mask, segmentationNode, segmentId, volumeNode)
    np.testing.assert_array_equal(Segments.readMask(segmentationNode, segmentId, volumeNode), mask)
    np.testing.assert_array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode), mask
    )


def test_a_second_mask_replaces_the_first_completely(aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    second = np.zeros(aGeometry().shape, np.uint8)
    second[7:9, 14:16, 12:15] = 1
    Segments.writeMask(second, aSegmentationNode, aSegmentId, aVolumeNode)
    np.testing.assert_array_equal(Segments.readMask(aSegmentationNode, aSegmentId, aVolumeNode), second)


def test_an_empty_mask_empties_the_segment(aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    Segments.writeMask(np.zeros(aGeometry().shape, bool), aSegmentationNode, aSegmentId, aVolumeNode)
    assert not Segments.readMask(aSegmentationNode, aSegmentId, aVolumeNode).any()


def test_a_new_segment_reads_as_empty(aSegmentationNode, aVolumeNode) -> None:
    segmentId = Segments.addPancreasSegment(aSegmentationNode)
    assert not Segments.readMask(aSegmentationNode, segmentId, aVolumeNode).any()


def test_other_segments_keep_every_voxel(aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    tumourId = aSegmentationNode.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    tumour = np.roll(aMask(aGeometry()), 2, axis=2)
    Segments.writeMask(tumour, aSegmentationNode, tumourId, aVolumeNode)
    Segments.writeMask(np.ones(aGeometry().shape, bool), aSegmentationNode, aSegmentId, aVolumeNode)
    np.testing.assert_array_equal(Segments.readMask(aSegmentationNode, tumourId, aVolumeNode), tumour)


@pytest.mark.parametrize("spoil", ["shape", "segment"])
def test_what_slicer_would_silently_accept_is_refused(aSegmentationNode, aSegmentId, aVolumeNode, spoil) -> None:
    mask = aMask(aGeometry())
    with pytest.raises(ValueError, match="does not fit" if spoil == "shape" else "no segment"):
        Segments.writeMask(
            mask[1:] if spoil == "shape" else mask,
            aSegmentationNode,
            "nonsense" if spoil == "segment" else aSegmentId,
            aVolumeNode,
        )


def test_the_segment_says_what_it_is(aSegmentationNode, aSegmentId) -> None:
    segment = aSegmentationNode.GetSegmentation().GetSegment(aSegmentId)
    Segments.setAlgorithm(segment, "AUTOMATIC", "two-stage")
    assert segment.GetName() == "Pancreas"
    assert segment.GetTerminology().split("~")[2] == "SCT^15776009^Pancreas"
    assert segment.GetColor() == pytest.approx((249 / 255, 180 / 255, 111 / 255))
    tag = vtk.reference("")
    assert segment.GetTag("DICOM.SegmentAlgorithmType", tag)
    assert tag == "AUTOMATIC"
    assert segment.GetTag("DICOM.SegmentAlgorithmName", tag)
    assert tag == "two-stage"


def hasVoxelsForSlicersExporter(segmentationNode, segmentId: str) -> bool:
    """Slicer's DICOM SEG exporter, also behind Data > Export to DICOM, looks for voxels by this name alone."""
    labelmap = segmentationNode.GetSegmentation().GetSegment(segmentId).GetRepresentation("Binary labelmap")
    scalars = labelmap.GetPointData().GetArray("ImageScalars")
    return scalars is not None and scalars.GetRange()[1] > 0


def test_slicers_exporter_finds_the_voxels_of_whatever_is_written(aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    other = Segments.addPancreasSegment(aSegmentationNode, name="Tumour")
    Segments.writeMask(np.ones(aGeometry().shape, np.uint8), aSegmentationNode, other, aVolumeNode)
    Segments.takeFromOthers(aSegmentationNode, aSegmentId, aVolumeNode, visibleOnly=False)
    for segmentId in (aSegmentId, other):
        assert hasVoxelsForSlicersExporter(aSegmentationNode, segmentId)
    draft = Segments.keepDraft(aSegmentationNode, aSegmentId)
    assert hasVoxelsForSlicersExporter(draft, aSegmentId)


def test_the_segmentation_sits_beside_its_ct_and_under_its_transform(scene, aVolumeNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Abdomen")
    hierarchy.CreateItem(study, aVolumeNode)
    aVolumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    segmentationNode = Segments.addSegmentationNode(aVolumeNode, "S")
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(segmentationNode)) == study
    assert segmentationNode.GetTransformNodeID() == aVolumeNode.GetTransformNodeID()
    assert segmentationNode.GetNodeReferenceID(segmentationNode.GetReferenceImageGeometryReferenceRole()) == (
        aVolumeNode.GetID()
    )


def test_a_segment_on_another_grid_is_resampled_onto_the_volume(scene, aVolumeNode) -> None:
    fine = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(size=(80, 72, 100), spacing=(0.4, 0.375, 1.0))), "fine")
    segmentationNode = Segments.addSegmentationNode(fine, "reference")
    segmentId = Segments.addPancreasSegment(segmentationNode)
    mask = np.zeros((100, 72, 80), np.uint8)
    mask[20:61, 20:41, 20:41] = 1
    Segments.writeMask(mask, segmentationNode, segmentId, fine)
    expected = np.zeros(aGeometry().shape, np.uint8)
    expected[4:13, 10:21, 10:21] = 1
    np.testing.assert_array_equal(Segments.readMask(segmentationNode, segmentId, aVolumeNode), expected)


def test_a_segmentation_taken_out_of_the_transform_is_read_where_it_lies(scene, aSegmentationNode, aVolumeNode) -> None:
    segmentId = Segments.addPancreasSegment(aSegmentationNode)
    mask = aMask(aGeometry())
    Segments.writeMask(mask, aSegmentationNode, segmentId, aVolumeNode)
    shift = np.eye(4)
    shift[0, 3] = -3 * aGeometry().spacing[0]  # three voxels along i, which runs to the left
    aSegmentationNode.SetAndObserveTransformNodeID(aTransform(scene, matrix=shift).GetID())
    expected = np.roll(mask, 3, axis=2)
    np.testing.assert_array_equal(Segments.readMask(aSegmentationNode, segmentId, aVolumeNode), expected)


def test_a_bent_segmentation_is_refused(scene, aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    aSegmentationNode.SetAndObserveTransformNodeID(aBendingTransform(scene).GetID())
    with pytest.raises(InputError, match="non-linear"):
        Segments.readMask(aSegmentationNode, aSegmentId, aVolumeNode)


def test_a_missing_segment_is_refused(aSegmentationNode, aVolumeNode) -> None:
    with pytest.raises(InputError, match="no segment"):
        Segments.readMask(aSegmentationNode, "gone", aVolumeNode)


def test_the_draft_is_hidden_and_stays_while_the_segment_is_edited(aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    drawn = Segments.readMask(aSegmentationNode, aSegmentId, aVolumeNode)
    draftNode = Segments.keepDraft(aSegmentationNode, aSegmentId)
    assert draftNode.GetHideFromEditors()
    assert not draftNode.GetDisplayVisibility()
    assert not Segments.isEdited(aSegmentationNode, aSegmentId, aVolumeNode)
    edited = drawn.copy()
    edited[1, 1, 1] = 1
    Segments.writeMask(edited, aSegmentationNode, aSegmentId, aVolumeNode)
    assert Segments.isEdited(aSegmentationNode, aSegmentId, aVolumeNode)
    np.testing.assert_array_equal(Segments.readMask(draftNode, aSegmentId, aVolumeNode), drawn)
    assert Segments.keepDraft(aSegmentationNode, aSegmentId) is draftNode
    np.testing.assert_array_equal(Segments.readMask(draftNode, aSegmentId, aVolumeNode), edited)


def test_a_segment_drawn_without_ai_counts_as_edited_and_an_empty_one_does_not(aSegmentationNode, aVolumeNode) -> None:
    segmentId = Segments.addPancreasSegment(aSegmentationNode)
    assert not Segments.isEdited(aSegmentationNode, segmentId, aVolumeNode)
    Segments.writeMask(aMask(aGeometry()), aSegmentationNode, segmentId, aVolumeNode)
    assert Segments.isEdited(aSegmentationNode, segmentId, aVolumeNode)


def test_undo_brings_back_what_was_there_before_a_write(aSegmentationNode, aSegmentId, aVolumeNode) -> None:
    before = Segments.readMask(aSegmentationNode, aSegmentId, aVolumeNode)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(aSegmentationNode.GetSegmentation())
    history.SaveState()
    Segments.writeMask(np.ones(aGeometry().shape, bool), aSegmentationNode, aSegmentId, aVolumeNode)
    assert history.RestorePreviousState()
    np.testing.assert_array_equal(Segments.readMask(aSegmentationNode, aSegmentId, aVolumeNode), before)

"""The box and its ROI node: exact both ways, and what is refused."""

import itertools

import numpy as np
import pytest
import slicer.util
import vtk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Testing.helpers.builders import DIRECTIONS, aBendingTransform, aCt, aGeometry, aTransform, rotation

from pancreasseg.core import Box
from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import RoiNodes, VolumeNodes

BOX = Box((5, 11, 3), (29, 20, 12))
SIZE = (40, 36, 20)


@pytest.fixture
def aRoiNode(scene, aVolumeNode):
    roiNode = RoiNodes.addRoiNode(scene, "ROI")
    RoiNodes.setBox(roiNode, BOX, aVolumeNode)
    return roiNode


def corners_in_the_world(roiNode) -> np.ndarray:
    """The ROI's eight corners as VTK transforms them, independent of the code under test."""
    half = np.asarray(roiNode.GetSize()) / 2
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    matrix = roiNode.GetObjectToWorldMatrix()
    return np.array([matrix.MultiplyPoint((*(half * sign), 1.0))[:3] for sign in signs])


def faces_in_the_world(volumeNode, box: Box) -> np.ndarray:
    """The eight outer corners of the box's voxels, through the volume node's own matrix and transform."""
    ijkToRas = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRas)
    toWorld = vtk.vtkGeneralTransform()
    if volumeNode.GetParentTransformNode():
        volumeNode.GetParentTransformNode().GetTransformToWorld(toWorld)
    ends = [(a - 0.5, b - 0.5) for a, b in zip(box.start, box.stop, strict=True)]
    corners = [(*corner, 1.0) for corner in itertools.product(*ends)]
    return np.array([toWorld.TransformPoint(ijkToRas.MultiplyPoint(corner)[:3]) for corner in corners])


def as_a_set(points: np.ndarray) -> list:
    return sorted(map(tuple, np.round(points, 3) + 0.0))


@pytest.mark.parametrize("transformed", [False, True], ids=["plain", "under a transform"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_roi_lies_on_the_outer_faces_of_the_box_and_reads_back_as_it(scene, name, transformed) -> None:
    volumeNode = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(DIRECTIONS[name])), "CT")
    if transformed:
        volumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    roiNode = RoiNodes.addRoiNode(scene, "ROI")
    RoiNodes.setBox(roiNode, BOX, volumeNode)
    assert as_a_set(corners_in_the_world(roiNode)) == as_a_set(faces_in_the_world(volumeNode, BOX))
    assert RoiNodes.boxOfRoi(roiNode, volumeNode) == BOX


boxes = st.tuples(*[st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in SIZE]).filter(
    lambda ends: all(a < b for a, b in ends)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ends=boxes,
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 7)] * 3),
    mirror=st.sampled_from([1.0, -1.0]),
)
def test_every_box_in_every_direction_makes_the_round_trip(headless, ends, angles, spacing, mirror) -> None:
    headless.clear()
    axes = rotation(*angles) @ np.diag([1.0, mirror, 1.0])
    volumeNode = VolumeNodes.addVolumeNode(headless.scene, aCt(aGeometry(axes, SIZE, spacing)), "CT")
    roiNode = RoiNodes.addRoiNode(headless.scene, "ROI")
    box = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    RoiNodes.setBox(roiNode, box, volumeNode)
    assert RoiNodes.boxOfRoi(roiNode, volumeNode) == box


def test_a_dragged_face_takes_in_the_voxels_whose_centres_it_passes(aRoiNode, aVolumeNode) -> None:
    step = aVolumeNode.GetSpacing()[0]
    x, y, z = aRoiNode.GetSize()
    right, anterior, superior = aRoiNode.GetCenter()
    grow = 2.6 * step
    aRoiNode.SetSize(x + grow, y, z)
    # Index axis i of the axial CT runs to the patient's left: minus x in RAS.
    aRoiNode.SetCenter([right - grow / 2, anterior, superior])
    assert RoiNodes.boxOfRoi(aRoiNode, aVolumeNode) == Box(BOX.start, (BOX.stop[0] + 3, *BOX.stop[1:]))


def test_a_roi_that_reaches_beyond_the_volume_is_clipped(aRoiNode, aVolumeNode) -> None:
    RoiNodes.setBox(aRoiNode, Box((-4, 30, 3), (6, 99, 12)), aVolumeNode)
    assert RoiNodes.boxOfRoi(aRoiNode, aVolumeNode) == Box((0, 30, 3), (6, 36, 12))


def test_a_roi_drawn_in_the_world_fits_a_volume_under_a_shift(scene, aVolumeNode) -> None:
    shift = np.eye(4)
    shift[:3, 3] = [10, 20, 30]
    roiNode = RoiNodes.addRoiNode(scene, "ROI")
    aVolumeNode.SetAndObserveTransformNodeID(aTransform(scene, matrix=shift).GetID())
    RoiNodes.setBox(roiNode, BOX, aVolumeNode)
    world = np.array(roiNode.GetCenterWorld())
    roiNode.SetAndObserveTransformNodeID(None)
    roiNode.SetCenter(world)
    assert RoiNodes.boxOfRoi(roiNode, aVolumeNode) == BOX


def test_handles_move_faces_and_cannot_rotate(aRoiNode) -> None:
    display = aRoiNode.GetDisplayNode()
    assert display.GetHandlesInteractive()
    assert not display.GetRotationHandleVisibility()
    assert display.GetFillOpacity() == pytest.approx(RoiNodes.FILL_OPACITY)


def test_the_roi_is_changed_in_one_step(aRoiNode, aVolumeNode) -> None:
    seen = []
    aRoiNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(tuple(aRoiNode.GetSize())))
    RoiNodes.setBox(aRoiNode, Box((1, 2, 3), (9, 12, 13)), aVolumeNode)
    assert set(seen) == {tuple(Box((1, 2, 3), (9, 12, 13)).extent_mm(aGeometry()))}


def rotated(roiNode):
    matrix = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix())
    matrix[:3, :3] = rotation(0, 0, 15) @ matrix[:3, :3]
    roiNode.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))


def far_away(roiNode):
    roiNode.SetCenter([1000.0, 0.0, 0.0])


def bent(roiNode):
    roiNode.SetAndObserveTransformNodeID(aBendingTransform(roiNode.GetScene()).GetID())


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (rotated, "roi-rotated"),
        (far_away, "roi-outside-volume"),
        (bent, "non-linear-transform"),
        (lambda roiNode: roiNode.SetSize(0, 0, 0), "roi-empty"),
        (lambda roiNode: roiNode.SetSize(30, 0, 20), "roi-too-small"),
        (lambda roiNode: roiNode.SetSize(30, 0.01, 20), "roi-too-small"),
        (lambda roiNode: roiNode.SetSize(-30, 20, 20), "roi-inverted"),
        (lambda roiNode: roiNode.SetSize(float("nan"), 20, 20), "roi-inverted"),
        (lambda roiNode: roiNode.RemoveAllControlPoints(), "roi-empty"),
    ],
    ids=["rotated", "outside", "bent", "zero", "flat", "thin", "inverted", "not a number", "not placed"],
)
def test_what_is_no_box_is_refused_with_a_sentence_and_a_way_out(aRoiNode, aVolumeNode, spoil, code) -> None:
    spoil(aRoiNode)
    with pytest.raises(InputError) as refusal:
        RoiNodes.boxOfRoi(aRoiNode, aVolumeNode)
    assert refusal.value.code == code
    assert refusal.value.hint


def test_without_a_roi_there_is_a_sentence(aVolumeNode) -> None:
    with pytest.raises(InputError, match="No ROI is selected"):
        RoiNodes.boxOfRoi(None, aVolumeNode)


def test_a_rotated_roi_can_be_aligned_and_then_holds_all_it_held(aRoiNode, aVolumeNode) -> None:
    rotated(aRoiNode)
    before = corners_in_the_world(aRoiNode)
    box = RoiNodes.alignToVolume(aRoiNode, aVolumeNode)
    after = corners_in_the_world(aRoiNode)
    assert RoiNodes.boxOfRoi(aRoiNode, aVolumeNode) == box
    assert (after.min(axis=0) <= before.min(axis=0) + 1e-3).all()
    assert (after.max(axis=0) >= before.max(axis=0) - 1e-3).all()
    assert box.voxels < 3 * BOX.voxels

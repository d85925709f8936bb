"""A run in pieces: the CT on its way, the result on its way back, and what can happen between any two of them."""

import numpy as np
import pytest
import slicer.util
import vtk
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.fakes import FakeClient
from Testing.helpers.scene_runs import edit, expected_mask, nodes_of, present_mask, visible_segmentations

from pancreasseg.core.errors import Cancelled, InputError, RunError
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Workflow import Workflow


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Three slices of the test CT a block."""
    i, j, _k = aGeometry().size
    monkeypatch.setattr("PancreasSegLib.Work.Run.BLOCK_BYTES", 3 * i * j * 2)


@pytest.fixture
def client():
    return FakeClient()


@pytest.fixture
def workflow(client):
    workflow = Workflow(client)
    workflow.measureResults = False
    return workflow


def send(workflow: Workflow, client: FakeClient, blocks: int) -> None:
    """Poll until so many blocks are sent."""
    while len(client.uploads[-1].blocks) < blocks:
        assert workflow.poll() is None


def arrive(workflow: Workflow, client: FakeClient) -> None:
    """Poll until the segmentation is here and nothing of it is in the scene yet."""
    before = len(client.requests)
    while not (workflow.eager and len(client.requests) > before and client.requests[-1][0] == "segment"):
        assert workflow.poll() is None


def finish(workflow: Workflow):
    """Poll until the run is over."""
    while True:
        outcome = workflow.poll()
        if outcome is not None:
            return outcome


def algorithm(node, segmentId: str) -> str:
    value = vtk.mutable("")
    node.GetSegmentation().GetSegment(segmentId).GetTag("DICOM.SegmentAlgorithmType", value)
    return value.get()


def test_a_ct_is_sent_one_block_a_poll_and_arrives_whole(workflow, client, aVolumeNode) -> None:
    workflow.startSegment(aVolumeNode)
    sent = []
    while not client.requests:
        workflow.poll()
        sent.append(sum(len(block) for block in client.uploads[0].blocks))
    assert sent == [3, 6, 9, 12, 15, 18, 20]
    np.testing.assert_array_equal(client.array, slicer.util.arrayFromVolume(aVolumeNode))
    assert client.array.dtype == np.int16


@pytest.mark.parametrize(
    ("kind", "expected"), [(np.int32, np.int16), (np.uint16, np.int16), (np.float64, np.float32), (np.uint8, np.int16)]
)
def test_every_block_has_the_type_of_the_whole(workflow, client, aVolumeNode, kind, expected) -> None:
    hu = np.abs(slicer.util.arrayFromVolume(aVolumeNode)).astype(kind)
    slicer.util.updateVolumeFromArray(aVolumeNode, hu)
    finish_after_start(workflow, aVolumeNode)
    assert {block.dtype for block in client.uploads[0].blocks} == {np.dtype(expected)}
    np.testing.assert_array_equal(client.array, hu)


def finish_after_start(workflow: Workflow, volumeNode):
    workflow.startSegment(volumeNode)
    return finish(workflow)


def test_whole_numbers_beyond_int16_are_sent_as_float32(workflow, client, aVolumeNode) -> None:
    hu = slicer.util.arrayFromVolume(aVolumeNode).astype(np.int32)
    hu[-1, -1, -1] = 40_000  # in the last block only
    slicer.util.updateVolumeFromArray(aVolumeNode, hu)
    finish_after_start(workflow, aVolumeNode)
    assert client.array.dtype == np.float32
    np.testing.assert_array_equal(client.array, hu)


def test_the_scene_shows_nothing_of_a_result_or_all_of_it(scene, workflow, client, aVolumeNode) -> None:
    """After no poll is there a segment without voxels, draft, tag, box and findings."""
    workflow.startSegment(aVolumeNode)
    outcome, polls = None, 0
    while outcome is None:
        outcome = workflow.poll()
        polls += 1
        for node in visible_segmentations(scene):
            parameters = Parameters.forVolume(aVolumeNode)
            assert parameters.segmentationNode is node
            assert present_mask(parameters).any()
            assert not Segments.isEdited(node, parameters.segmentId, aVolumeNode)
            assert algorithm(node, parameters.segmentId) == "AUTOMATIC"
            assert parameters.segmentedBox == client.box()
            assert "findings" in parameters.result
    assert polls > 10
    assert visible_segmentations(scene)


REMOVALS = {
    "the CT is removed": (lambda scene, node: scene.RemoveNode(node), RunError, "volume-removed"),
    "the scene is closed": (lambda scene, _node: scene.Clear(False), RunError, "scene-closed"),
    "the CT is changed": (lambda _scene, node: node.SetSpacing(1, 1, 1), InputError, "volume-changed"),
    "the CT is emptied": (lambda _scene, node: node.SetAndObserveImageData(None), InputError, "no-voxels"),
}


@pytest.mark.parametrize("moment", ["before the first block", "between two blocks", "before the result is written"])
@pytest.mark.parametrize("what", REMOVALS)
def test_what_happens_between_two_pieces_leaves_no_half_result(
    scene, workflow, client, aVolumeNode, what, moment
) -> None:
    spoil, kind, code = REMOVALS[what]
    workflow.startSegment(aVolumeNode)
    if moment == "between two blocks":
        send(workflow, client, 2)
    elif moment == "before the result is written":
        arrive(workflow, client)
    spoil(scene, aVolumeNode)
    with pytest.raises(kind) as failure:
        finish(workflow)
    assert failure.value.code == code
    assert not workflow.running
    assert nodes_of(scene, "vtkMRMLSegmentationNode") == []
    assert client.uploads[0].discarded == (moment != "before the result is written")
    other = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(), seed=7), "another CT")
    np.testing.assert_array_equal(
        present_mask(finish_after_start(workflow, other).parameters), expected_mask(other, client.box())
    )


@pytest.mark.parametrize("moment", ["between two blocks", "before the result is written"])
def test_cancel_between_two_pieces_leaves_the_scene_as_it_was(scene, workflow, client, aVolumeNode, moment) -> None:
    workflow.startSegment(aVolumeNode)
    if moment == "between two blocks":
        send(workflow, client, 2)
    else:
        arrive(workflow, client)
    workflow.cancel()
    with pytest.raises(Cancelled):
        finish(workflow)
    assert visible_segmentations(scene) == []
    assert finish_after_start(workflow, aVolumeNode).segmentation is not None


def test_cancel_is_too_late_once_the_result_is_in_the_scene(scene, workflow, client, aVolumeNode) -> None:
    workflow.startSegment(aVolumeNode)
    while not visible_segmentations(scene):
        assert workflow.poll() is None
    workflow.cancel()
    assert finish(workflow).segmentation is not None


@pytest.mark.parametrize("what", ["the CT is removed", "the scene is closed"])
def test_what_happens_after_the_result_is_written_is_no_failure(scene, workflow, client, aVolumeNode, what) -> None:
    workflow.startSegment(aVolumeNode)
    while not visible_segmentations(scene):
        assert workflow.poll() is None
    REMOVALS[what][0](scene, aVolumeNode)
    outcome = finish(workflow)
    assert outcome.parameters.volumeNode is None
    assert not workflow.running


def test_what_is_painted_when_the_result_has_arrived_stays(workflow, client, aVolumeNode) -> None:
    parameters = finish_after_start(workflow, aVolumeNode).parameters
    paintedId = parameters.segmentId
    workflow.startSegment(aVolumeNode)
    arrive(workflow, client)
    painted = edit(parameters)
    parameters = finish(workflow).parameters
    assert parameters.segmentId != paintedId
    np.testing.assert_array_equal(Segments.readMask(parameters.segmentationNode, paintedId, aVolumeNode), painted)
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_a_segmentation_removed_when_the_result_has_arrived_is_made_again(scene, workflow, client, aVolumeNode) -> None:
    parameters = finish_after_start(workflow, aVolumeNode).parameters
    workflow.startSegment(aVolumeNode)
    arrive(workflow, client)
    scene.RemoveNode(parameters.segmentationNode)
    parameters = finish(workflow).parameters
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_the_state_for_undo_is_saved_and_the_rest_written_in_the_same_piece(client, aVolumeNode) -> None:
    calls = []
    workflow = Workflow(
        client, beforeWrite=lambda _node: calls.append("saved") or True, afterWrite=lambda _p: calls.append("written")
    )
    workflow.measureResults = False
    finish_after_start(workflow, aVolumeNode)
    workflow.startSegment(aVolumeNode)
    arrive(workflow, client)
    assert calls == ["written"]
    workflow.poll()
    assert calls == ["written", "saved", "written"]

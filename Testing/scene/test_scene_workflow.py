"""A run from volume node to results, and everything that can happen to the scene in the middle of it."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from Testing.helpers.builders import DIRECTIONS, aBendingTransform, aCt, aGeometry, aTransform
from Testing.helpers.fakes import FakeClient
from Testing.helpers.scene_runs import edit, expected_mask, nodes_of, present_mask, visible_segmentations

from pancreasseg.core import Box
from pancreasseg.core.errors import Cancelled, InputError, PancreasSegError, RunError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.setup import Setup
from PancreasSegLib.Scene import RoiNodes, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Workflow import Workflow


@pytest.fixture
def client():
    return FakeClient()


@pytest.fixture
def workflow(client):
    return Workflow(client)


def until_the_end(workflow: Workflow):
    for _ in range(20):
        outcome = workflow.poll()
        if outcome is not None:
            return outcome
    raise AssertionError("the run does not end")


# What a run leaves in the scene --------------------------------------------------------------------------------------


@pytest.mark.parametrize("transformed", [False, True], ids=["plain", "under a transform"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_one_call_brings_box_segment_and_table(scene, workflow, client, name, transformed) -> None:
    volumeNode = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(DIRECTIONS[name])), "CT")
    if transformed:
        volumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    outcome = workflow.run(volumeNode)
    parameters = outcome.parameters
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(volumeNode, client.box()))
    assert RoiNodes.boxOfRoi(parameters.roiNode, volumeNode) == client.box()
    assert not parameters.isStale()
    for node in (parameters.roiNode, parameters.segmentationNode):
        assert node.GetTransformNodeID() == volumeNode.GetTransformNodeID()
    assert parameters.tableNode.GetNumberOfRows() == len(outcome.measurements) > 0
    assert client.geometry == aGeometry(DIRECTIONS[name])


def test_voxels_of_the_segment_lie_in_the_world_where_the_ct_has_them(workflow, client, anObliqueVolumeNode) -> None:
    """Independent of the library: labelmap and CT through VTK's own matrices and transforms."""
    parameters = workflow.run(anObliqueVolumeNode).parameters
    node = parameters.segmentationNode
    labelmap = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(parameters.segmentId, labelmap)
    toWorld = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(toWorld)
    fromWorld = vtk.vtkGeneralTransform()
    anObliqueVolumeNode.GetParentTransformNode().GetTransformFromWorld(fromWorld)
    imageToRas, rasToIjk = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(imageToRas)
    anObliqueVolumeNode.GetRASToIJKMatrix(rasToIjk)
    i0, i1, j0, j1, k0, k1 = labelmap.GetExtent()
    expected = expected_mask(anObliqueVolumeNode, client.box())
    found = 0
    for k in range(k0, k1 + 1):
        for j in range(j0, j1 + 1):
            for i in range(i0, i1 + 1):
                if labelmap.GetScalarComponentAsDouble(i, j, k, 0) == 0:
                    continue
                world = toWorld.TransformPoint(imageToRas.MultiplyPoint((i, j, k, 1.0))[:3])
                index = rasToIjk.MultiplyPoint((*fromWorld.TransformPoint(world), 1.0))[:3]
                np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
                a, b, c = (int(n) for n in np.rint(index))
                assert expected[c, b, a] == 1
                found += 1
    assert found == expected.sum() > 0


def test_locating_moves_the_box_and_makes_no_segment(scene, workflow, client, aVolumeNode) -> None:
    outcome = workflow.locate(aVolumeNode)
    assert RoiNodes.boxOfRoi(outcome.parameters.roiNode, aVolumeNode) == client.box()
    assert visible_segmentations(scene) == []
    assert [name for name, _ in client.requests] == ["load", "localize"]


def test_a_moved_box_is_segmented_without_loading_or_locating_again(workflow, client, aVolumeNode) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    moved = Box((2, 3, 1), (15, 20, 9))
    RoiNodes.setBox(parameters.roiNode, moved, aVolumeNode)
    assert parameters.isStale()
    client.requests.clear()
    workflow.run(aVolumeNode, inRoi=True)
    assert client.requests == [("segment", moved)]
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, moved))
    assert not parameters.isStale()


def test_a_box_that_the_engine_grew_shows_in_the_roi(workflow, client, aVolumeNode) -> None:
    client.grow = 2
    parameters = workflow.run(aVolumeNode).parameters
    grown = client.box().pad([2] * 3, [2] * 3)
    assert RoiNodes.boxOfRoi(parameters.roiNode, aVolumeNode) == grown
    assert not parameters.isStale()


def test_changed_voxels_are_loaded_again(workflow, client, aVolumeNode) -> None:
    workflow.run(aVolumeNode)
    slicer.util.arrayFromVolume(aVolumeNode)[:] += 40
    slicer.util.arrayFromVolumeModified(aVolumeNode)
    parameters = workflow.run(aVolumeNode).parameters
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_the_choices_of_the_ct_reach_the_engine(workflow, client, aVolumeNode) -> None:
    parameters = Parameters.forVolume(aVolumeNode)
    parameters.pipeline, parameters.model, parameters.device = "fast", "pancreas-ct", "cpu"
    parameters.marginMm = 12
    workflow.run(aVolumeNode)
    asked = dict(client.requests)["localize"]
    assert asked == Setup("fast", "pancreas-ct", "cpu", "auto", {"margin_mm": 12.0})


def test_the_margin_is_asked_for_only_where_the_pipeline_has_one(workflow, aVolumeNode) -> None:
    parameters = Parameters.forVolume(aVolumeNode)
    parameters.pipeline, parameters.marginMm = "single-stage", 25
    workflow.run(aVolumeNode)
    assert dict(workflow.client.requests)["localize"].options == {}


def test_without_a_margin_of_the_persons_the_model_keeps_its_own(workflow, aVolumeNode) -> None:
    workflow.run(aVolumeNode)
    assert dict(workflow.client.requests)["localize"].options == {}


def test_the_workers_description_comes_through_the_same_poll(workflow) -> None:
    answers = []
    workflow.onDescribed = answers.append
    workflow.describe()
    assert workflow.describing
    workflow.poll()
    assert answers[0]["device"]["name"] == "Fake device"
    assert not workflow.describing


def test_a_serious_finding_flags_the_segment(workflow, client, aVolumeNode) -> None:
    client.findings = (Finding("no-pancreas", Severity.SERIOUS, "No pancreas was found."),)
    outcome = workflow.run(aVolumeNode)
    segment = outcome.parameters.segmentationNode.GetSegmentation().GetSegment(outcome.parameters.segmentId)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentStatus(segment) == logic.Flagged
    assert client.findings[0] in outcome.findings
    assert outcome.parameters.result["findings"][0]["code"] == "no-pancreas"


def test_a_transform_that_stretches_the_ct_is_remarked_upon(scene, workflow, aVolumeNode) -> None:
    aVolumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    assert workflow.run(aVolumeNode).findings == ()
    stretched = np.diag([1.0, 1.1, 1.0, 1.0])
    aVolumeNode.SetAndObserveTransformNodeID(aTransform(scene, matrix=stretched).GetID())
    (finding,) = workflow.run(aVolumeNode).findings
    assert finding.code == "stretched-by-transform"
    assert finding.number == pytest.approx(0.1)


def test_progress_reaches_the_listener(client, aVolumeNode) -> None:
    updates = []
    Workflow(client, onProgress=updates.append).run(aVolumeNode)
    assert [update.stage for update in updates] == ["load", "localize", "segment"]


def test_two_cts_keep_their_own_results(scene, workflow, client) -> None:
    first = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(), seed=1), "first")
    second = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(DIRECTIONS["sagittal"]), seed=5), "second")
    one = workflow.run(first).parameters
    two = workflow.run(second).parameters
    again = workflow.run(first).parameters
    assert again.node is one.node is not two.node
    assert one.segmentationNode is not two.segmentationNode
    assert len(visible_segmentations(scene)) == 2
    np.testing.assert_array_equal(present_mask(one), expected_mask(first, client.box()))
    np.testing.assert_array_equal(present_mask(two), expected_mask(second, client.box()))


def test_a_second_run_writes_the_same_segment(scene, workflow, aVolumeNode) -> None:
    first = workflow.run(aVolumeNode).parameters
    nodes = scene.GetNumberOfNodes()
    second = workflow.run(aVolumeNode).parameters
    assert second.segmentId == first.segmentId
    assert scene.GetNumberOfNodes() == nodes


# Hand work is never lost ---------------------------------------------------------------------------------------------


def test_an_edited_segment_is_replaced_only_with_consent(workflow, client, aVolumeNode) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    edited = edit(parameters)
    with pytest.raises(InputError) as refusal:
        workflow.run(aVolumeNode)
    assert refusal.value.code == "segment-edited"
    np.testing.assert_array_equal(present_mask(parameters), edited)
    workflow.run(aVolumeNode, replaceEdited=True)
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_undo_brings_back_the_segment_from_before_the_run(client, aVolumeNode) -> None:
    history = slicer.vtkSegmentationHistory()

    def save(segmentationNode) -> bool:
        history.SetSegmentation(segmentationNode.GetSegmentation())
        return history.SaveState()

    workflow = Workflow(client, beforeWrite=save)
    parameters = workflow.run(aVolumeNode).parameters
    edited = edit(parameters)
    workflow.run(aVolumeNode, replaceEdited=True)
    assert history.RestorePreviousState()
    np.testing.assert_array_equal(present_mask(parameters), edited)


def test_where_undo_is_impossible_the_result_goes_beside_what_is_there(client, aVolumeNode) -> None:
    workflow = Workflow(client, beforeWrite=lambda _segmentationNode: False)
    parameters = workflow.run(aVolumeNode).parameters
    first, edited = parameters.segmentId, edit(parameters)
    workflow.run(aVolumeNode, replaceEdited=True)
    assert parameters.segmentId != first
    np.testing.assert_array_equal(Segments.readMask(parameters.segmentationNode, first, aVolumeNode), edited)
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


@pytest.mark.parametrize("consent", [False, True])
def test_what_is_painted_during_a_run_stays_and_the_result_goes_beside_it(
    workflow, client, aVolumeNode, consent
) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    paintedId = parameters.segmentId
    client.held = True
    workflow.startSegment(aVolumeNode, replaceEdited=consent)
    edited = edit(parameters)
    client.held = False
    parameters = until_the_end(workflow).parameters
    assert parameters.segmentId != paintedId
    np.testing.assert_array_equal(Segments.readMask(parameters.segmentationNode, paintedId, aVolumeNode), edited)
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_a_box_dragged_during_a_run_stays_where_the_person_put_it(workflow, client, aVolumeNode) -> None:
    workflow.startSegment(aVolumeNode)
    while Parameters.forVolume(aVolumeNode).roiNode is None:
        client.held = False
        assert workflow.poll() is None
        client.held = True
    dragged = Box((1, 1, 1), (9, 9, 9))
    parameters = Parameters.forVolume(aVolumeNode)
    RoiNodes.setBox(parameters.roiNode, dragged, aVolumeNode)
    client.held = False
    until_the_end(workflow)
    assert RoiNodes.boxOfRoi(parameters.roiNode, aVolumeNode) == dragged
    assert parameters.isStale()


# The scene changes in the middle of a run ----------------------------------------------------------------------------


def test_deleting_the_ct_ends_the_run_with_a_sentence(scene, workflow, client, aVolumeNode) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    scene.RemoveNode(aVolumeNode)
    with pytest.raises(RunError) as failure:
        until_the_end(workflow)
    assert failure.value.code == "volume-removed"
    assert not workflow.running
    assert visible_segmentations(scene) == []


def test_closing_the_scene_ends_the_run_and_the_next_one_works(scene, workflow, client, aVolumeNode) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    scene.Clear(False)
    with pytest.raises(RunError) as failure:
        until_the_end(workflow)
    assert failure.value.code == "scene-closed"
    volumeNode = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(), seed=7), "CT")
    parameters = workflow.run(volumeNode).parameters
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(volumeNode, client.box()))


def test_a_late_answer_of_a_run_that_was_given_up_touches_nothing(scene, workflow, client, aVolumeNode) -> None:
    client.held = True
    client.cancel = lambda request=None: None  # an engine deep in a patch
    workflow.startLocate(aVolumeNode)
    scene.Clear(False)
    with pytest.raises(RunError):
        workflow.poll()
    nodes = scene.GetNumberOfNodes()
    client.held = False
    assert workflow.poll() is None
    assert scene.GetNumberOfNodes() == nodes


@pytest.mark.parametrize("role", ["roiNode", "segmentationNode", "tableNode"])
def test_deleting_a_result_node_during_a_run_brings_a_new_one(scene, workflow, client, aVolumeNode, role) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    old = getattr(parameters, role)
    client.held = True
    workflow.startSegment(aVolumeNode)
    scene.RemoveNode(old)
    client.held = False
    parameters = until_the_end(workflow).parameters
    assert getattr(parameters, role) is not None
    assert getattr(parameters, role) is not old
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_a_segment_removed_during_a_run_is_made_again(workflow, client, aVolumeNode) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    client.held = True
    workflow.startSegment(aVolumeNode)
    parameters.segmentationNode.GetSegmentation().RemoveSegment(parameters.segmentId)
    client.held = False
    until_the_end(workflow)
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_a_segment_renamed_during_a_run_keeps_its_new_name(workflow, client, aVolumeNode) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    client.held = True
    workflow.startSegment(aVolumeNode)
    parameters.segmentationNode.GetSegmentation().GetSegment(parameters.segmentId).SetName("Bauchspeicheldrüse")
    client.held = False
    until_the_end(workflow)
    segmentation = parameters.segmentationNode.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert segmentation.GetSegment(parameters.segmentId).GetName() == "Bauchspeicheldrüse"


def test_a_ct_that_changed_during_a_run_is_not_given_a_stale_mask(scene, workflow, client, aVolumeNode) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    aVolumeNode.SetSpacing(1, 1, 1)
    client.held = False
    with pytest.raises(InputError) as refusal:
        until_the_end(workflow)
    assert refusal.value.code == "volume-changed"
    assert visible_segmentations(scene) == []


def bend(scene, volumeNode) -> None:
    volumeNode.SetAndObserveTransformNodeID(aBendingTransform(scene).GetID())


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda scene, volumeNode: volumeNode.SetAndObserveImageData(None), "no-voxels"),
        (lambda scene, volumeNode: scene.RemoveNode(Parameters.forVolume(volumeNode).node), "no-volume"),
        (bend, "non-linear-transform"),
    ],
    ids=["voxels taken away", "parameters removed", "bent"],
)
def test_a_ct_spoilt_during_a_run_is_a_sentence_and_the_next_run_works(
    scene, workflow, client, aVolumeNode, spoil, code
) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    spoil(scene, aVolumeNode)
    client.held = False
    with pytest.raises(InputError) as refusal:
        until_the_end(workflow)
    assert refusal.value.code == code
    other = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(), seed=7), "another CT")
    np.testing.assert_array_equal(present_mask(workflow.run(other).parameters), expected_mask(other, client.box()))


def test_a_mistake_while_writing_leaves_the_workflow_ready(workflow, client, aVolumeNode, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Segments, "writeMask", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            workflow.run(aVolumeNode)
    assert not workflow.running
    np.testing.assert_array_equal(
        present_mask(workflow.run(aVolumeNode).parameters), expected_mask(aVolumeNode, client.box())
    )


def test_a_ct_moved_under_a_transform_during_a_run_takes_results_along(scene, workflow, client, aVolumeNode) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    aVolumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    client.held = False
    parameters = until_the_end(workflow).parameters
    assert parameters.segmentationNode.GetTransformNodeID() == aVolumeNode.GetTransformNodeID()
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


# Errors, cancel, double click ----------------------------------------------------------------------------------------


def test_a_second_click_while_running_is_refused(workflow, client, aVolumeNode) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    with pytest.raises(RunError) as refusal:
        workflow.startSegment(aVolumeNode)
    assert refusal.value.code == "busy"
    client.held = False
    until_the_end(workflow)


def test_cancel_ends_the_run_and_leaves_the_scene_as_it_was(scene, workflow, client, aVolumeNode) -> None:
    client.held = True
    workflow.startSegment(aVolumeNode)
    workflow.cancel()
    with pytest.raises(Cancelled):
        until_the_end(workflow)
    assert not workflow.running
    assert nodes_of(scene, "vtkMRMLMarkupsROINode") == visible_segmentations(scene) == []


@pytest.mark.parametrize("step", ["load", "localize", "segment"])
def test_an_error_of_the_engine_is_passed_on_and_the_next_run_works(workflow, client, aVolumeNode, step) -> None:
    client.fail[step] = RunError("out-of-memory", "There is not enough memory.", "Choose a smaller box.")
    with pytest.raises(RunError, match="not enough memory"):
        workflow.run(aVolumeNode)
    parameters = workflow.run(aVolumeNode).parameters
    np.testing.assert_array_equal(present_mask(parameters), expected_mask(aVolumeNode, client.box()))


def test_a_lost_worker_leaves_the_earlier_result_alone(workflow, client, aVolumeNode) -> None:
    parameters = workflow.run(aVolumeNode).parameters
    before = present_mask(parameters)
    RoiNodes.setBox(parameters.roiNode, Box((2, 3, 1), (15, 20, 9)), aVolumeNode)
    client.held = True
    workflow.startSegment(aVolumeNode, inRoi=True)
    client.die()
    with pytest.raises(PancreasSegError) as failure:
        until_the_end(workflow)
    assert failure.value.code == "worker-lost"
    np.testing.assert_array_equal(present_mask(parameters), before)


def test_without_a_roi_nothing_is_segmented_in_it(workflow, client, aVolumeNode) -> None:
    with pytest.raises(InputError, match="No ROI is selected"):
        workflow.run(aVolumeNode, inRoi=True)
    assert not workflow.running
    assert client.requests == []


def test_after_a_run_closing_the_scene_concerns_nobody(scene, workflow, client, aVolumeNode, monkeypatch) -> None:
    workflow.run(aVolumeNode)
    cancelled = []
    monkeypatch.setattr(client, "cancel", cancelled.append)
    scene.RemoveNode(aVolumeNode)
    scene.Clear(False)
    assert workflow.poll() is None
    assert cancelled == []

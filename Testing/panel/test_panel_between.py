"""What can happen to scene and worker in the middle of a run, and between the pieces in which its result comes."""

import numpy as np
import pytest
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.panel import wait

from pancreasseg.core.errors import RunError
from PancreasSegLib.Scene import RoiNodes, Segments, VolumeNodes


def test_the_worker_dies_in_the_middle_and_the_next_click_works(panel, ui, client, selected) -> None:
    client.held = True
    ui.segmentButton.click()
    client.die()
    wait(lambda: not panel.session.busy)
    assert ui.segmentMessage.text == "The process ended. Run again."
    assert panel.session.parameters.segmentationNode is None
    run(panel)
    assert mask(panel.session.parameters).any()


def test_a_mistake_of_the_program_is_a_sentence_too_and_the_next_click_works(
    panel, ui, client, selected, monkeypatch, caplog
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Segments, "keepDraft", lambda *_: 1 / 0)
        run(panel)
    assert "should not have (ZeroDivisionError)" in ui.segmentMessage.text
    assert "ZeroDivisionError" in caplog.text
    run(panel)
    assert mask(panel.session.parameters).any()


@pytest.mark.parametrize("step", ["load", "localize", "segment"])
def test_a_step_that_fails_leaves_a_sentence(panel, ui, client, selected, step) -> None:
    client.fail[step] = RunError("out-of-memory", "There is not enough memory.", "Close other programs.")
    run(panel)
    assert ui.segmentMessage.text == "There is not enough memory. Close other programs."
    assert ui.segmentButton.enabled


def test_the_volume_is_removed_while_running(panel, ui, client, scene, selected) -> None:
    client.held = True
    ui.segmentButton.click()
    scene.RemoveNode(selected)
    client.held = False
    wait(lambda: not panel.session.busy)
    assert ui.segmentMessage.text.startswith("The CT was removed")
    wait(lambda: not ui.segmentButton.enabled)
    assert "No CT volume is selected" in ui.segmentButton.toolTip


def test_the_scene_is_closed_while_running(panel, ui, client, scene, selected) -> None:
    client.held = True
    ui.segmentButton.click()
    scene.Clear(False)
    client.held = False
    wait(lambda: not panel.session.busy)
    assert "scene was closed" in ui.segmentMessage.text
    assert not ui.segmentButton.enabled
    again = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Another CT")
    ui.volumeSelector.setCurrentNode(again)
    run(panel)
    assert mask(panel.session.parameters).any()


def test_the_roi_is_removed_while_running(panel, client, scene, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    client.held = True
    panel.ui.segmentButton.click()
    scene.RemoveNode(parameters.roiNode)
    client.held = False
    wait(lambda: not panel.session.busy)
    assert mask(parameters).any()


def test_the_roi_is_removed_while_it_is_segmented_inside(panel, ui, client, scene, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    box = client.box().grow(2, client.geometry)
    RoiNodes.setBox(parameters.roiNode, box, selected)
    client.held = True
    ui.segmentButton.click()
    scene.RemoveNode(parameters.roiNode)
    client.held = False
    wait(lambda: panel.settled)
    assert client.requests[-1] == ("segment", box)
    assert mask(parameters).any()
    assert ui.segmentMessage.text == ""


def test_the_segmentation_is_removed_while_running(panel, client, scene, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    client.held = True
    panel.ui.segmentButton.click()
    scene.RemoveNode(parameters.segmentationNode)
    client.held = False
    wait(lambda: not panel.session.busy)
    assert mask(parameters).any()


def test_the_segment_is_removed_while_running(panel, client, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    client.held = True
    panel.ui.segmentButton.click()
    parameters.segmentationNode.GetSegmentation().RemoveSegment(parameters.segmentId)
    client.held = False
    wait(lambda: not panel.session.busy)
    assert mask(parameters).any()


def test_the_segment_is_renamed_while_running(panel, client, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    client.held = True
    panel.ui.segmentButton.click()
    parameters.segmentationNode.GetSegmentation().GetSegment(parameters.segmentId).SetName("Bauchspeicheldrüse")
    client.held = False
    wait(lambda: not panel.session.busy)
    segment = parameters.segmentationNode.GetSegmentation().GetSegment(parameters.segmentId)
    assert segment.GetName() == "Bauchspeicheldrüse"


def test_a_segment_drawn_while_running_is_not_overwritten(panel, client, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    node, first = parameters.segmentationNode, parameters.segmentId
    client.held = True
    panel.ui.segmentButton.click()
    drawn = edit(parameters)
    client.held = False
    wait(lambda: not panel.session.busy)
    assert parameters.segmentId != first
    np.testing.assert_array_equal(Segments.readMask(node, first, selected), drawn)


@pytest.fixture
def slowly(panel, selected, monkeypatch):
    """The result is there, and the pieces that follow from it are still waiting."""
    monkeypatch.setattr("PancreasSegLib.Panel.Runner.EAGER_MILLISECONDS", 100)
    panel.ui.segmentButton.click()
    wait(lambda: panel.session.workflow.pending)
    return panel


def test_a_result_is_followed_by_its_numbers_in_pieces(slowly, ui, selected) -> None:
    assert not slowly.session.busy
    assert mask(slowly.session.parameters).any()
    assert ui.statisticsTable.rowCount == 0
    wait(lambda: slowly.settled)
    assert ui.statisticsTable.rowCount > 20


@pytest.mark.parametrize("what", ["scene", "CT", "segmentation", "segment"])
def test_what_goes_away_while_pieces_are_waiting_harms_nothing(slowly, ui, client, scene, selected, what) -> None:
    parameters = slowly.session.parameters
    if what == "scene":
        scene.Clear(False)
    elif what == "CT":
        scene.RemoveNode(selected)
    elif what == "segmentation":
        scene.RemoveNode(parameters.segmentationNode)
    else:
        parameters.segmentationNode.GetSegmentation().RemoveAllSegments()
    wait(lambda: slowly.settled)
    assert ui.statisticsTable.rowCount == 0
    ui.volumeSelector.setCurrentNode(VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Another CT"))
    run(slowly)
    assert mask(slowly.session.parameters).any()
    assert ui.statisticsTable.rowCount > 20


def test_the_next_click_while_pieces_are_waiting_is_a_run_like_any_other(slowly, client, dialogs, selected) -> None:
    run(slowly)
    assert [name for name, _ in client.requests] == ["load", "localize", "segment", "localize", "segment"]
    assert dialogs.asked == []
    assert mask(slowly.session.parameters).any()


def test_closing_the_panel_while_pieces_are_waiting_does_none_of_them(slowly, selected) -> None:
    slowly.close()
    assert not slowly.session.workflow.pending

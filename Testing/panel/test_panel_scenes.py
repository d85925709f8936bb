"""Several CTs in one scene, each with its own choices; saved, closed and loaded again."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.builders import OBLIQUE, OBLIQUE_MIRRORED, aCt, aGeometry, aTransform
from Testing.helpers.panel import wait

from pancreasseg.core.setup import Setup
from PancreasSegLib.Scene import SceneFiles, Segments, VolumeNodes


@pytest.fixture
def axes():
    return OBLIQUE


@pytest.fixture
def two(panel, scene, selected, axes):
    """Two CTs: the second oblique and under a transform."""
    other = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(axes), seed=7), "Oblique")
    other.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    return selected, other


def test_every_ct_has_its_own_roi_segment_and_choices(panel, ui, two) -> None:
    first, second = two
    ui.marginSlider.value = 22
    ui.fastRadioButton.click()
    run(panel)
    mine = panel.session.parameters
    ui.volumeSelector.setCurrentNode(second)
    assert ui.marginSlider.value == 25
    assert ui.accurateRadioButton.checked
    assert ui.roiSelector.currentNode() is None
    assert ui.statisticsTable.rowCount == 0
    run(panel)
    theirs = panel.session.parameters
    assert theirs.roiNode is not mine.roiNode
    assert theirs.segmentationNode is not mine.segmentationNode
    ui.volumeSelector.setCurrentNode(first)
    assert ui.roiSelector.currentNode() is mine.roiNode
    assert ui.segmentEditor.segmentationNode() is mine.segmentationNode
    assert ui.marginSlider.value == 22
    assert ui.fastRadioButton.checked
    wait(lambda: panel.settled)
    assert ui.statisticsTable.rowCount > 20


def test_a_volume_selected_while_another_runs_is_not_possible(panel, ui, client, two) -> None:
    client.held = True
    ui.segmentButton.click()
    assert not ui.volumeSelector.enabled
    assert "run is going on" in ui.volumeSelector.toolTip
    client.held = False
    wait(lambda: not panel.session.busy)
    assert ui.volumeSelector.enabled


def reopen(scene, ui, file) -> None:
    """Save the scene, close it, and open it again."""
    SceneFiles.saveScene(scene, file)
    scene.Clear(False)
    assert ui.volumeSelector.currentNode() is None
    assert not ui.segmentButton.enabled
    assert scene.ReadFromMRB(str(file), True)
    ui.volumeSelector.setCurrentNode(slicer.util.getNode("Oblique"))


@pytest.mark.parametrize("axes", [OBLIQUE, OBLIQUE_MIRRORED], ids=["right-handed", "left-handed"])
def test_a_saved_scene_comes_back_as_it_was(panel, ui, client, scene, headless, two, tmp_path) -> None:
    second = two[1]
    ui.volumeSelector.setCurrentNode(second)
    ui.marginSlider.value = 17
    run(panel)
    before = mask(panel.session.parameters)
    reopen(scene, ui, tmp_path / "untouched.mrb")
    after = mask(panel.session.parameters)
    # Slicer turns the voxels of a left-handed CT round when it reads it; they stay where they are in the world.
    assert any(np.array_equal(np.flip(after, turned), before) for turned in ((), 0, 1, 2))
    assert ui.staleLabel.isHidden(), "the box is where it was"
    assert ui.segmentButton.text == "Segment pancreas"
    roiNode = panel.session.parameters.roiNode
    roiNode.SetSize(*(1.4 * np.array(roiNode.GetSize())))
    reopen(scene, ui, tmp_path / "moved.mrb")
    assert ui.marginSlider.value == 17
    assert not ui.staleLabel.isHidden(), "the moved box is still moved"
    assert ui.segmentButton.text == "Segment again inside the ROI"
    wait(lambda: panel.settled)
    assert ui.statisticsTable.rowCount > 20
    run(panel)
    assert mask(panel.session.parameters).sum() > before.sum()


@pytest.fixture
def differing(client, monkeypatch):
    """The fake worker's voters differ in the first slice of every box."""
    original = client.take

    def take(name, asked, value, final="result"):
        if name == "segment":
            agreement = value.agreement.copy()
            agreement[0] = 1 / 3
            value = replace(value, agreement=agreement)
        return original(name, asked, value, final)

    monkeypatch.setattr(client, "take", take)


def test_the_agreement_map_of_a_saved_scene_lies_over_the_ct_again(
    panel, ui, scene, two, differing, tmp_path, headless
) -> None:
    ui.volumeSelector.setCurrentNode(two[1])
    run(panel)
    scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    ui.agreementCheckBox.click()
    reopen(scene, ui, tmp_path / "shown.mrb")
    composite = scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode") or scene.AddNewNodeByClass(
        "vtkMRMLSliceCompositeNode"
    )
    composite.SetForegroundVolumeID(None)
    ui.volumeSelector.setCurrentNode(None)
    ui.volumeSelector.setCurrentNode(slicer.util.getNode("Oblique"))
    node = panel.session.parameters.agreementNode
    assert node is not None
    assert composite.GetForegroundVolumeID() == node.GetID()
    assert ui.agreementCheckBox.checked
    ui.agreementCheckBox.click()
    reopen(scene, ui, tmp_path / "hidden.mrb")
    assert not ui.agreementCheckBox.checked
    assert not panel.session.parameters.agreementShown


def test_the_agreement_map_stays_with_its_ct_and_follows_a_new_run(panel, ui, scene, two, differing) -> None:
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    run(panel)
    ui.agreementCheckBox.click()
    mine = panel.session.parameters.agreementNode
    ui.volumeSelector.setCurrentNode(two[1])
    assert composite.GetForegroundVolumeID() is None, "the map of another CT"
    composite.SetForegroundVolumeID(two[0].GetID())
    ui.volumeSelector.setCurrentNode(two[0])
    assert composite.GetForegroundVolumeID() == mine.GetID()
    run(panel)
    assert composite.GetForegroundVolumeID() == panel.session.parameters.agreementNode.GetID()


def test_what_else_a_person_has_laid_over_the_ct_is_left_there(panel, ui, scene, two, differing) -> None:
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    run(panel)
    composite.SetForegroundVolumeID(two[1].GetID())
    ui.volumeSelector.setCurrentNode(two[1])
    ui.volumeSelector.setCurrentNode(two[0])
    assert composite.GetForegroundVolumeID() == two[1].GetID()


def test_only_the_selected_cts_nodes_are_followed(panel, ui, scene, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    edit(parameters)
    assert not panel.settled
    wait(lambda: panel.settled)
    ui.volumeSelector.setCurrentNode(None)
    wait(lambda: panel.settled)
    edit(parameters)
    assert panel.settled


def test_an_own_roi_is_put_into_the_ct_with_handles_and_segmented_inside(panel, ui, client, selected) -> None:
    ui.roiSelector.addNode()
    node = panel.session.parameters.roiNode
    assert node.GetDisplayNode().GetHandlesInteractive()
    assert not node.GetDisplayNode().GetRotationHandleVisibility()
    assert ui.segmentButton.text == "Segment pancreas inside the ROI"
    run(panel)
    assert [name for name, _ in client.requests] == ["load", "segment"]


def test_the_roi_is_hidden_and_shown(panel, ui, selected) -> None:
    assert not ui.roiVisibleCheckBox.enabled
    run(panel)
    ui.roiVisibleCheckBox.click()
    assert not panel.session.parameters.roiNode.GetDisplayVisibility()
    ui.roiVisibleCheckBox.click()
    assert panel.session.parameters.roiNode.GetDisplayVisibility()


def test_without_an_roi_the_pancreas_is_located_again(panel, ui, client, selected) -> None:
    run(panel)
    ui.roiSelector.setCurrentNode(None)
    assert ui.segmentButton.text == "Segment pancreas"
    run(panel)
    assert [name for name, _ in client.requests][-2:] == ["localize", "segment"]


def test_entering_and_leaving_the_module_hands_views_and_shortcuts_over(panel, ui) -> None:
    panel.enter()
    ui.correctSection.collapsed = False
    ui.segmentEditor.setActiveEffectByName("Paint")
    assert (ui.segmentEditor._shortcuts, ui.segmentEditor._views) == (True, True)
    panel.exit()
    assert ui.segmentEditor.activeEffect() is None
    assert (ui.segmentEditor._shortcuts, ui.segmentEditor._views) == (False, False)
    wait(lambda: not panel.session.workflow.describing)


def test_keys_are_the_editors_only_while_its_section_is_open(panel, ui, selected) -> None:
    """A stray 1 would start Paint, and the next drag in a view would paint into the pancreas."""
    assert ui.correctSection.collapsed
    assert not ui.segmentEditor._shortcuts
    ui.correctSection.collapsed = False
    assert ui.segmentEditor._shortcuts
    ui.segmentEditor.setActiveEffectByName("Paint")
    ui.correctSection.collapsed = True
    assert not ui.segmentEditor._shortcuts
    assert ui.segmentEditor.activeEffect() is None
    ui.correctSection.collapsed = False
    panel.exit()
    ui.correctSection.collapsed = True
    ui.correctSection.collapsed = False
    assert not ui.segmentEditor._shortcuts, "another module is shown"


def test_without_a_main_window_there_are_no_shortcuts_to_complain_of(panel, ui, monkeypatch) -> None:
    monkeypatch.setattr(slicer.app, "window", None)
    panel.wake()
    ui.correctSection.collapsed = False
    assert not ui.segmentEditor._shortcuts


def test_the_overwrite_mode_is_left_alone_until_there_is_a_result_and_then_it_is_said(
    panel, ui, scene, selected
) -> None:
    node = ui.segmentEditor.mrmlSegmentEditorNode()
    assert node.GetOverwriteMode() == node.OverwriteAllSegments
    run(panel)
    assert node.GetOverwriteMode() == node.OverwriteNone
    assert "may overlap now" in ui.correctMessage.text
    node.SetOverwriteMode(node.OverwriteAllSegments)
    run(panel)
    assert node.GetOverwriteMode() == node.OverwriteAllSegments, "a person has chosen it"


def test_hidden_nodes_are_offered_nowhere(panel, ui, scene, selected, differing) -> None:
    run(panel)
    parameters = panel.session.parameters
    hierarchy = scene.GetSubjectHierarchyNode()
    for node in (Segments.draftOf(parameters.segmentationNode), parameters.agreementNode):
        assert node.GetHideFromEditors()
        assert node.GetID() not in [*ui.referenceSelector._ids, *ui.volumeSelector._ids]
        assert not hierarchy.GetItemByDataNode(node)


@pytest.mark.parametrize("what", ["CT", "segmentation"])
def test_hidden_nodes_go_with_what_they_belong_to(panel, ui, scene, selected, differing, what) -> None:
    run(panel)
    parameters = panel.session.parameters
    draft = Segments.draftOf(parameters.segmentationNode)
    disagreement, node = parameters.agreementNode, parameters.node
    scene.RemoveNode(selected if what == "CT" else parameters.segmentationNode)
    gone = [disagreement, node] if what == "CT" else [draft]
    wait(lambda: panel.settled and not any(it.GetScene() for it in gone))
    assert (draft if what == "CT" else node).GetScene() is scene, "its owner is still there"


def test_an_roi_that_is_deleted_is_not_replaced_by_that_of_another_ct(panel, ui, scene, two) -> None:
    """Slicer's selector moves on to another ROI by itself."""
    run(panel)
    ui.volumeSelector.setCurrentNode(two[1])
    run(panel)
    scene.RemoveNode(panel.session.parameters.roiNode)
    wait(lambda: panel.settled)
    assert panel.session.parameters.roiNode is None
    assert ui.roiSelector.currentNode() is None


def test_while_another_module_is_shown_the_shared_editor_is_left_alone(panel, ui, client, scene, selected) -> None:
    run(panel)
    first, drawn = panel.session.parameters.segmentId, edit(panel.session.parameters)
    client.held = True
    ui.segmentButton.click()
    panel.exit()
    editor = ui.segmentEditor.mrmlSegmentEditorNode()
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "In the Segment Editor module")
    editor.SetAndObserveSegmentationNode(other)
    client.held = False
    wait(lambda: panel.settled)
    assert editor.GetSegmentationNode() is other
    parameters = panel.session.parameters
    assert parameters.segmentId != first, "no Undo could bring back what was there, so it is still there"
    np.testing.assert_array_equal(Segments.readMask(parameters.segmentationNode, first, selected), drawn)
    assert mask(parameters).sum() > drawn.sum()
    panel.wake()
    assert editor.GetSegmentationNode() is panel.session.parameters.segmentationNode


@pytest.mark.parametrize("gone", [False, True], ids=["closed", "closed without its editor node"])
def test_the_scene_can_be_closed_while_a_person_paints(panel, ui, scene, selected, gone) -> None:
    run(panel)
    ui.segmentEditor.setActiveEffectByName("Paint")
    if gone:
        scene.RemoveNode(ui.segmentEditor.mrmlSegmentEditorNode())
    scene.Clear(False)
    assert not ui.segmentEditor._views
    slicer.app.layoutManager().setLayout(2)
    assert ui.segmentEditor.mrmlSegmentEditorNode() is scene.GetSingletonNode(
        "SegmentEditor", "vtkMRMLSegmentEditorNode"
    )


def test_an_empty_scene_can_be_closed_while_the_panel_is_shown(panel, ui, scene) -> None:
    scene.Clear(False)
    panel.exit()
    scene.Clear(False)


def test_the_editor_keeps_its_node_while_the_scene_is_closed(panel, ui, scene, selected) -> None:
    """Slicer's widget complains in the error log whenever it has none."""
    node = ui.segmentEditor.mrmlSegmentEditorNode()
    seen = []
    tag = scene.AddObserver(scene.EndCloseEvent, lambda *_: seen.append(ui.segmentEditor.mrmlSegmentEditorNode()), 1.0)
    scene.Clear(False)
    scene.RemoveObserver(tag)
    assert seen == [node]
    assert node.GetSegmentationNode() is None


def test_the_editor_is_slicers_own(panel, ui, scene) -> None:
    node = ui.segmentEditor.mrmlSegmentEditorNode()
    assert node is scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")


def test_the_status_line_names_model_device_and_memory(panel, ui, selected) -> None:
    assert "device not asked yet" in ui.statusLabel.text
    panel.enter()
    wait(lambda: "Fake device" in ui.statusLabel.text)
    assert ui.statusLabel.text.count(" · ") == 2
    assert ui.statusLabel.text.endswith("1.0 of 2.0 GB free")
    assert "comes with PancreasSeg" in ui.statusLabel.text


def test_choices_under_advanced_reach_the_engine_and_stay_with_the_ct(panel, ui, client, two) -> None:
    choose(ui.deviceSelector, "cpu")
    choose(ui.precisionSelector, "f32")
    choose(ui.modelSelector, "pancreas-ct")
    choose(ui.pipelineSelector, "single-stage")
    run(panel)
    asked = dict(client.requests)["localize"]
    assert asked == Setup("single-stage", "pancreas-ct", "cpu", "f32")
    assert "one way to run" in ui.fastRadioButton.toolTip
    ui.volumeSelector.setCurrentNode(two[1])
    assert ui.deviceSelector.currentIndex == 0


def choose(selector, value: str) -> None:
    selector.setCurrentIndex(selector.findData(value))


def test_a_model_that_does_not_fit_the_pipeline_disables_the_button_with_the_reason(panel, ui, selected) -> None:
    choose(ui.pipelineSelector, "whole-volume")
    assert not ui.segmentButton.enabled
    assert "whole-volume" in ui.segmentButton.toolTip
    choose(ui.pipelineSelector, "")
    assert ui.segmentButton.enabled

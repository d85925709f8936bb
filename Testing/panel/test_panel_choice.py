"""The right CT on the screen: what is selected is shown, what is shown is selected, and nothing happens unseen."""

import numpy as np
import pytest
import slicer
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.builders import aCt, aGeometry, aTransform
from Testing.helpers.panel import remove, wait
from Testing.standins import qt

from PancreasSegLib.Scene import Coordinates, SceneFiles, Segments, Views, VolumeNodes


def aCtNode(scene, name: str, origin=(0.0, 0.0, 0.0)):
    return VolumeNodes.addVolumeNode(scene, aCt(aGeometry(origin=origin)), name)


@pytest.fixture
def views(scene):
    """The composite nodes of three slice views."""
    nodes = []
    for name in ("Green", "Red", "Yellow"):
        node = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
        node.SetLayoutName(name)
        nodes.append(node)
    yield nodes
    for node in nodes:
        scene.RemoveNode(node)


def backgrounds(views) -> set[str]:
    return {scene.GetNodeByID(v.GetBackgroundVolumeID()).GetName() for v in views for scene in [v.GetScene()]}


def show(views, node) -> None:
    for view in views:
        view.SetBackgroundVolumeID(node.GetID())


def test_the_ct_that_is_selected_is_the_one_on_the_screen(panel, ui, scene, views) -> None:
    first, second = aCtNode(scene, "A"), aCtNode(scene, "B")
    show(views, first)
    ui.volumeSelector.setCurrentNode(second)
    assert backgrounds(views) == {"B"}
    ui.volumeSelector.setCurrentNode(first)
    assert backgrounds(views) == {"A"}


def test_a_ct_that_a_person_looks_at_beside_another_series_stays_where_it_is(panel, ui, scene, views) -> None:
    ct, pet = aCtNode(scene, "CT"), aCtNode(scene, "PET")
    show(views, pet)
    for view in views:
        view.SetForegroundVolumeID(ct.GetID())
    ui.volumeSelector.setCurrentNode(ct)
    assert backgrounds(views) == {"PET"}


def window(node) -> tuple[float, float]:
    display = node.GetDisplayNode()
    return display.GetWindow(), display.GetLevel()


@pytest.mark.parametrize("byHand", [True, False], ids=["set by hand", "left to Slicer"])
def test_a_ct_gets_an_abdominal_window_unless_somebody_has_set_one(panel, ui, scene, byHand) -> None:
    node = aCtNode(scene, "From a file")
    node.GetDisplayNode().SetAutoWindowLevel(not byHand)
    node.GetDisplayNode().SetWindowLevel(1500.0, -600.0)
    ui.volumeSelector.setCurrentNode(node)
    assert window(node) == ((1500.0, -600.0) if byHand else (400.0, 40.0))


def test_the_results_of_another_ct_do_not_lie_over_this_one(panel, ui, scene) -> None:
    first, second = aCtNode(scene, "A"), aCtNode(scene, "B")
    ui.volumeSelector.setCurrentNode(first)
    run(panel)
    theirs = panel.session.parameters
    ui.volumeSelector.setCurrentNode(second)
    assert not theirs.roiNode.GetDisplayVisibility()
    assert not theirs.segmentationNode.GetDisplayVisibility()
    run(panel)
    panel.session.parameters.roiNode.SetDisplayVisibility(False)
    ui.volumeSelector.setCurrentNode(first)
    assert theirs.roiNode.GetDisplayVisibility()
    assert theirs.segmentationNode.GetDisplayVisibility()
    ui.volumeSelector.setCurrentNode(second)
    assert not panel.session.parameters.roiNode.GetDisplayVisibility(), "a person has hidden it"
    assert panel.session.parameters.segmentationNode.GetDisplayVisibility()


def test_after_a_run_every_view_shows_the_slice_with_most_of_the_segment(panel, ui, scene, selected, client) -> None:
    """The middle of a bent organ often lies beside it."""
    views = {}
    for name in ("Axial", "Coronal", "Sagittal"):
        views[name] = scene.AddNewNodeByClass("vtkMRMLSliceNode")
        views[name].SetOrientation(name)
    selected.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    run(panel)
    parameters = panel.session.parameters
    hook = np.zeros_like(mask(parameters))
    hook[3:9, 6, 5] = 1  # a long stalk
    hook[8, 6, 5:12] = 1  # and where most of it lies
    Segments.writeMask(hook, parameters.segmentationNode, parameters.segmentId, selected)
    Views.jumpToFullestSlices(parameters)
    toWorld = Coordinates.transformToWorld(selected) @ Coordinates.ijkToRas(Coordinates.geometryOfNode(selected))
    point = toWorld @ [5, 6, 8, 1]
    for name, node in views.items():
        normal = np.array([node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
        assert node.GetSliceOffset() == pytest.approx(normal @ point[:3]), name


def test_an_roi_that_two_cts_share_stays_on_the_screen(panel, ui, scene) -> None:
    first, second = aCtNode(scene, "portal venous"), aCtNode(scene, "arterial")
    ui.volumeSelector.setCurrentNode(first)
    run(panel)
    shared = panel.session.parameters.roiNode
    ui.volumeSelector.setCurrentNode(second)
    ui.roiSelector.setCurrentNode(shared)
    ui.volumeSelector.setCurrentNode(first)
    ui.volumeSelector.setCurrentNode(second)
    assert shared.GetDisplayVisibility()


def test_the_ct_in_the_views_is_selected_when_the_panel_is_shown(panel, ui, scene, views) -> None:
    panel.exit()
    aCtNode(scene, "A")
    show(views, aCtNode(scene, "B"))
    panel.wake()
    assert ui.volumeSelector.currentNode().GetName() == "B"


def test_the_first_ct_that_is_loaded_is_selected(panel, ui, scene) -> None:
    aCtNode(scene, "Loaded")
    wait(lambda: ui.volumeSelector.currentNode() is not None)
    assert ui.segmentButton.enabled
    aCtNode(scene, "Loaded later")
    wait(lambda: panel.settled)
    assert ui.volumeSelector.currentNode().GetName() == "Loaded"


def test_of_several_cts_none_is_guessed_and_what_is_no_ct_never_is(panel, ui, scene, views) -> None:
    panel.exit()
    aCtNode(scene, "A")
    aCtNode(scene, "B")
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    slicer.util.updateVolumeFromArray(label, np.ones((3, 4, 5), np.uint8))
    show(views, label)
    panel.wake()
    assert ui.volumeSelector.currentNode() is None


def test_none_that_a_person_has_chosen_stays(panel, ui, selected) -> None:
    ui.volumeSelector.setCurrentNode(None)
    panel.refresh()
    wait(lambda: panel.settled)
    assert ui.volumeSelector.currentNode() is None


@pytest.mark.parametrize("shown", [True, False], ids=["panel shown", "another module shown"])
def test_a_loaded_scene_comes_back_with_its_ct_and_its_numbers(panel, ui, scene, tmp_path, shown) -> None:
    for name in ("A", "B"):
        ui.volumeSelector.setCurrentNode(aCtNode(scene, name))
    run(panel)
    SceneFiles.saveScene(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    if not shown:
        panel.exit()
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    if not shown:
        assert ui.volumeSelector.currentNode() is None
        panel.wake()
    wait(lambda: ui.volumeSelector.currentNode() is not None)
    assert ui.volumeSelector.currentNode().GetName() == "B"
    wait(lambda: panel.settled)
    assert ui.statisticsTable.rowCount > 20
    assert ui.roiSelector.currentNode() is panel.session.parameters.roiNode is not None


def test_a_renamed_ct_is_no_other_ct(panel, ui, client, selected) -> None:
    run(panel)
    measured = len(client.measures)
    panel.segment.say("What was said.")
    selected.SetName("Renamed")
    wait(lambda: panel.settled)
    assert len(client.measures) == measured
    assert ui.segmentMessage.text == "What was said."


def test_while_another_module_is_shown_nothing_is_measured_and_then_all_of_it(
    panel, ui, client, scene, selected
) -> None:
    run(panel)
    measured = len(client.measures)
    panel.exit()
    drawn = edit(panel.session.parameters)
    scene.RemoveNode(scene.AddNewNodeByClass("vtkMRMLModelNode"))
    assert panel.settled, "nothing waits"
    assert len(client.measures) == measured
    panel.wake()
    wait(lambda: panel.settled)
    assert f"{drawn.sum() * aGeometry().voxel_ml:.1f} ml" in ui.statisticsTable.item(0, 1).text()


def test_a_run_that_ends_while_another_module_is_shown_is_there_afterwards(panel, ui, client, selected) -> None:
    client.held = True
    ui.segmentButton.click()
    panel.exit()
    client.held = False
    wait(lambda: panel.settled)
    assert panel.session.parameters.hasSegment()
    assert ui.statisticsTable.rowCount == 0
    panel.wake()
    wait(lambda: panel.settled)
    assert ui.statisticsTable.rowCount > 20
    assert ui.segmentEditor.segmentationNode() is panel.session.parameters.segmentationNode


@pytest.mark.parametrize("entered", [True, False])
def test_a_panel_that_is_reloaded_while_it_is_shown_is_awake(module, scene, entered, monkeypatch, client) -> None:
    import PancreasSeg

    monkeypatch.setattr("pancreasseg.worker.client.WorkerClient", lambda *_: client)
    ct = aCtNode(scene, "CT")
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(scene)
    type(parent).isEntered = property(lambda _self: entered)
    widget = PancreasSeg.PancreasSegWidget(parent)
    try:
        widget.setup()
        assert (widget.ui.volumeSelector.currentNode() is ct) == entered
        widget.ui.correctSection.collapsed = False
        assert widget.ui.segmentEditor._shortcuts == entered
    finally:
        widget.cleanup()
        del type(parent).isEntered
        remove(parent)

"""Undo and Redo of a run: with the voxels comes everything that is said about them."""

import numpy as np
import pytest
import vtk
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.panel import wait

from pancreasseg.core.finding import Finding, Severity
from PancreasSegLib.Scene import RoiNodes, Segments
from PancreasSegLib.Work import Statistics


def found(client, word: str) -> None:
    client.findings = (Finding(word, Severity.WARNING, f"Found {word}."),)


def undo(panel) -> None:
    panel.ui.segmentEditor.undo()
    wait(lambda: panel.settled)


def redo(panel) -> None:
    panel.ui.segmentEditor.redo()
    wait(lambda: panel.settled)


def wider(client):
    return client.box().grow(2, client.geometry)


@pytest.fixture
def twice(panel, client, selected):
    """Two runs: the second in a box that a person has dragged wider. Their masks, in order."""
    found(client, "first")
    run(panel)
    masks = [mask(panel.session.parameters)]
    RoiNodes.setBox(panel.session.parameters.roiNode, wider(client), selected)
    found(client, "second")
    run(panel)
    masks.append(mask(panel.session.parameters))
    assert masks[0].sum() < masks[1].sum()
    return masks


def test_undo_brings_back_what_was_said_about_the_earlier_result(panel, ui, client, dialogs, twice) -> None:
    undo(panel)
    parameters = panel.session.parameters
    np.testing.assert_array_equal(mask(parameters), twice[0])
    assert "Found first" in ui.findingsLabel.text
    assert "Found second" not in ui.findingsLabel.text
    assert parameters.segmentedBox == client.box()
    assert not ui.staleLabel.isHidden(), "the box is still where a person has dragged it"
    np.testing.assert_array_equal(Statistics.draftMask(parameters), twice[0])
    assert not ui.restoreDraftButton.enabled, "nobody has corrected anything"
    run(panel)
    assert dialogs.asked == [], "no hand work would be lost"


def test_what_was_undone_can_be_redone_after_it_was_measured(panel, ui, client, twice) -> None:
    undo(panel)
    redo(panel)
    parameters = panel.session.parameters
    np.testing.assert_array_equal(mask(parameters), twice[1])
    assert "Found second" in ui.findingsLabel.text
    assert parameters.segmentedBox == wider(client)
    assert ui.staleLabel.isHidden()
    np.testing.assert_array_equal(Statistics.draftMask(parameters), twice[1])
    assert not panel.session.edited


def test_a_click_right_after_undo_claims_no_hand_work(panel, ui, dialogs, twice) -> None:
    ui.segmentEditor.undo()
    run(panel)
    assert dialogs.asked == []


def test_undo_of_an_automatic_run_takes_its_box_along(panel, ui, client, selected, monkeypatch) -> None:
    run(panel)
    first = client.box()
    with monkeypatch.context() as patch:
        patch.setattr(client, "box", lambda: first.grow(1, client.geometry))
        run(panel)
    parameters = panel.session.parameters
    undo(panel)
    assert RoiNodes.boxOfRoi(parameters.roiNode, selected) == parameters.segmentedBox == first
    assert ui.staleLabel.isHidden()
    assert ui.segmentButton.text == "Segment pancreas"
    redo(panel)
    assert RoiNodes.boxOfRoi(parameters.roiNode, selected) == first.grow(1, client.geometry)
    assert ui.segmentButton.text == "Segment pancreas"


def test_a_correction_that_undo_brings_back_is_one_of_its_own_result(panel, ui, client, selected) -> None:
    found(client, "first")
    run(panel)
    parameters = panel.session.parameters
    draft, drawn = mask(parameters), edit(parameters)
    wait(lambda: panel.settled)
    RoiNodes.setBox(parameters.roiNode, wider(client), selected)
    found(client, "second")
    run(panel)
    undo(panel)
    np.testing.assert_array_equal(mask(parameters), drawn)
    assert "Found first" in ui.findingsLabel.text
    assert panel.session.edited
    ui.restoreDraftButton.click()
    np.testing.assert_array_equal(mask(parameters), draft)


def test_nothing_is_said_about_a_segment_that_was_emptied_and_nothing_asked(
    panel, ui, client, dialogs, selected
) -> None:
    found(client, "first")
    run(panel)
    parameters = panel.session.parameters
    nothing = np.zeros_like(mask(parameters))
    Segments.writeMask(nothing, parameters.segmentationNode, parameters.segmentId, selected)
    wait(lambda: panel.settled)
    assert ui.findingsLabel.isHidden()
    assert ui.staleLabel.isHidden()
    assert ui.restoreDraftButton.enabled
    run(panel)
    assert dialogs.asked == []
    assert "Found first" in ui.findingsLabel.text


def kind(parameters) -> str:
    value = vtk.mutable("")
    segment = parameters.segmentationNode.GetSegmentation().GetSegment(parameters.segmentId)
    segment.GetTag("DICOM.SegmentAlgorithmType", value)
    return value.get()


def test_a_correction_is_tagged_and_undo_and_redo_of_it_work_all_the_same(panel, ui, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    assert kind(parameters) == "AUTOMATIC"
    panel.correct.saveForUndo(parameters.segmentationNode)
    drawn = edit(parameters)
    wait(lambda: panel.settled)
    assert kind(parameters) == "SEMIAUTOMATIC"
    undo(panel)
    assert not panel.session.edited
    redo(panel)
    np.testing.assert_array_equal(mask(parameters), drawn)
    assert kind(parameters) == "SEMIAUTOMATIC"
    ui.restoreDraftButton.click()
    assert kind(parameters) == "AUTOMATIC"


@pytest.mark.parametrize("kept", [True, False], ids=["of this version", "of an earlier version"])
def test_a_draft_whose_file_was_not_saved_does_not_make_the_segment_edited(panel, ui, dialogs, selected, kept) -> None:
    """Slicer may save a .mrml without the files of hidden nodes: the draft comes back without voxels."""
    run(panel)
    parameters = panel.session.parameters
    whole = mask(parameters)
    Segments.draftOf(parameters.segmentationNode).GetSegmentation().RemoveAllSegments()
    if not kept:
        parameters.kept, parameters.present = [], ""
    panel.onSelected()
    wait(lambda: panel.settled)
    assert not panel.session.edited
    assert ui.statisticsTable.rowCount > 0, ui.statisticsMessage.text
    if kept:
        np.testing.assert_array_equal(Statistics.draftMask(parameters), whole)
    run(panel)
    assert dialogs.asked == []
    assert ui.segmentMessage.text == ""


def test_results_of_many_runs_do_not_pile_up(panel, client, selected) -> None:
    from PancreasSegLib.Work import History

    for step in range(2 * History.LIMIT + 2):
        client.grow = step % 3
        RoiNodes.setBox(panel.session.parameters.roiNode, client.box(), selected) if step else None
        panel.session.workflow.run(selected, replaceEdited=True)
    assert len(panel.session.parameters.kept) <= 2 * History.LIMIT

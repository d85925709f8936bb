"""Correcting, and numbers that follow."""

import csv
from pathlib import Path

import numpy as np
import pytest
import slicer
from PySide6 import QtGui
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.builders import OBLIQUE, aCt, aGeometry
from Testing.helpers.fakes import LOST
from Testing.helpers.panel import wait

from pancreasseg.core.errors import RunError
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Coordinates import setGeometryOfNode
from PancreasSegLib.Work import Statistics


def rows(ui) -> dict[str, str]:
    """The table as a person reads it."""
    table = ui.statisticsTable
    return {table.item(n, 0).text(): table.item(n, 1).text() for n in range(table.rowCount)}


@pytest.fixture
def done(panel, selected):
    """The panel after a run."""
    run(panel)
    return panel


def test_the_table_has_volume_hu_shape_and_overlap_with_the_draft(done, ui) -> None:
    table = rows(ui)
    parameters = done.session.parameters
    ml = mask(parameters).sum() * aGeometry().voxel_ml
    assert table["Volume"] == f"{ml:.1f} ml"
    assert "Compared with AI draft" in table
    assert table["Dice similarity coefficient"] == "1.000"
    assert {"Mean HU", "Length", "95 % Hausdorff distance", "Volume difference"} <= set(table)


def test_numbers_follow_an_edit_once_it_pauses(done, ui) -> None:
    drawn = edit(done.session.parameters)
    wait(lambda: rows(ui)["Volume"] == f"{drawn.sum() * aGeometry().voxel_ml:.1f} ml")
    assert 0 < float(rows(ui)["Dice similarity coefficient"]) < 1


def test_many_edits_are_measured_once(done, client) -> None:
    before = len(client.measures)
    for _ in range(5):
        edit(done.session.parameters)
    wait(lambda: done.settled)
    assert len(client.measures) == before + 1


def test_until_new_numbers_come_the_old_ones_are_grey_and_cannot_be_copied(done, ui, client) -> None:
    old = rows(ui)
    client.held = True
    edit(done.session.parameters)
    wait(lambda: client.measuring)
    assert rows(ui) == old
    assert not ui.statisticsTable.enabled
    assert ui.statisticsMessage.text == "Measuring the segment as it is now ..."
    for name in ("copyButton", "csvButton", "tableButton", "chartButton"):
        assert not getattr(ui, name).enabled
        assert getattr(ui, name).toolTip == "The segment is being measured."
    client.held = False
    wait(lambda: done.settled)
    assert rows(ui) != old
    assert ui.statisticsTable.enabled
    assert ui.copyButton.enabled
    assert ui.statisticsMessage.isHidden()


def test_an_edit_greys_the_numbers_at_once_not_only_when_it_pauses(done, ui) -> None:
    edit(done.session.parameters)
    assert not ui.statisticsTable.enabled
    wait(lambda: done.settled)
    assert ui.statisticsTable.enabled


def test_numbers_of_an_earlier_state_that_come_late_are_not_shown(done, ui, client) -> None:
    client.held = True
    edit(done.session.parameters)
    wait(lambda: client.measuring)
    parameters = done.session.parameters
    emptied = np.zeros_like(mask(parameters))
    Segments.writeMask(emptied, parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    asked = len(client.measures)
    wait(lambda: len(client.measures) > asked)
    client.held = False
    wait(lambda: done.settled)
    assert rows(ui)["Volume"] == "0.0 ml"


def test_another_ct_never_shows_the_numbers_of_the_one_before(done, ui, scene) -> None:
    other = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Other")
    ui.volumeSelector.setCurrentNode(other)
    assert ui.statisticsTable.rowCount == 0
    assert done.settled


def test_a_worker_that_is_lost_while_measuring_is_asked_once_more(done, ui, client) -> None:
    client.fail["measure"] = LOST
    drawn = edit(done.session.parameters)
    wait(lambda: done.settled)
    assert rows(ui)["Volume"] == f"{drawn.sum() * aGeometry().voxel_ml:.1f} ml"


def test_a_worker_that_is_lost_twice_while_measuring_is_a_sentence(done, ui, client, monkeypatch) -> None:
    measured = client.measure

    def lost(*arguments) -> int:
        client.fail["measure"] = LOST
        return measured(*arguments)

    monkeypatch.setattr(client, "measure", lost)
    edit(done.session.parameters)
    wait(lambda: done.settled)
    assert ui.statisticsMessage.text == "The process ended. Run again."
    assert ui.statisticsTable.rowCount == 0


def test_the_scene_is_closed_while_the_segment_is_measured(done, ui, client, scene) -> None:
    client.held = True
    edit(done.session.parameters)
    wait(lambda: client.measuring)
    scene.Clear(False)
    client.held = False
    wait(lambda: done.settled)
    assert ui.statisticsTable.rowCount == 0


def test_the_draft_comes_back_and_undo_brings_the_correction_back(done, ui) -> None:
    parameters = done.session.parameters
    draft = mask(parameters)
    assert not ui.restoreDraftButton.enabled
    drawn = edit(parameters)
    wait(lambda: ui.restoreDraftButton.enabled)
    ui.restoreDraftButton.click()
    np.testing.assert_array_equal(mask(parameters), draft)
    ui.segmentEditor.undo()
    np.testing.assert_array_equal(mask(parameters), drawn)


def test_the_draft_is_shown_as_an_outline(done, ui) -> None:
    draft = Segments.draftOf(done.session.parameters.segmentationNode)
    ui.draftCheckBox.click()
    display = draft.GetDisplayNode()
    assert (bool(display.GetVisibility()), bool(display.GetVisibility2DFill())) == (True, False)
    ui.draftCheckBox.click()
    assert not display.GetVisibility()


def test_a_reference_segment_replaces_the_draft(done, ui, scene, selected) -> None:
    reference = Segments.addSegmentationNode(selected, "Radiologist")
    reference.GetSegmentation().AddEmptySegment("spleen", "Spleen")
    identifier = reference.GetSegmentation().AddEmptySegment("p", "Pancreas by hand")
    drawn = mask(done.session.parameters)
    drawn[:, :, 11:] = 0
    Segments.writeMask(drawn, reference, identifier, selected)
    ui.referenceSelector.setCurrentNode(reference)
    wait(lambda: done.settled)
    assert "Compared with Radiologist: Pancreas by hand" in rows(ui)
    ours = mask(done.session.parameters)
    dice = 2 * (ours & drawn).sum() / (ours.sum() + drawn.sum())
    assert rows(ui)["Dice similarity coefficient"] == f"{dice:.3f}"
    ui.referenceSegmentSelector.setCurrentIndex(0)
    wait(lambda: done.settled)
    assert rows(ui)["Dice similarity coefficient"] == "0.000"
    assert rows(ui)["Hausdorff distance"].startswith("∞"), "an empty reference has a defined result"
    ui.referenceSelector.setCurrentNode(None)
    wait(lambda: done.settled)
    assert "Compared with AI draft" in rows(ui)


def test_a_labelmap_on_another_grid_is_compared_in_its_place(done, ui, scene, selected) -> None:
    """The same voxels twice as fine along i: the overlap is what it was."""
    drawn = mask(done.session.parameters)
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Truth")
    slicer.util.updateVolumeFromArray(label, np.repeat(drawn * 7, 2, axis=2))
    fine = aGeometry(spacing=(0.4, 0.75, 5.0), origin=(-31.7 - 0.2, 12.3, -104.9))
    setGeometryOfNode(label, fine)
    ui.referenceSelector.setCurrentNode(label)
    wait(lambda: done.settled)
    assert ui.referenceSegmentSelector.currentText.startswith("7")
    assert rows(ui)["Dice similarity coefficient"] == "1.000"


def test_a_reference_elsewhere_in_the_world_does_not_overlap(done, ui, scene) -> None:
    other = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(OBLIQUE, origin=(500.0, 500.0, 500.0))), "Other")
    reference = Segments.addSegmentationNode(other, "Elsewhere")
    identifier = Segments.addPancreasSegment(reference)
    Segments.writeMask(np.ones(aGeometry().shape, np.uint8), reference, identifier, other)
    ui.referenceSelector.setCurrentNode(reference)
    wait(lambda: done.settled)
    assert rows(ui)["Dice similarity coefficient"] == "0.000"


def test_an_empty_reference_node_is_a_sentence(done, ui, scene) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    ui.referenceSelector.setCurrentNode(empty)
    wait(lambda: done.settled)
    assert "Nothing in 'Empty' is chosen" in ui.statisticsMessage.text
    assert ui.statisticsTable.rowCount == 0
    assert not ui.copyButton.enabled


def test_a_reference_that_is_deleted_gives_way_to_the_draft(done, ui, scene, selected) -> None:
    reference = Segments.addSegmentationNode(selected, "Radiologist")
    Segments.addPancreasSegment(reference)
    ui.referenceSelector.setCurrentNode(reference)
    wait(lambda: done.settled)
    scene.RemoveNode(reference)
    wait(lambda: "Compared with AI draft" in rows(ui))


def test_an_emptied_segment_has_defined_numbers(done, ui) -> None:
    parameters = done.session.parameters
    Segments.writeMask(
        np.zeros_like(mask(parameters)), parameters.segmentationNode, parameters.segmentId, parameters.volumeNode
    )
    wait(lambda: rows(ui)["Volume"] == "0.0 ml")
    assert rows(ui)["Dice similarity coefficient"] == "0.000"
    assert rows(ui)["Mean HU"] == "-"
    assert "nan" not in " ".join(rows(ui).values()).lower()
    assert not ui.niftiButton.enabled


def test_copy_puts_the_numbers_on_the_clipboard(done, ui) -> None:
    ui.copyButton.click()
    lines = QtGui.QGuiApplication.clipboard().text().splitlines()
    assert lines[0].startswith("Volume\t")
    assert all(line.count("\t") == 2 for line in lines)


def test_csv_is_saved_where_the_person_says(done, ui, dialogs, tmp_path) -> None:
    dialogs.path = str(tmp_path / "Übung 1.csv")
    ui.csvButton.click()
    with Path(dialogs.path).open(encoding="utf-8") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert {"volume", "dsc"} <= set(names)
    assert ui.statisticsMessage.text == "Saved."


def test_csv_that_cannot_be_written_is_a_sentence(done, ui, dialogs, tmp_path) -> None:
    dialogs.path = str(tmp_path / "nowhere" / "x.csv")
    ui.csvButton.click()
    assert ui.statisticsMessage.text not in ("", "Saved.")


def test_no_csv_is_saved_when_the_person_changes_their_mind(done, ui, dialogs, tmp_path) -> None:
    dialogs.path = ""
    ui.csvButton.click()
    assert not list(tmp_path.glob("*.csv"))


def test_the_table_button_fills_the_cts_table_node(done, ui) -> None:
    ui.tableButton.click()
    table = done.session.parameters.tableNode
    titles = [table.GetCellText(n, 0) for n in range(table.GetNumberOfRows())]
    assert "Dice similarity coefficient" in titles


def test_the_chart_has_a_bar_for_every_overlap_measure_and_names_it(done, ui, scene) -> None:
    done.ui.chartButton.click()
    done.ui.chartButton.click()
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1
    chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert table.GetNumberOfRows() == len(Statistics.CHARTED)
    assert chart.GetTitle() == "Against AI draft"
    names = [table.GetTable().GetValueByName(row, "Measure").ToString() for row in range(table.GetNumberOfRows())]
    # Slicer writes the numbers of the bars below them and nothing else.
    assert chart.GetXAxisTitle().split(" · ") == [f"{number} {name}" for number, name in enumerate(names)]


def test_from_the_chart_the_same_button_leads_back_to_the_views(done, ui, scene, headless) -> None:
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    for known in (layout.SlicerLayoutFourUpView, layout.SlicerLayoutFourUpPlotView):
        layout.AddLayoutDescription(known, "<layout></layout>")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    ui.chartButton.click()
    assert layout.GetViewArrangement() != layout.SlicerLayoutFourUpView
    assert ui.chartButton.text == "Back to the views"
    ui.chartButton.click()
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    assert ui.chartButton.text == "Chart"


def test_disagreement_is_laid_over_the_ct_and_taken_away(panel, ui, client, scene, selected, monkeypatch) -> None:
    from dataclasses import replace

    original = client.take

    def differing(name, asked, value, final="result"):
        if name == "segment":
            agreement = value.agreement.copy()
            agreement[0] = 1 / 3
            value = replace(value, agreement=agreement)
        return original(name, asked, value, final)

    assert not ui.agreementCheckBox.enabled
    monkeypatch.setattr(client, "take", differing)
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    run(panel)
    node = panel.session.parameters.agreementNode
    assert slicer.util.arrayFromVolume(node).max() == pytest.approx(2 / 3)
    assert slicer.util.arrayFromVolume(node).shape == client.box().shape
    ui.agreementCheckBox.click()
    assert composite.GetForegroundVolumeID() == node.GetID()
    ui.agreementCheckBox.click()
    assert composite.GetForegroundVolumeID() is None


def test_one_opinion_has_no_disagreement_to_show(done, ui) -> None:
    assert done.session.parameters.agreementNode is None
    assert "no result with several opinions" in ui.agreementCheckBox.toolTip


def test_before_a_result_every_button_says_what_is_needed_first(panel, ui, selected) -> None:
    for name in ("copyButton", "csvButton", "tableButton", "chartButton", "niftiButton", "addMarginButton"):
        assert not getattr(ui, name).enabled
        assert "Segment pancreas first" in getattr(ui, name).toolTip
    assert "AI draft" in ui.restoreDraftButton.toolTip


def test_missing_packages_leave_a_sentence_in_place_of_numbers(done, ui, client) -> None:
    client.fail["measure"] = RunError("package-missing", "The Python package skimage is not installed.", "Install it.")
    edit(done.session.parameters)
    wait(lambda: "skimage is not installed" in ui.statisticsMessage.text)
    assert ui.statisticsTable.rowCount == 0

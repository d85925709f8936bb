"""CTs over time: a sequence of four moments on the real MRML."""

import numpy as np
import pytest
import slicer
from Testing.helpers.actions import mask
from Testing.helpers.builders import aCt, aGeometry, aTransform
from Testing.helpers.panel import wait
from vtk.util.numpy_support import vtk_to_numpy

from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Work import Sequences

TIMES = ("0", "1.5", "3", "4.5")


@pytest.fixture
def arrays():
    return [aCt(aGeometry(), seed).array for seed in range(len(TIMES))]


@pytest.fixture
def browser(scene, arrays):
    """Four moments of a CT under a transform, as the module Sequences shows them."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Perfusion")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for time, seed in zip(TIMES, range(len(TIMES)), strict=True):
        node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry(), seed), "moment")
        sequence.SetDataNodeAtValue(node, time)
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Perfusion browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    show(browser, 0)
    browser.GetProxyNode(sequence).SetAndObserveTransformNodeID(aTransform(scene).GetID())
    return browser


@pytest.fixture(autouse=True)
def hurried(monkeypatch) -> None:
    """Before the panel is built."""
    monkeypatch.setattr("PancreasSegLib.Panel.SequenceSection.POLL_MILLISECONDS", 2)


@pytest.fixture
def chosen(panel, ui, browser):
    ui.sequenceSelector.setCurrentNode(browser)
    return panel


def show(browser, number: int) -> None:
    """Move through time."""
    browser.SetSelectedItemNumber(number)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def finish(panel) -> None:
    wait(lambda: not panel.sequence.pending and panel.settled)


def expected(client, array: np.ndarray) -> np.ndarray:
    """What the fake worker makes of a moment."""
    made = np.zeros(array.shape, np.uint8)
    made[client.box().slices] = array[client.box().slices] > 150
    return made


def results(browser):
    return Sequences.resultSequence(Sequences.ctSequence(browser))


def test_a_moment_itself_is_refused_and_the_way_out_is_said(panel, ui, browser) -> None:
    ui.volumeSelector.setCurrentNode(browser.GetProxyNode(Sequences.ctSequence(browser)))
    assert "Sequence (4D)" in ui.inputMessage.text
    assert not ui.segmentButton.enabled


def test_one_moment_becomes_a_ct_of_its_own_and_is_segmented(chosen, ui, client, browser, arrays, scene) -> None:
    show(browser, 2)
    ui.momentButton.click()
    finish(chosen)
    node = ui.volumeSelector.currentNode()
    assert node.GetName() == "Perfusion (time = 3 s)"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), arrays[2])
    np.testing.assert_array_equal(mask(chosen.session.parameters), expected(client, arrays[2]))
    assert node.GetTransformNodeID() == browser.GetProxyNode(Sequences.ctSequence(browser)).GetTransformNodeID()
    show(browser, 0)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), arrays[2])
    show(browser, 2)
    ui.momentButton.click()
    finish(chosen)
    assert ui.volumeSelector.currentNode() is node, "not a second copy"


def test_all_moments_are_segmented_and_move_with_the_sequence(chosen, ui, client, browser, arrays, scene) -> None:
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    ui.allMomentsButton.click()
    assert ui.allMomentsButton.text == "Cancel"
    finish(chosen)
    assert ui.sequenceMessage.text == "4 of 4 moments are segmented."
    proxy = browser.GetProxyNode(results(browser))
    for number, array in enumerate(arrays):
        show(browser, number)
        shown = Segments.readMask(proxy, "Pancreas", browser.GetProxyNode(Sequences.ctSequence(browser)))
        np.testing.assert_array_equal(shown, expected(client, array))
    came = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes()) if scene.GetNthNode(n).GetID() not in before]
    kinds = sorted(
        node.GetClassName() for node in came if node.IsA("vtkMRMLDisplayableNode") or "Module" in str(type(node))
    )
    assert kinds == ["vtkMRMLSegmentationNode"], "nothing of the single runs stays behind"
    assert proxy.GetTransformNodeID() == browser.GetProxyNode(Sequences.ctSequence(browser)).GetTransformNodeID()


def test_volumes_over_time_are_a_table_and_a_chart(chosen, ui, client, browser, arrays, scene) -> None:
    ui.allMomentsButton.click()
    finish(chosen)
    ui.plotMomentsButton.click()
    chart = scene.GetFirstNodeByName("Perfusion pancreas volumes")
    assert chart is not None
    chart = results(browser).GetNodeReference("PancreasSeg.PlotChart")
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("time [s]", "Pancreas volume [ml]")
    table = results(browser).GetNodeReference("PancreasSeg.Table").GetTable()
    times, volumes = (vtk_to_numpy(table.GetColumn(n)) for n in range(2))
    np.testing.assert_array_equal(times, [0, 1.5, 3, 4.5])
    wanted = [expected(client, array).sum() * aGeometry().voxel_ml for array in arrays]
    np.testing.assert_allclose(volumes, wanted)
    ui.plotMomentsButton.click()
    assert results(browser).GetNodeReference("PancreasSeg.PlotChart") is chart, "not a second one"


def test_a_correction_of_a_moment_stays_with_it_and_counts(chosen, ui, client, browser, arrays) -> None:
    ui.allMomentsButton.click()
    finish(chosen)
    show(browser, 1)
    proxy, ct = browser.GetProxyNode(results(browser)), browser.GetProxyNode(Sequences.ctSequence(browser))
    half = expected(client, arrays[1])
    half[: half.shape[0] // 2 - 2] = 0
    assert 0 < half.sum() < expected(client, arrays[1]).sum()
    Segments.writeMask(half, proxy, "Pancreas", ct)
    volumes = [ml for _time, ml in Sequences.volumesOverTime(browser)]
    assert volumes[1] == pytest.approx(half.sum() * aGeometry().voxel_ml)
    show(browser, 3)
    show(browser, 1)
    np.testing.assert_array_equal(Segments.readMask(proxy, "Pancreas", ct), half)


def test_a_moment_that_fails_stops_no_other(chosen, ui, client, browser) -> None:
    client.fail["localize"] = InputError("no-body", "There is no body in this CT.", "")
    ui.allMomentsButton.click()
    finish(chosen)
    assert ui.sequenceMessage.text == ("3 of 4 moments are segmented. time = 0 s: There is no body in this CT.")
    assert [time for time, _ml in Sequences.volumesOverTime(browser)] == [1.5, 3, 4.5]
    proxy = browser.GetProxyNode(results(browser))
    show(browser, 1)
    assert proxy.GetSegmentation().GetNumberOfSegments() == 1
    show(browser, 0)
    assert proxy.GetSegmentation().GetNumberOfSegments() == 0, "not the segment of another moment"
    assert results(browser).GetNumberOfDataNodes() == 3


def test_cancel_keeps_what_is_done_and_leaves_nothing_half(chosen, ui, client, browser, scene) -> None:
    real = client.segment

    def segment(*asked):
        client.held = [name for name, _ in client.requests].count("segment") == 1
        return real(*asked)

    client.segment = segment
    ui.allMomentsButton.click()
    wait(lambda: client.held)
    ui.allMomentsButton.click()
    finish(chosen)
    assert ui.sequenceMessage.text == "1 of 4 moments are segmented. Cancelled."
    assert results(browser).GetNumberOfDataNodes() == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0


def test_closing_the_scene_in_the_middle_ends_quietly(chosen, ui, client, scene) -> None:
    client.held = True
    ui.allMomentsButton.click()
    wait(lambda: client.requests)
    scene.Clear(False)
    client.held = False
    finish(chosen)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert not ui.allMomentsButton.enabled


def test_what_is_no_sequence_of_cts_is_a_sentence(panel, ui, scene) -> None:
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Empty")
    ui.sequenceSelector.setCurrentNode(browser)
    ui.allMomentsButton.click()
    assert ui.sequenceMessage.text == "No sequence is selected. Load a 4D CT and select it here."
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Lines")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    ui.momentButton.click()
    assert "is no sequence of CTs" in ui.sequenceMessage.text
    assert ui.sequenceSelector.nodeCount() == 1


def test_before_anything_is_segmented_there_is_no_plot(chosen, ui) -> None:
    ui.plotMomentsButton.click()
    assert ui.sequenceMessage.text.startswith("No moment of this sequence is segmented yet.")

"""What else the model knows becomes segments beside the pancreas, on request; hand work on them stays."""

import numpy as np
import pytest
from Testing.helpers.actions import run

from pancreasseg.core.setup import Setup
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Export
from PancreasSegLib.Work.Models import hasOption

CLASSES = ("background", "pancreas", "spleen", "tumor")


@pytest.fixture
def knowing(client):
    """A model that knows more than the pancreas."""
    client.classes = CLASSES
    return client


def structures(parameters) -> dict[str, str]:
    segmentation = parameters.structuresNode.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {segmentation.GetSegment(it).GetName(): it for it in identifiers}


def test_nobody_gets_structures_who_did_not_ask(panel, ui, knowing, selected) -> None:
    run(panel)
    assert Parameters.forVolume(selected).structuresNode is None


def test_structures_are_segments_of_their_own_beside_the_pancreas(panel, ui, knowing, selected) -> None:
    ui.structuresCheckBox.click()
    run(panel)
    parameters = Parameters.forVolume(selected)
    assert set(structures(parameters)) == {"Spleen", "Tumour"}
    segment = parameters.structuresNode.GetSegmentation().GetSegment(structures(parameters)["Spleen"])
    assert "SCT^78961009^Spleen" in segment.GetTerminology()
    assert Segments.tagOf(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
    assert ui.segmentMessage.text.startswith("Also found: Spleen ")
    assert parameters.structuresNode is not parameters.segmentationNode
    names = [segment.name for segment in Export.exportSegments(parameters)]
    assert names == ["Pancreas", "Spleen", "Tumour"]


def test_a_second_run_replaces_them_but_never_what_a_person_has_drawn(panel, ui, knowing, selected) -> None:
    ui.structuresCheckBox.click()
    run(panel)
    parameters = Parameters.forVolume(selected)
    first = parameters.structuresNode
    run(panel)
    assert parameters.structuresNode is first
    assert set(structures(parameters)) == {"Spleen", "Tumour"}
    spleen = structures(parameters)["Spleen"]
    drawn = np.zeros_like(Segments.readMask(first, spleen, selected))
    drawn[2, 2, 2] = 1
    Segments.writeMask(drawn, first, spleen, selected)
    run(panel)
    assert parameters.structuresNode is not first
    np.testing.assert_array_equal(Segments.readMask(first, spleen, selected), drawn)


def test_hidden_structures_are_not_exported(panel, ui, knowing, selected) -> None:
    ui.structuresCheckBox.click()
    run(panel)
    ui.structuresCheckBox.click()
    parameters = Parameters.forVolume(selected)
    assert not parameters.structuresNode.GetDisplayNode().GetVisibility()
    assert [segment.name for segment in Export.exportSegments(parameters)] == ["Pancreas"]


def test_a_model_that_knows_the_pancreas_alone_says_so(panel, ui, selected) -> None:
    ui.structuresCheckBox.click()
    run(panel)
    assert "the pancreas alone" in ui.segmentMessage.text
    assert Parameters.forVolume(selected).structuresNode is None


def test_a_pipeline_that_tells_more_only_on_request_is_asked(panel, ui, client, selected) -> None:
    ui.structuresCheckBox.click()
    run(panel)
    asked = [dict(setup.options) for name, setup in client.requests if name == "localize"]
    assert asked == [{"structures": True}]


def test_a_pipeline_without_that_choice_is_asked_for_nothing(panel, scene) -> None:
    assert hasOption(Setup("fast"), "structures")
    assert not hasOption(Setup("whole-volume"), "structures")
    assert not hasOption(Setup("single-stage"), "structures")

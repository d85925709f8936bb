"""CTs and ROIs that cannot be used, and why what is disabled is."""

import numpy as np
import pytest
import slicer
from Testing.helpers.actions import run
from Testing.helpers.builders import aBendingTransform, aCt, aGeometry, aTransform, rotation
from Testing.helpers.panel import wait

from PancreasSegLib.Scene import VolumeNodes


def labelmap(scene):
    return scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")


def without_voxels(scene):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")


def colour(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 3, 3, 3), np.uint8))
    return node


def magnetic_resonance(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "T1")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    return node


def moment_of_a_sequence(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Perfusion")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Sequence")
    sequence.SetDataNodeAtValue(node, "0")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(node, sequence, False)
    return node


def bent(scene):
    node = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Warped")
    node.SetAndObserveTransformNodeID(aBendingTransform(scene).GetID())
    return node


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (magnetic_resonance, "is a MR series"),
        (without_voxels, "has no voxels"),
        (moment_of_a_sequence, "one moment of the 4D sequence"),
        (bent, "Harden the transform"),
    ],
)
def test_what_is_no_ct_is_a_sentence_and_the_button_says_why(panel, ui, scene, make, said) -> None:
    ui.volumeSelector.setCurrentNode(make(scene))
    assert said in ui.inputMessage.text
    assert not ui.segmentButton.enabled
    assert ui.segmentButton.toolTip == ui.locateButton.toolTip == ui.inputMessage.text


@pytest.mark.parametrize("make", [labelmap, colour])
def test_volumes_of_another_kind_are_not_offered(panel, ui, scene, make) -> None:
    ui.volumeSelector.setCurrentNode(make(scene))
    assert ui.volumeSelector.currentNode() is None
    assert ui.volumeSelector.nodeCount() == 0


def test_without_a_volume_the_button_says_so(panel, ui) -> None:
    assert not ui.segmentButton.enabled
    assert ui.segmentButton.toolTip.startswith("No CT volume is selected.")
    assert ui.inputMessage.isHidden(), "an empty panel needs no reproach"


def test_a_ct_that_is_bent_later_is_refused_from_then_on(panel, ui, scene, selected) -> None:
    assert ui.segmentButton.enabled
    selected.SetAndObserveTransformNodeID(aBendingTransform(scene).GetID())
    wait(lambda: not ui.segmentButton.enabled)
    assert "non-linear" in ui.segmentButton.toolTip


def test_voxels_that_only_reading_finds_wrong_are_a_sentence_after_the_click(panel, ui, selected) -> None:
    selected.GetImageData().AllocateScalars(10, 1)
    slicer.util.arrayFromVolume(selected)[:] = np.nan
    run(panel)
    assert "not numbers" in ui.segmentMessage.text


def rotate(roiNode, scene) -> None:
    """About its own middle."""
    matrix, centre = np.eye(4), np.array(roiNode.GetCenterWorld())
    matrix[:3, :3] = rotation(0, 0, 20)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    roiNode.SetAndObserveTransformNodeID(aTransform(scene, "Turn", matrix).GetID())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda roi, scene: roi.SetCenter(5000, 0, 0), "lies outside the volume"),
        (lambda roi, scene: roi.SetSize(0, 10, 10), "thinner than one voxel"),
        (lambda roi, scene: roi.SetSize(-10, 10, 10), "turned inside out"),
        (lambda roi, scene: roi.RemoveAllControlPoints(), "has no size yet"),
        (rotate, "is rotated against the slices"),
    ],
)
def test_an_roi_that_cannot_be_used_says_why(panel, ui, scene, selected, spoil, said) -> None:
    run(panel)
    spoil(panel.session.parameters.roiNode, scene)
    wait(lambda: not ui.segmentButton.enabled)
    assert said in ui.segmentButton.toolTip
    assert said in ui.roiFactsLabel.text


def test_a_rotated_roi_is_aligned_by_one_click(panel, ui, scene, selected) -> None:
    run(panel)
    assert not ui.alignRoiButton.enabled
    rotate(panel.session.parameters.roiNode, scene)
    wait(lambda: ui.alignRoiButton.enabled)
    ui.alignRoiButton.click()
    assert ui.segmentButton.enabled
    run(panel)
    assert ui.segmentMessage.text == ""


BUTTONS = (
    "segmentButton", "locateButton", "marginSlider", "alignRoiButton", "roiVisibleCheckBox", "fastRadioButton",
    "agreementCheckBox", "draftCheckBox", "restoreDraftButton", "copyButton", "csvButton", "tableButton", "chartButton",
    "dicomSegButton", "rtstructButton", "niftiButton", "nrrdButton", "stlButton", "addMarginButton",
    "installModelButton", "installFileButton", "installFolderButton", "verifyModelButton", "removeModelButton",
    "dependenciesButton", "referenceSegmentSelector",
)  # fmt: skip


def test_every_disabled_widget_says_why_in_every_situation(panel, ui, client, scene, aVolumeNode) -> None:
    tips = {name: getattr(ui, name).toolTip for name in BUTTONS if getattr(ui, name).enabled}

    def check(situation: str) -> None:
        for name in BUTTONS:
            widget = getattr(ui, name)
            tips.update({name: widget.toolTip} if widget.enabled else {})
            if not widget.enabled:
                assert widget.toolTip.endswith("."), f"{name}, {situation}"
                assert widget.toolTip != tips.get(name), f"{name} gives no reason, {situation}"

    check("nothing selected")
    ui.volumeSelector.setCurrentNode(labelmap(scene))
    check("a labelmap")
    ui.volumeSelector.setCurrentNode(aVolumeNode)
    check("a CT")
    client.held = True
    ui.segmentButton.click()
    check("running")
    client.held = False
    wait(lambda: panel.settled)
    check("a result")
    panel.session.parameters.segmentationNode.GetSegmentation().RemoveAllSegments()
    wait(lambda: not ui.copyButton.enabled)
    check("the segment is gone")

"""What is possible, and why not: plain, without widgets or scene."""

from dataclasses import replace

import pytest

from PancreasSegLib.Panel.Situation import Situation

READY = Situation(volumeSelected=True, folder="/somewhere")
DONE = replace(READY, segmentPresent=True, draftPresent=True, roiPresent=True)


def test_with_a_ct_one_can_locate_and_segment() -> None:
    assert READY.whyNotLocate() == READY.whyNotSegment() == ""
    assert not READY.insideRoi


@pytest.mark.parametrize("field", ["volumeRefusal", "modelRefusal"])
def test_a_ct_or_model_that_cannot_be_used_is_the_reason(field) -> None:
    situation = replace(READY, **{field: "The reason."})
    assert situation.whyNotLocate() == situation.whyNotSegment() == "The reason."


def test_missing_packages_do_not_disable_the_button_because_a_click_offers_to_install_them() -> None:
    assert replace(READY, missingPackages=("torch",)).whyNotSegment() == ""


def test_a_run_leaves_only_cancel() -> None:
    running = replace(DONE, busy="segment")
    assert running.whyNotSegment() == ""
    for why in (
        running.whyNotLocate,
        running.whyNotFast,
        running.whyNotMargin,
        running.whyNotRestore,
        running.whyNotSample,
    ):
        assert "run is going on" in why()


def test_a_run_that_is_being_cancelled_cannot_be_cancelled_again() -> None:
    assert "stopped" in replace(READY, busy="segment", cancelling=True).whyNotSegment()


def test_an_roi_placed_by_hand_is_segmented_inside_and_must_be_usable() -> None:
    placed = replace(READY, roiPresent=True, roiByHand=True)
    assert placed.insideRoi
    assert replace(placed, roiRefusal="It is rotated.").whyNotSegment() == "It is rotated."


def test_an_automatic_roi_never_stands_in_the_way() -> None:
    assert replace(READY, roiPresent=True, roiRefusal="Odd.").whyNotSegment() == ""


def test_without_a_segment_there_is_nothing_to_measure_correct_or_export() -> None:
    for why in (READY.whyNotMeasure, READY.whyNotExport, READY.whyNotDicom, READY.whyNotMargin, READY.whyNotRestore):
        assert why().endswith(".")


def test_an_empty_segment_is_measured_but_not_exported() -> None:
    empty = replace(DONE, segmentEmpty=True)
    assert empty.whyNotMeasure() == ""
    assert empty.whyNotExport() == empty.whyNotMargin() == "The segment is empty."


def test_export_needs_a_folder_and_dicom_needs_dicom() -> None:
    assert replace(DONE, folder="").whyNotExport() == "Choose a folder first."
    assert DONE.whyNotExport() == DONE.whyNotDicom() == ""
    assert replace(DONE, dicomRefusal="Not from DICOM.").whyNotDicom() == "Not from DICOM."


def test_only_a_rotated_roi_can_be_aligned() -> None:
    assert "no ROI" in READY.whyNotAlign()
    assert "parallel" in DONE.whyNotAlign()
    assert replace(DONE, roiRotated=True).whyNotAlign() == ""


def test_only_a_corrected_segment_goes_back_to_the_draft() -> None:
    assert "nothing was corrected" in DONE.whyNotRestore()
    assert replace(DONE, edited=True).whyNotRestore() == ""


@pytest.mark.parametrize(
    ("state", "install", "verify", "remove"),
    [("", False, False, False), ("available", True, False, False), ("bundled", False, True, False),
     ("installed", False, True, True), ("damaged", True, True, True)],
)  # fmt: skip
def test_what_can_be_done_with_a_model_depends_on_its_state(state, install, verify, remove) -> None:
    situation = replace(READY, modelSelected=state)
    possible = [not why() for why in (situation.whyNotInstallModel, situation.whyNotVerify, situation.whyNotRemove)]
    assert possible == [install, verify, remove]
    assert replace(situation, installing=True).whyNotInstallFile() == "A model is being installed."


def test_a_model_in_use_is_not_removed() -> None:
    assert "run is going on" in replace(READY, modelSelected="installed", busy="segment").whyNotRemove()

"""Keep for training: a folder of the person's choice gets the correction, and nothing about the patient."""

import json

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
from Testing.helpers.actions import edit, mask, run

from pancreasseg.io.corrections import corrections
from pancreasseg.io.read import read_mask
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters


def test_without_a_segment_the_button_says_what_to_do(panel, ui, selected) -> None:
    assert not ui.keepCorrectionButton.enabled
    assert "Click Segment pancreas first" in ui.keepCorrectionButton.toolTip


def test_a_correction_is_kept_with_the_voxels_of_its_ct(panel, ui, dialogs, selected, tmp_path) -> None:
    selected.SetName("Doe^Jane")
    run(panel)
    parameters = Parameters.forVolume(selected)
    drawn = edit(parameters)
    dialogs.path = str(tmp_path / "kept")
    ui.keepCorrectionButton.click()
    (kept,) = corrections(tmp_path / "kept")
    assert ui.correctMessage.text == f"Kept CT, mask and box as {kept.name} in {dialogs.path}."
    geometry = geometryOfNode(selected)
    np.testing.assert_array_equal(read_mask(kept.mask, geometry), drawn)
    kept_ct = sitk.GetArrayFromImage(sitk.ReadImage(str(kept.ct)))
    np.testing.assert_array_equal(kept_ct, slicer.util.arrayFromVolume(selected))
    assert kept.box is not None
    for path in (tmp_path / "kept").iterdir():
        assert b"Doe" not in path.read_bytes()


def test_a_ct_from_a_file_is_kept_by_its_name(panel, ui, dialogs, selected, tmp_path) -> None:
    file = str(tmp_path / "CT ü.nrrd")
    storage = selected.CreateDefaultStorageNode()
    storage.SetFileName(file)
    slicer.mrmlScene.AddNode(storage)
    selected.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.WriteData(selected)
    run(panel)
    parameters = Parameters.forVolume(selected)
    dialogs.path = str(tmp_path / "kept")
    ui.keepCorrectionButton.click()
    (kept,) = corrections(tmp_path / "kept")
    assert str(kept.ct) == file
    np.testing.assert_array_equal(read_mask(kept.mask, geometryOfNode(selected)), mask(parameters))
    entry = json.loads((tmp_path / "kept" / f"{kept.name}.json").read_text())
    assert entry["ct"] == file


def test_who_chooses_no_folder_keeps_nothing(panel, ui, dialogs, selected, tmp_path) -> None:
    run(panel)
    dialogs.path = ""
    ui.keepCorrectionButton.click()
    assert "Kept" not in ui.correctMessage.text

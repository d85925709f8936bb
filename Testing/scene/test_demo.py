"""`make demo`: from a file to the scene and the files beside it."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from Testing import demo
from Testing.helpers.bright_model import a_patient, write_bright_model
from Testing.helpers.builders import OBLIQUE

from pancreasseg.core import Geometry
from pancreasseg.grids.resample import to_image
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Parameters import Parameters

FILES = ["pancreas.nii.gz", "pancreas.seg.nrrd", "report.png", "result.json", "scene.mrb", "statistics.csv"]


@pytest.fixture
def aCtFile(headless, tmp_path, monkeypatch):
    """An oblique CT with the bright model installed for it."""
    write_bright_model(tmp_path / "home")
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    patient, _ = a_patient()
    geometry = Geometry(patient.geometry.size, (2.0, 2.0, 5.0), (91.5, -37.25, 12.0), tuple(OBLIQUE.ravel().tolist()))
    path = tmp_path / "CT Müller.nrrd"
    sitk.WriteImage(to_image(patient.array, geometry), str(path))
    return path


def test_the_demo_leaves_a_scene_and_the_files_of_the_command_line(headless, aCtFile, tmp_path, capsys) -> None:
    output = tmp_path / "demo output"
    assert demo.main(["--output", str(output), "--ct", str(aCtFile), "--model", "bright"]) == 0
    names = sorted(path.name for path in output.iterdir())
    assert [name for name in names if name != "views.png"] == FILES  # views.png only where something can be drawn
    assert "Volume" in capsys.readouterr().out
    result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    assert result["provenance"]["models"][0]["name"] == "bright"

    headless.clear()
    assert headless.scene.ReadFromMRB(str(output / "scene.mrb"), True)
    parameters = Parameters(headless.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    assert mask.any()
    np.testing.assert_array_equal(mask, sitk.GetArrayFromImage(sitk.ReadImage(str(output / "pancreas.nii.gz"))))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--ct", "nowhere.nii.gz"], 3, "nowhere.nii.gz"),
        (["--ct", "CT Müller.nrrd", "--model", "unheard-of"], 4, "unheard-of"),
    ],
    ids=["no such file", "no such model"],
)
def test_what_cannot_be_done_is_a_sentence_and_leaves_no_file(
    aCtFile, tmp_path, monkeypatch, capsys, arguments, code, sentence
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.main(["--output", "out", *arguments]) == code
    assert sentence in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []

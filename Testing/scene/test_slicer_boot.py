"""The headless Slicer that the scene tests and the demo stand on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.fakes import FakeClient

from PancreasSegLib.Scene import SceneFiles, VolumeNodes
from PancreasSegLib.Work.Workflow import Workflow

ROOT = Path(__file__).parents[2]
PROBE = (
    "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.AddRenderer(vtk.vtkRenderer()); w.Render()"
)


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def classes_in(scene) -> list[str]:
    names = (scene.GetNthNode(n).GetClassName() for n in range(scene.GetNumberOfNodes()))
    return sorted(name for name in names if name != "vtkMRMLSubjectHierarchyNode")  # made when it is asked for


def test_a_closed_scene_holds_nothing_of_a_person(headless) -> None:
    before = classes_in(headless.scene)
    Workflow(FakeClient()).run(VolumeNodes.addVolumeNode(headless.scene, aCt(aGeometry()), "CT"))
    assert len(classes_in(headless.scene)) > len(before)
    headless.clear()
    assert classes_in(headless.scene) == before
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(headless.scene)
    assert hierarchy.GetNumberOfItems() == 0


def test_errors_that_vtk_only_prints_are_noticed(headless) -> None:
    headless.scene.AddNewNodeByClass("vtkMRMLNonsenseNode")
    assert "vtkMRMLNonsenseNode" in headless.messages.text()
    headless.messages.clear()
    assert headless.messages.text() == ""


def test_an_exception_in_an_observer_is_noticed(scene, monkeypatch) -> None:
    noticed = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: noticed.append(error))

    def fail(caller, event):
        raise RuntimeError("in an observer")

    tag = scene.AddObserver(scene.StartCloseEvent, fail)
    scene.Clear(False)
    scene.RemoveObserver(tag)
    assert [str(error) for error in noticed] == ["in an observer"]


def test_slicers_utilities_work_on_the_scene(scene) -> None:
    node = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name="made by slicer.util")
    assert slicer.util.getNode("made by slicer.util") is node
    assert slicer.app.mrmlScene() is slicer.mrmlScene is scene
    assert isinstance(slicer.modules.segmentations.logic(), vtk.vtkObject)


def test_a_saved_scene_can_be_drawn_in_slicers_views(headless, tmp_path) -> None:
    if python("-c", PROBE).returncode != 0:
        pytest.skip("nothing can be drawn off screen here: EGL or OSMesa is missing")
    geometry = aGeometry(spacing=(2.0, 2.0, 4.0))
    Workflow(FakeClient()).run(VolumeNodes.addVolumeNode(headless.scene, aCt(geometry), "CT"))
    SceneFiles.saveScene(headless.scene, tmp_path / "scene.mrb")
    done = python("-m", "Testing.slicer_boot.views", str(tmp_path / "scene.mrb"), str(tmp_path / "views.png"))
    assert done.returncode == 0, done.stderr
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "views.png")).astype(int)
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    for rows, columns in ((0, 0), (0, 1), (1, 0), (1, 1)):
        view = picture[rows * height : (rows + 1) * height, columns * width : (columns + 1) * width]
        orange = (view[..., 0] > 150) & (view[..., 0] - view[..., 2] > 60)
        assert orange.sum() > 200, f"no segment in view {rows}, {columns}"


def test_a_file_that_is_no_scene_is_not_drawn(tmp_path) -> None:
    (tmp_path / "scene.mrb").write_bytes(b"nothing")
    done = python("-m", "Testing.slicer_boot.views", str(tmp_path / "scene.mrb"), str(tmp_path / "views.png"))
    assert done.returncode == 2
    assert "is no scene" in done.stderr
    assert not (tmp_path / "views.png").exists()

"""A saved and reloaded scene holds the same mask in the same place."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from Testing.helpers.builders import DIRECTIONS, aCt, aGeometry, aMask, aTransform
from Testing.helpers.fakes import FakeClient

from pancreasseg.core.errors import OutputError
from PancreasSegLib.Scene import Coordinates, RoiNodes, SceneFiles, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Workflow import Workflow


def reload(headless, path) -> Parameters:
    headless.clear()
    assert headless.scene.ReadFromMRB(str(path), True)
    return Parameters(headless.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))


def texts_of(tableNode) -> list[list[str]]:
    rows, columns = range(tableNode.GetNumberOfRows()), range(tableNode.GetNumberOfColumns())
    return [[tableNode.GetCellText(row, column) for column in columns] for row in rows]


def world_of_voxels(volumeNode, mask) -> np.ndarray:
    """World coordinates of a mask's voxels by VTK alone, in a fixed order."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    toWorld = vtk.vtkGeneralTransform()
    if volumeNode.GetParentTransformNode() is not None:
        volumeNode.GetParentTransformNode().GetTransformToWorld(toWorld)
    indices = np.argwhere(mask)[:, ::-1]
    points = np.array([toWorld.TransformPoint(matrix.MultiplyPoint((*index, 1.0))[:3]) for index in indices.tolist()])
    return points[np.lexsort(np.round(points, 2).T)]


@pytest.mark.parametrize("transformed", [False, True], ids=["plain", "under a transform"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_mask_survives_saving_voxel_for_voxel_and_in_its_place(headless, tmp_path, name, transformed) -> None:
    """5 mm slices, every direction. Slicer's reader turns left-handed grids round, so those compare on the old grid."""
    geometry = aGeometry(DIRECTIONS[name])
    volumeNode = VolumeNodes.addVolumeNode(headless.scene, aCt(geometry), "CT")
    if transformed:
        volumeNode.SetAndObserveTransformNodeID(aTransform(headless.scene).GetID())
    outcome = Workflow(FakeClient()).run(volumeNode)
    mask, box = outcome.segmentation.mask, outcome.segmentation.box
    places = world_of_voxels(volumeNode, mask)
    SceneFiles.saveScene(headless.scene, tmp_path / "scene.mrb")

    parameters = reload(headless, tmp_path / "scene.mrb")
    volumeNode = parameters.volumeNode
    reloaded = Segments.readMask(parameters.segmentationNode, parameters.segmentId, volumeNode)
    np.testing.assert_allclose(world_of_voxels(volumeNode, reloaded), places, atol=1e-3)
    grid = VolumeNodes.addVolumeNode(headless.scene, aCt(geometry), "the engine's grid")
    grid.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    np.testing.assert_array_equal(Segments.readMask(parameters.segmentationNode, parameters.segmentId, grid), mask)
    assert RoiNodes.boxOfRoi(parameters.roiNode, grid) == box
    if np.linalg.det(geometry.axes) > 0:
        assert Coordinates.geometryOfNode(volumeNode).same_grid(geometry, 1e-6)
        np.testing.assert_array_equal(reloaded, mask)
        assert not parameters.isStale()
    for node in (parameters.segmentationNode, parameters.roiNode):
        assert node.GetTransformNodeID() == volumeNode.GetTransformNodeID()


def test_labels_choices_table_and_draft_survive_saving(headless, aVolumeNode, tmp_path) -> None:
    before = Parameters.forVolume(aVolumeNode)
    before.pipeline = "two-stage"
    outcome = Workflow(FakeClient()).run(aVolumeNode)
    result, table = before.result, texts_of(before.tableNode)
    SceneFiles.saveScene(headless.scene, tmp_path / "scene.mrb")

    after = reload(headless, tmp_path / "scene.mrb")
    segment = after.segmentationNode.GetSegmentation().GetSegment(after.segmentId)
    tag = vtk.reference("")
    assert segment.GetTerminology() == Segments.TERMINOLOGY
    assert segment.GetColor() == pytest.approx(Segments.COLOR, abs=1e-4)
    assert segment.GetTag("DICOM.SegmentAlgorithmType", tag)
    assert tag == "AUTOMATIC"
    assert Segments.draftOf(after.segmentationNode).GetHideFromEditors()
    assert not Segments.draftOf(after.segmentationNode).GetDisplayVisibility()
    assert not Segments.isEdited(after.segmentationNode, after.segmentId, after.volumeNode)
    assert after.pipeline == "two-stage"
    assert after.result == result
    assert after.segmentedBox == outcome.segmentation.box
    assert texts_of(after.tableNode) == table
    assert table[0][:3] == ["Volume", outcome.measurements[0].value_text, "ml"]
    assert Parameters.forVolume(after.volumeNode).node is after.node
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(headless.scene)
    parents = {
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        for node in (after.volumeNode, after.segmentationNode, after.roiNode, after.tableNode)
    }
    assert len(parents) == 1


def test_an_empty_segment_can_be_saved(headless, aVolumeNode, tmp_path) -> None:
    segmentationNode = Segments.addSegmentationNode(aVolumeNode, "S")
    segmentId = Segments.addPancreasSegment(segmentationNode)
    Segments.writeMask(np.zeros(aGeometry().shape, bool), segmentationNode, segmentId, aVolumeNode)
    SceneFiles.saveScene(headless.scene, tmp_path / "scene.mrb")
    headless.clear()
    assert headless.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    volumeNode = headless.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentationNode = headless.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert not Segments.readMask(segmentationNode, segmentId, volumeNode).any()


def test_paths_and_names_in_any_script_with_spaces_and_of_great_length(headless, tmp_path) -> None:
    folder = tmp_path / "Ordner mit Leerzeichen" / "膵臓 Ünïcode" / ("lang " * 20).strip()
    folder.mkdir(parents=True)
    volumeNode = VolumeNodes.addVolumeNode(headless.scene, aCt(aGeometry()), 'Müller/José: "膵臓" <1>')
    segmentationNode = Segments.addSegmentationNode(volumeNode, "膵臓")
    segmentId = Segments.addPancreasSegment(segmentationNode)
    Segments.writeMask(aMask(aGeometry()), segmentationNode, segmentId, volumeNode)
    path = folder / "Szene größer.mrb"
    SceneFiles.saveScene(headless.scene, path)
    assert list(folder.iterdir()) == [path]
    headless.clear()
    assert headless.scene.ReadFromMRB(str(path), True)
    volumeNode = headless.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentationNode = headless.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert volumeNode.GetName() == 'Müller/José: "膵臓" <1>'
    assert segmentationNode.GetName() == "膵臓"
    np.testing.assert_array_equal(Segments.readMask(segmentationNode, segmentId, volumeNode), aMask(aGeometry()))


def test_a_missing_folder_is_a_sentence_and_leaves_nothing(headless, aVolumeNode, tmp_path) -> None:
    with pytest.raises(OutputError, match="could not be saved"):
        SceneFiles.saveScene(headless.scene, tmp_path / "nowhere" / "scene.mrb")
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_cannot_be_written_leaves_the_old_file_alone(headless, aVolumeNode, tmp_path, monkeypatch) -> None:
    path = tmp_path / "scene.mrb"
    SceneFiles.saveScene(headless.scene, path)
    before = path.read_bytes()

    class FullDisk:
        def WriteToMRB(self, draft, thumbnail, messages):
            Path(draft).write_bytes(b"half")
            return False

    with pytest.raises(OutputError):
        SceneFiles.saveScene(FullDisk(), path)
    assert path.read_bytes() == before
    assert zipfile.is_zipfile(path)
    assert list(tmp_path.iterdir()) == [path]

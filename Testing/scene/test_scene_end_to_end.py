"""Scene, worker process and a real network together, on the hard case: oblique, mirrored, 5 mm slices, transformed."""

import os
import signal
import time

import numpy as np
import pytest
from Testing.helpers.bright_model import a_patient, write_bright_model
from Testing.helpers.builders import OBLIQUE_MIRRORED, aTransform

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import RunError
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Scene import RoiNodes, SceneFiles, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Workflow import Workflow

AXES = tuple(float(n) for n in OBLIQUE_MIRRORED.ravel())


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    write_bright_model(home)
    with WorkerClient(environment={"PANCREASSEG_HOME": str(home), "OMP_NUM_THREADS": "2"}) as worker:
        yield worker


@pytest.fixture
def truth():
    return a_patient()[1]


@pytest.fixture
def aPatientNode(scene):
    """A patient whose pancreas is the bright ellipsoid."""
    patient, _ = a_patient()
    geometry = Geometry(patient.geometry.size, (2.0, 2.0, 5.0), (91.5, -37.25, 12.0), AXES)
    volumeNode = VolumeNodes.addVolumeNode(scene, Volume(patient.array, geometry), "CT")
    volumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    Parameters.forVolume(volumeNode).model = "bright"
    return volumeNode


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def until_the_end(workflow: Workflow) -> None:
    while workflow.poll() is None:
        time.sleep(0.01)


def test_the_engines_mask_comes_back_from_the_saved_scene(headless, client, truth, aPatientNode, tmp_path) -> None:
    outcome = Workflow(client).run(aPatientNode)
    geometry = VolumeNodes.readVolumeNode(aPatientNode).geometry
    assert overlap(outcome.segmentation.mask, truth) > 0.9
    assert outcome.measurements[0].value == pytest.approx(outcome.segmentation.mask.sum() * geometry.voxel_ml)
    SceneFiles.saveScene(headless.scene, tmp_path / "scene.mrb")

    headless.clear()
    assert headless.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    parameters = Parameters(headless.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    grid = VolumeNodes.addVolumeNode(headless.scene, Volume(np.zeros(geometry.shape, np.int16), geometry), "grid")
    grid.SetAndObserveTransformNodeID(parameters.volumeNode.GetTransformNodeID())
    np.testing.assert_array_equal(
        Segments.readMask(parameters.segmentationNode, parameters.segmentId, grid), outcome.segmentation.mask
    )
    assert RoiNodes.boxOfRoi(parameters.roiNode, grid) == outcome.segmentation.box


def test_a_dragged_box_is_obeyed(client, aPatientNode) -> None:
    workflow = Workflow(client)
    parameters = workflow.locate(aPatientNode).parameters
    found = RoiNodes.boxOfRoi(parameters.roiNode, aPatientNode)
    half = Box(found.start, ((found.start[0] + found.stop[0]) // 2, *found.stop[1:]))
    RoiNodes.setBox(parameters.roiNode, half, aPatientNode)
    mask = workflow.run(aPatientNode, inRoi=True).segmentation.mask
    assert mask[half.slices].any()
    mask[half.slices] = 0
    assert not mask.any()


def test_a_worker_killed_in_the_middle_harms_nothing_and_the_next_click_works(client, truth, aPatientNode) -> None:
    workflow = Workflow(client)
    parameters = workflow.run(aPatientNode).parameters
    before = Segments.readMask(parameters.segmentationNode, parameters.segmentId, aPatientNode)
    workflow.startSegment(aPatientNode)
    os.kill(client.pid, signal.SIGKILL)
    with pytest.raises(RunError) as failure:
        until_the_end(workflow)
    assert failure.value.code == "worker-lost"
    np.testing.assert_array_equal(
        Segments.readMask(parameters.segmentationNode, parameters.segmentId, aPatientNode), before
    )
    assert overlap(workflow.run(aPatientNode).segmentation.mask, truth) > 0.9

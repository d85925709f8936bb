"""Where the network looked, from worker to scene, on the hard case: oblique, mirrored, under a transform."""

import numpy as np
import pytest
import slicer
import slicer.util
from Testing.helpers.attentive_model import NAMES, a_small_patient, write_attentive_model
from Testing.helpers.bright_model import write_bright_model
from Testing.helpers.builders import OBLIQUE_MIRRORED, aTransform

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError, ModelError, RunError
from pancreasseg.core.setup import Setup
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create
from pancreasseg.pipelines.attention import attention_maps
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Scene import SceneFiles, VolumeNodes
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import Agreement, Attention
from PancreasSegLib.Work.Workflow import Workflow

AXES = tuple(float(n) for n in OBLIQUE_MIRRORED.ravel())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_attentive_model(folder)
    write_bright_model(folder)
    return folder


@pytest.fixture(autouse=True)
def store(home, monkeypatch) -> Store:
    monkeypatch.setenv("PANCREASSEG_HOME", str(home))
    return Store(home)


@pytest.fixture(scope="module")
def client(home):
    with WorkerClient(environment={"PANCREASSEG_HOME": str(home), "OMP_NUM_THREADS": "1"}) as worker:
        yield worker


@pytest.fixture
def aPatientNode(scene):
    patient = a_small_patient()
    geometry = Geometry(patient.geometry.size, (2.0, 2.0, 4.0), (91.5, -37.25, 12.0), AXES)
    volumeNode = VolumeNodes.addVolumeNode(scene, Volume(patient.array, geometry), "CT")
    volumeNode.SetAndObserveTransformNodeID(aTransform(scene).GetID())
    parameters = Parameters.forVolume(volumeNode)
    parameters.model, parameters.device, parameters.precision = "attentive", "cpu", "f32"
    return volumeNode


@pytest.fixture
def workflow(client) -> Workflow:
    return Workflow(client)


def composite(scene):
    name = "vtkMRMLSliceCompositeNode"
    return scene.GetFirstNodeByClass(name) or scene.AddNewNodeByClass(name)


def test_the_map_lies_over_the_ct_in_its_place_and_comes_back_from_the_saved_scene(
    headless, scene, store, workflow, aPatientNode, tmp_path
) -> None:
    parameters = workflow.run(aPatientNode).parameters
    assert Attention.mapsOf(parameters) == NAMES
    view = composite(scene)
    outcome = workflow.attend(aPatientNode, "level-1-head-2")
    image = VolumeNodes.readVolumeNode(aPatientNode)
    pipeline = create(Setup(model="attentive", device="cpu", precision="f32"), store)
    box = parameters.segmentedBox
    expected = attention_maps(pipeline.stages[0], Volume(image.array, image.geometry), box).maps["level-1-head-2"]
    node = parameters.attentionNode
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), expected, atol=1e-6)
    np.testing.assert_array_equal(outcome.attention.maps["level-1-head-2"], slicer.util.arrayFromVolume(node))
    assert geometryOfNode(node).same_grid(geometryOfNode(aPatientNode).crop(box))
    assert node.GetTransformNodeID() == aPatientNode.GetTransformNodeID()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert not hierarchy.GetItemByDataNode(node), "the map is a hidden node, and an item would show it in Data"
    assert view.GetForegroundVolumeID() == node.GetID()
    low, high = np.quantile(expected, (0.01, 0.99))
    display = node.GetDisplayNode()
    np.testing.assert_allclose((display.GetWindowLevelMin(), display.GetWindowLevelMax()), (low, high), atol=1e-4)
    assert display.GetColorNodeID() == Attention.COLORS
    assert (Attention.shownMap(parameters), parameters.attentionShown) == ("level-1-head-2", True)
    assert "level 1 head 2" in node.GetName()

    voxels = slicer.util.arrayFromVolume(node).copy()
    SceneFiles.saveScene(scene, tmp_path / "scene.mrb")
    headless.clear()
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    back = Parameters(scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    assert (back.attentionMap, back.attentionShown) == ("level-1-head-2", True)
    found = back.attentionNode
    # A left-handed CT comes back from a saved scene with another order of its voxels, in the same place.
    assert sorted(slicer.util.arrayFromVolume(found).ravel()) == pytest.approx(sorted(voxels.ravel()))
    assert found.GetTransformNodeID() == back.volumeNode.GetTransformNodeID()
    assert geometryOfNode(found).same_grid(geometryOfNode(back.volumeNode).crop(back.segmentedBox))


def test_one_map_is_shown_at_a_time(scene, workflow, aPatientNode) -> None:
    outcome = workflow.run(aPatientNode)
    parameters = outcome.parameters
    view = composite(scene)
    workflow.attend(aPatientNode, "level-1-mean")
    first = parameters.attentionNode
    workflow.attend(aPatientNode, "level-2-mean")
    assert parameters.attentionNode is first
    assert "level 2 mean" in first.GetName()
    segmentation = outcome.segmentation
    segmentation.agreement[:4] = 0.5
    Agreement.keepAgreement(parameters, segmentation)
    assert view.GetForegroundVolumeID() == first.GetID()
    Agreement.showAgreement(parameters, True)
    assert view.GetForegroundVolumeID() == parameters.agreementNode.GetID()
    assert Attention.shownMap(parameters) == ""
    Attention.showAttention(parameters, True)
    assert view.GetForegroundVolumeID() == first.GetID()
    assert not Agreement.isAgreementShown(parameters)
    Attention.showAttention(parameters, False)
    assert view.GetForegroundVolumeID() is None
    Attention.forgetAttention(parameters)
    assert parameters.attentionNode is None
    assert scene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems() == 2, "the CT and the agreement"


def test_without_gates_there_is_a_sentence_and_nothing_changes(scene, workflow, aPatientNode) -> None:
    parameters = Parameters.forVolume(aPatientNode)
    parameters.model = "bright"
    with pytest.raises(InputError, match="no result yet"):
        workflow.startAttention(aPatientNode, "level-1-mean")
    workflow.run(aPatientNode)
    with pytest.raises(ModelError, match='"bright" has no attention gates'):
        Attention.mapsOf(parameters)
    with pytest.raises(ModelError, match='"bright" has no attention gates'):
        workflow.attend(aPatientNode, "level-1-mean")
    assert parameters.attentionNode is None
    assert not workflow.running


def test_a_model_that_was_replaced_or_removed_since_is_not_asked(
    workflow, aPatientNode, home, tmp_path, monkeypatch
) -> None:
    parameters = workflow.run(aPatientNode).parameters
    result = parameters.result
    result["provenance"]["models"][0]["sha256"] = "0" * 64
    parameters.result = result
    with pytest.raises(ModelError, match="was replaced since"):
        Attention.mapsOf(parameters)
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="attentive"):
        Attention.mapsOf(parameters)


def test_a_ct_that_is_removed_meanwhile_ends_the_request(scene, workflow, aPatientNode) -> None:
    workflow.run(aPatientNode)
    workflow.startAttention(aPatientNode, "level-1-mean")
    scene.RemoveNode(aPatientNode)
    with pytest.raises(RunError, match="was removed"):
        _toItsEnd(workflow)
    assert not workflow.running


def _toItsEnd(workflow) -> None:
    while workflow.running:
        workflow.poll()

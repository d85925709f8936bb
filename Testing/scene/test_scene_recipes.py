"""The trained package of every recipe, installed, through worker and scene: the segment is the engine's own mask."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.helpers.easy_cohort import GEOMETRY, easy_case, easy_cohort
from Testing.helpers.tiny_recipes import tiny

from pancreasseg import pipelines
from pancreasseg.core import Volume
from pancreasseg.core.setup import Setup
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.run import train
from pancreasseg.models.store import Store
from pancreasseg.runs.run import segment
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Scene import RoiNodes, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Workflow import Workflow

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these only wait for each other on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory, one_thread) -> Path:
    """A store with a package of every recipe. Two steps of training: here only the way counts, not the score."""
    folder = tmp_path_factory.mktemp("recipes")
    cohort = easy_cohort(folder / "easy", count=3, folds=3)
    store = Store(folder / "home")
    for name in recipes.NAMES:
        recipe = tiny(name).with_settings({"*.schedule.steps": 2, "*.schedule.every": 2})
        package = train(recipe, cohort, 1, folder / name, hardware=Hardware("cpu", "f32"), command="as tested")
        store.install(package.folder)
    return folder / "home"


@pytest.fixture(scope="module")
def client(home):
    with WorkerClient(environment={"PANCREASSEG_HOME": str(home), "OMP_NUM_THREADS": "1"}) as worker:
        yield worker


@pytest.mark.parametrize("name", recipes.NAMES)
def test_the_package_of_a_recipe_segments_in_the_scene(name, home, client, scene) -> None:
    model, pipeline = f"{name}-fold1", recipes.get(name).pipeline
    hu, _ = easy_case(77)
    volumeNode = VolumeNodes.addVolumeNode(scene, Volume(hu, GEOMETRY), "CT")
    parameters = Parameters.forVolume(volumeNode)
    parameters.model, parameters.pipeline = model, pipeline
    parameters.device, parameters.precision = "cpu", "f32"
    outcome = Workflow(client).run(volumeNode)
    store = Store(home)
    expected = segment(
        Volume(hu, GEOMETRY), pipelines.create(Setup(pipeline, model=model, device="cpu", precision="f32"), store)
    )
    written = Segments.readMask(parameters.segmentationNode, parameters.segmentId, volumeNode)
    np.testing.assert_array_equal(written, expected.mask)
    assert parameters.segmentedBox == expected.box
    assert RoiNodes.boxOfRoi(parameters.roiNode, volumeNode) == expected.box
    assert parameters.result["provenance"]["pipeline"] == pipeline
    (used,) = parameters.result["provenance"]["models"]
    assert (used["name"], used["sha256"]) == (model, store.get(model).card.weights.sha256)
    assert [finding["code"] for finding in parameters.result["findings"]] == [f.code for f in expected.findings]
    volume = next(m for m in outcome.measurements if m.name == "volume")
    assert volume.value == pytest.approx(expected.mask.sum() * GEOMETRY.voxel_ml)
    assert "Infinity" not in json.dumps(parameters.result)

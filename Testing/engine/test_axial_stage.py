"""The axial network as a stage: what is computed for the box alone is what would be computed of all."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.lab.axial import package
from pancreasseg.lab.axial.cases import CLASSES
from pancreasseg.lab.training.export import export
from pancreasseg.models.store import Store
from pancreasseg.networks import AxialUNet
from pancreasseg.pipelines import choose, create

BOX = Box((14, 12, 3), (40, 33, 9))


def a_ct() -> Volume:
    rng = np.random.default_rng(1)
    array = rng.integers(-50, 250, (12, 48, 60)).astype(np.int16)
    return Volume(array, Geometry((60, 48, 12), (2.2, 2.2, 4.0)))


def install(home: Path, name: str, *seeds: int) -> None:
    """A package with an untrained member a seed."""
    members = {}
    for seed in seeds:
        torch.manual_seed(seed)
        members[f"m{seed}"] = AxialUNet(classes=len(CLASSES), channels=(8, 12, 16)).state_dict()
    card = {**package.card([8, 12, 16], [], 0, None), "name": name}
    card["networks"] = [{**entry, "members": list(members)} for entry in card["networks"]]
    export(home / "models" / name, card, members)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    install(tmp_path, "one", 1)
    install(tmp_path, "two", 2)
    install(tmp_path, "both", 1, 2)
    return Store(tmp_path)


def probability(store: Store, name: str) -> np.ndarray:
    pipeline = create(Setup("fast", name, "cpu", "f32"), store)
    return pipeline.stages[1].pancreas_on_box(a_ct(), BOX, Progress())


def test_folds_of_one_package_answer_with_their_mean(store):
    one, two, both = (probability(store, name) for name in ("one", "two", "both"))
    assert np.abs(one - two).max() > 0.01
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-5)


def test_the_box_alone_gets_what_the_whole_view_would_give_it(store, monkeypatch):
    alone = probability(store, "one")
    monkeypatch.setattr(AxialUNet, "windows", False)
    np.testing.assert_allclose(alone, probability(store, "one"), atol=1e-5)
    assert np.ptp(alone) > 0.01


def test_half_precision_is_close_and_the_weights_of_full_precision_stay(store):
    full = create(Setup("fast", "one", "cpu", "f32"), store).stages[1]
    half = create(Setup("fast", "one", "cpu", "bf16"), store).stages[1]
    found = half.pancreas_on_box(a_ct(), BOX, Progress())
    np.testing.assert_allclose(found, full.pancreas_on_box(a_ct(), BOX, Progress()), atol=0.05)
    assert {weight.dtype for weight in half.predictor.networks[0].parameters()} == {torch.float32}


def test_the_bundled_model_plays_all_that_two_stages_need_and_nothing_else(tmp_path):
    for pipeline in ("two-stage", "fast"):
        assert [each.card.name for each in choose(Setup(pipeline), Store(tmp_path))] == ["pancreas-ct"]
    for pipeline in ("mask-rcnn", "hierarchical", "whole-volume"):
        with pytest.raises(ModelError) as refused:
            choose(Setup(pipeline), Store(tmp_path))
        assert refused.value.code == "no-model-for-pipeline"
        with pytest.raises(ModelError) as misfit:
            choose(Setup(pipeline, "pancreas-ct"), Store(tmp_path))
        assert misfit.value.code == "model-does-not-fit"
    with pytest.raises(ModelError) as gone:
        choose(Setup(model="phantom-two-stage"), Store(tmp_path))
    assert gone.value.code == "unknown-model"
    assert "models list" in gone.value.hint, "the command line refuses, and says what there is"

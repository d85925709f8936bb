"""Pipelines by name, from whatever is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Testing.helpers.model_cards import card_of, network_entry

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError, ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.lab.training.recipes import RECIPES
from pancreasseg.models.package import write_package
from pancreasseg.models.store import Store
from pancreasseg.networks import build
from pancreasseg.pipelines import cast, choose, create, names
from pancreasseg.pipelines.averaged_stage import AveragedStage
from pancreasseg.pipelines.two_stage import TwoStagePipeline

ARGUMENTS = {"channels": [4, 8]}


def install(home: Path, name: str, *roles: str, pipeline: str = "two-stage", **options: Any) -> None:
    """A package with untrained networks of the given roles."""
    torch.manual_seed(0)
    networks, tensors = [], {}
    for role in roles:
        prefix = role.replace("-", "_")
        state = build("unet3d", **ARGUMENTS).state_dict()
        tensors |= {f"{prefix}.{key}": value for key, value in state.items()}
        networks.append(network_entry(role, arguments=ARGUMENTS, members=[prefix]))
    card = card_of(*networks, name=name, pipeline=pipeline, options=options)
    write_package(home / "models" / name, card, tensors)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    install(tmp_path, "both", "localizer", "segmenter")
    install(tmp_path, "coarse-only", "localizer")
    install(tmp_path, "fine-only", "segmenter", pipeline="single-stage")
    return Store(tmp_path)


@pytest.mark.parametrize("name", ["two-stage", "fast", "single-stage"])
def test_every_pipeline_can_be_made_from_a_package_with_its_networks(store: Store, name: str) -> None:
    pipeline = create(Setup(name, model="both", device="cpu", precision="f32"), store)
    assert pipeline.name == name
    assert [package.card.name for package in pipeline.models] == ["both"]
    assert (pipeline.device, pipeline.precision) == ("cpu", "f32")


def test_the_card_names_the_pipeline_when_nobody_else_does(store: Store) -> None:
    assert create(Setup(model="fine-only", device="cpu"), store).name == "single-stage"


def test_localizer_and_segmenter_may_come_from_two_packages(store: Store) -> None:
    pipeline = create(Setup("two-stage", model="coarse-only+fine-only", device="cpu"), store)
    assert [package.card.name for package in pipeline.models] == ["coarse-only", "fine-only"]


def players(setup: Setup, store: Store) -> list[tuple[str, str]]:
    """The pipeline, then who plays which of its roles."""
    found = cast(setup, store)
    roles = [(role, part[0].card.name) for role, part in zip(found.declaration.roles, found.parts, strict=True)]
    return [("pipeline", found.declaration.name), *roles]


def test_each_of_two_packages_plays_the_role_it_was_named_for_although_both_could_play_either(tmp_path: Path) -> None:
    for name in ("one", "two"):
        install(tmp_path, name, "localizer", "segmenter")
    store = Store(tmp_path)
    for first, second in (("one", "two"), ("two", "one")):
        assert players(Setup(model=f"{first}+{second}"), store)[1:] == [("localizer", first), ("segmenter", second)]


def test_of_two_packages_the_segmenters_pipeline_and_settings_count(tmp_path: Path) -> None:
    install(tmp_path, "finder", "localizer", pipeline="fast", margin_mm=40)
    install(tmp_path, "model", "localizer", "segmenter", pipeline="two-stage", margin_mm=5)
    pipeline = create(Setup(model="finder+model", device="cpu"), Store(tmp_path))
    assert isinstance(pipeline, TwoStagePipeline)
    assert (pipeline.name, pipeline.options.margin_mm) == ("two-stage", 5)
    assert choose(Setup(model="finder+model"), Store(tmp_path))[0].card.name == "model"


def test_several_segmenters_vote_in_a_pipeline_that_asks_more_than_one(store: Store) -> None:
    """The first one's own slides over the body and would hear it alone."""
    setup = Setup(model="fine-only,both", device="cpu")
    assert players(setup, store)[0] == ("pipeline", "two-stage")
    assert [package.card.name for package in cast(setup, store).segmenters] == ["fine-only", "both"]
    assert {package.card.name for package in create(setup, store).stages[1].packages} == {"fine-only", "both"}
    best = choose(Setup(model="coarse-only+"), store)[0].card.name
    first, second = (package.card.name for package in cast(Setup(model=f",{best}"), store).segmenters)
    assert first != second == best, "what votes is not chosen to lead as well"


@pytest.mark.parametrize(
    ("setup", "sentence"),
    [
        (Setup(model="both,coarse-only"), "The model coarse-only cannot vote"),
        (Setup(model="coarse-only,both"), "The model coarse-only cannot vote"),
        (Setup(model="abdomen,both"), "The model abdomen cannot vote"),
        (Setup(model="both,abdomen"), "The model abdomen cannot vote"),
        (Setup(model="both,both"), "one segmenter would vote twice"),
        (Setup("single-stage", "fine-only,both"), "In the pipeline single-stage several models cannot vote"),
        (Setup("whole-volume", "both,fine-only"), "In the pipeline whole-volume several models cannot vote"),
        (Setup("hierarchical", "both,fine-only"), "In the pipeline hierarchical several models cannot vote"),
    ],
)
def test_what_cannot_vote_is_refused_instead_of_being_passed_over(tmp_path, store: Store, setup, sentence) -> None:
    install(tmp_path, "abdomen", "whole-volume", pipeline="whole-volume")
    with pytest.raises(ModelError, match=sentence):
        choose(setup, store)


def test_a_localizer_alone_is_joined_by_the_best_segmenter(store: Store) -> None:
    best = choose(store=store)[0].card.name
    assert players(Setup(model="coarse-only+"), store)[1:] == [("localizer", "coarse-only"), ("segmenter", best)]
    assert players(Setup("single-stage", "fine-only"), store)[1:] == [("segmenter", "fine-only")]


def test_a_localizer_alone_where_nothing_can_segment_is_a_sentence(tmp_path: Path) -> None:
    install(tmp_path, "coarse-only", "localizer")
    with pytest.raises(ModelError, match="No model with a segmenter network"):
        choose(Setup(model="coarse-only+"), Store(tmp_path, bundled=tmp_path / "none"))


def test_two_packages_without_a_common_pipeline_get_one_with_a_place_for_both(tmp_path: Path) -> None:
    install(tmp_path, "abdomen", "whole-volume", pipeline="whole-volume")
    install(tmp_path, "fine-only", "segmenter", pipeline="single-stage")
    found = players(Setup(model="abdomen+fine-only"), Store(tmp_path))
    assert found == [("pipeline", "two-stage"), ("localizer", "abdomen"), ("segmenter", "fine-only")]


def test_a_pipeline_without_a_place_for_a_localizer_says_so(store: Store) -> None:
    with pytest.raises(ModelError, match=r"single-stage has no place for coarse-only \+ fine-only"):
        choose(Setup("single-stage", "coarse-only+fine-only"), store)


def test_the_card_settles_its_own_pipeline_and_the_caller_has_the_last_word(tmp_path: Path) -> None:
    options = {**RECIPES["pancreasseg-best"].options, "margin_mm": 12}
    install(tmp_path, "again", "localizer", "segmenter", **options)

    def made(name: str | None = None, **given: Any) -> tuple[int, float]:
        pipeline = create(Setup(name, model="again", device="cpu", options=given), Store(tmp_path))
        assert isinstance(pipeline, TwoStagePipeline)
        return pipeline.options.recrops, pipeline.options.margin_mm

    assert made() == (1, 12)
    assert made("two-stage", recrops=0) == (0, 12)
    assert made("fast") == (0, 10)


@pytest.mark.parametrize(
    "options", [{"recrop": 1}, {"recrops": "1"}, {"recrops": True}, {"recrops": -1}, {"margin_mm": 1e9}]
)
def test_settings_in_a_card_that_its_pipeline_does_not_have_are_refused(tmp_path: Path, options: dict) -> None:
    install(tmp_path, "odd", "localizer", "segmenter", **options)
    with pytest.raises(ModelError, match='settings of the model "odd"') as caught:
        create(Setup(model="odd", device="cpu"), Store(tmp_path))
    assert caught.value.code == "bad-card"


def test_a_role_that_the_named_model_leaves_open_is_played_by_another(store: Store) -> None:
    first, second = choose(Setup("two-stage", "fine-only"), store)
    assert "localizer" in {network.role for network in (*first.card.networks, *second.card.networks)}
    assert "fine-only" in {first.card.name, second.card.name}


def test_a_model_without_the_networks_of_the_pipeline_is_refused_where_none_has_them(tmp_path: Path) -> None:
    install(tmp_path, "fine-only", "segmenter", pipeline="single-stage")
    alone = Store(tmp_path, bundled=tmp_path / "none")
    with pytest.raises(ModelError, match="has no localizer") as caught:
        choose(Setup("two-stage", "fine-only"), alone)
    assert caught.value.exit_code == 4


def test_unknown_names_are_refused_with_the_known_ones(store: Store) -> None:
    with pytest.raises(ModelError) as caught:
        choose(Setup("three-stage"), store)
    assert all(name in str(caught.value) for name in names())
    with pytest.raises(ModelError, match="nobody"):
        choose(Setup(model="nobody"), store)


def test_a_person_may_have_the_segmenter_look_several_times(store: Store) -> None:
    plain = create(Setup("fast", "both", "cpu", "f32"), store)
    several = create(Setup("fast", "both", "cpu", "f32", {"scales": [1.25], "shifts_hu": [-10, 10]}), store)
    assert not isinstance(plain.stages[1], AveragedStage), "off by default"
    volume = Volume(
        np.random.default_rng(0).integers(-100, 200, (16, 24, 24)).astype(np.int16),
        Geometry((24, 24, 16), (2.0, 2.0, 3.0)),
    )
    box = Box((2, 2, 2), (22, 20, 14))
    opinion = several.stages[1].opinion_on_box(volume, box, Progress())
    looks = [plain.stages[1].opinion_on_box(volume, box, Progress()).probability]
    for shift in (-10, 10):
        moved = Volume((volume.array + shift).astype(np.int16), volume.geometry)
        looks.append(plain.stages[1].opinion_on_box(moved, box, Progress()).probability)
    assert len(opinion.votes) == (4 if plain.stages[1].card.preprocessing.spacing_mm else 3)
    for look in looks:
        assert any(np.allclose(look, vote, atol=1e-6) for vote in opinion.votes)
    np.testing.assert_allclose(opinion.probability, np.mean(opinion.votes, axis=0), atol=1e-6)
    assert several.segment(volume, box).mask.shape == volume.array.shape


def test_a_look_at_coarser_pixels_has_them(tmp_path: Path) -> None:
    stage = create(Setup(model="pancreas-ct", device="cpu", precision="f32", options={"scales": [2.0]})).stages[1]
    assert isinstance(stage, AveragedStage)
    (coarse,) = stage.scaled
    own = stage.card.preprocessing.spacing_mm
    assert own is not None
    assert coarse.card.preprocessing.spacing_mm == (2 * own[0], 2 * own[1], own[2])
    assert coarse.predictor is stage.predictor, "the weights are there once"


@pytest.mark.parametrize(
    "options",
    [
        {"scales": ["a"]}, {"shifts_hu": [1e9]}, {"scales": [True]}, {"recrops": -1}, {"recrops": 10**6},
        {"threshold": 0.0}, {"threshold": 2.0}, {"threshold": float("nan")}, {"margin_mm": -5.0}, {"growth_mm": 1e9},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_a_sentence(store: Store, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        create(Setup("fast", "both", "cpu", "f32", options), store)
    assert refused.value.code == "bad-setting"


@pytest.mark.parametrize("model", ["++", "+bright", "a++b", "a+b,", "a+b,,c", "a,"])
def test_a_name_that_is_missing_is_no_silent_choice(model) -> None:
    with pytest.raises(ModelError, match="A name is missing"):
        choose(Setup(model=model))

"""The recipes: what they are, how settings change them, and that every one of them trains, ships and runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.helpers.easy_cohort import GEOMETRY, easy_case, easy_cohort
from Testing.helpers.tiny_recipes import QUICK, SMALL, TINY, tiny

from pancreasseg import networks, pipelines
from pancreasseg.cli.main import main
from pancreasseg.core import Box
from pancreasseg.core.errors import InputError, OutputError
from pancreasseg.grids.resample import to_image
from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.write import write_nifti
from pancreasseg.lab.cohorts import Cohort
from pancreasseg.lab.evaluation.tables import boxes_table, folds_table, methods_table
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.losses import class_weights
from pancreasseg.lab.training.part import PartLoop, split
from pancreasseg.lab.training.plan import read_plan, tasks
from pancreasseg.lab.training.recipes.recipe import parse_setting
from pancreasseg.lab.training.run import train
from pancreasseg.measure.compare import dice
from pancreasseg.models.card import Card

CPU = Hardware("cpu", "f32")


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return easy_cohort(tmp_path_factory.mktemp("easy"))


def test_every_recipe_is_tried_here():
    assert set(TINY) == set(recipes.NAMES)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_a_recipe_names_what_exists_and_makes_a_valid_card(name):
    recipe = recipes.get(name)
    assert tuple(part.role for part in recipe.parts) == pipelines.declarations()[recipe.pipeline].roles
    for part in recipe.parts:
        with torch.device("meta"):
            networks.build(part.network, **part.arguments)
    weights = {"file": "w", "sha256": "0" * 64, "size": 1}
    card = Card.from_dict(
        {
            "format": 1, "name": name, "version": "1", "title": recipe.title, "description": "x",
            "pipeline": recipe.pipeline, "networks": [part.card() for part in recipe.parts],
            "contrast_phase": "portal-venous", "intended_use": "tests", "not_for": [], "figures": [],
            "licence": "none", "citation": recipe.published.source, "weights": weights,
        }
    )  # fmt: skip
    for part, entry in zip(recipe.parts, card.networks, strict=True):
        low, high = part.window_hu
        ends = entry.preprocessing.normalise(np.array([low - 500, low, high, high + 500]))
        expected = [(v - part.mean) / part.deviation for v in (0, 0, 1, 1)]
        np.testing.assert_allclose(ends, expected, rtol=1e-5, atol=1e-5)


def test_the_published_settings_are_in_the_recipes():
    zhao = recipes.get("zhao2019")
    assert zhao.part("localizer").grid.decimation == 4
    assert zhao.part("segmenter").sampling.margin_voxels == 10
    assert zhao.part("segmenter").sampling.jitter is None
    assert zhao.part("segmenter").objective.center_epochs == 50
    oktay = recipes.get("oktay2018").part("segmenter")
    assert (oktay.schedule.batch, oktay.schedule.learning_rate, oktay.schedule.weight_decay) == (2, 1e-4, 1e-6)
    assert oktay.patch == (160, 160, 96)
    dogan = recipes.get("dogan2021")
    assert dogan.options["margin_mm"] == dogan.part("segmenter").sampling.margin_mm == 16
    roth = recipes.get("roth2017").part("localizer")
    assert (roth.schedule.optimiser, roth.schedule.momentum, roth.grid.decimation) == ("sgd", 0.99, 2)
    assert roth.sampling.size == (132, 132, 116)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_published_rows_fit_the_tables(name):
    published = recipes.get(name).published
    assert all(len(row) == len(folds_table([]).header) for row in published.folds)
    assert all(len(row) == len(boxes_table([]).header) for row in published.boxes)
    assert set(published.figures) <= set(methods_table({}, {}).header)


def test_settings_change_by_path_for_one_network_or_all():
    recipe = recipes.get("zhao2019").with_settings(
        {"localizer.objective.center_weight": 0.5, "*.schedule.steps": 9, "segmenter.arguments.norm": "batch"}
    )
    assert recipe.part("localizer").objective.center_weight == 0.5
    assert recipe.part("segmenter").objective.center_weight == 0.1
    assert [part.schedule.steps for part in recipe.parts] == [9, 9]
    assert recipe.part("segmenter").arguments["norm"] == "batch"
    assert recipes.get("zhao2019").part("localizer").schedule.steps > 9
    dogan = recipes.get("dogan2021").with_settings({"options.score": 0.5})
    assert (dogan.options["score"], dogan.options["margin_mm"]) == (0.5, 16.0)
    with pytest.raises(InputError, match="cannot be 'often'"):
        dogan.with_settings({"options.score": "often"})
    assert parse_setting("*.schedule.steps=5") == ("*.schedule.steps", 5)
    assert parse_setting("a.objective.loss=dice+ce") == ("a.objective.loss", "dice+ce")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("localizer.schedule.stepz", 5, "no setting"),
        ("localiser.schedule.steps", 5, "no network"),
        ("*.schedule.steps", "many", "cannot be"),
        ("*.schedule.steps", 0, "at least 1"),
        ("*.schedule.steps", True, "cannot be"),
        ("*.objective.loss", "luck", "not one of"),
        ("*.schedule", 3, "cannot be"),
        ("options.luck", 1, "no setting"),
        ("localizer.sampling.kind", "slice", "need each other"),
    ],
)
def test_settings_that_make_no_sense_are_refused(path, value, said):
    with pytest.raises(InputError, match=said):
        recipes.get("zhao2019").with_settings({path: value})


def test_watched_cases_are_whole_groups_of_the_training_cases(cohort):
    training, _ = cohort.fold(1)
    learned, watched = split(training, 0.1, seed=1)
    assert len(watched) == 1
    assert {case.id for case in learned} | {case.id for case in watched} == {case.id for case in training}
    twins = [training[0].moved(group="twins"), training[1].moved(group="twins"), training[2]]
    for seed in range(4):
        parts = split(twins, 0.4, seed)
        assert {case.group for case in parts[0]}.isdisjoint({case.group for case in parts[1]})
        assert parts[0]
    assert split(training, 0, 1) == (training, ())
    assert split(training[:1], 0.5, 1) == (training[:1], ())


def test_every_case_comes_once_an_epoch_and_examples_hold_the_organ(cohort, tmp_path):
    part = tiny("zhao2019").with_settings({"*.schedule.batch": 2}).part("segmenter")
    loop = PartLoop(part, cohort, cohort.cases, tmp_path, CPU)
    seen = []
    loop.example = lambda case, *_: seen.append(case.id) or (torch.zeros(1), torch.zeros(1))  # type: ignore[method-assign, func-returns-value]
    for step in range(5):
        loop.batch(step)
    for start in (0, len(loop.cases)):
        assert sorted(seen[start : start + len(loop.cases)]) == sorted(case.id for case in loop.cases)
    assert loop.epoch(0) == 0
    assert loop.epoch(5) == 2
    del loop.example
    for case in loop.cases:
        x, truth = loop.example(case, part.augmentation, np.random.default_rng(0))
        assert x.shape == truth[:, :1].shape
        assert all(n <= whole for n, whole in zip(x.shape[2:], (18, 40, 40), strict=True))
        assert float(truth[:, 1].sum()) == pytest.approx(cohort.mask(case).sum(), rel=0.5)
        torch.testing.assert_close(truth.sum(1), torch.ones_like(truth[:, 0]))


def test_the_second_network_of_roth_learns_around_the_organ_only(cohort, tmp_path):
    recipe = tiny("roth2017").with_settings({"segmenter.sampling.candidate_voxels": 3})
    part = recipe.for_organs(cohort.organs).part("segmenter")
    loop = PartLoop(part, cohort, cohort.cases, tmp_path, CPU)
    _, truth = loop.example(loop.cases[0], part.augmentation, np.random.default_rng(0))
    counted = truth.sum(1)
    assert 0.005 < float(counted.mean()) < 0.5
    assert bool((counted[truth[:, 1] > 0.5] == 1).all())
    assert float(class_weights(truth)[1]) > float(class_weights(truth)[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.NAMES)
def test_a_recipe_trains_and_its_package_segments_unseen_cases(name, cohort, tmp_path, monkeypatch, capsys):
    package = train(tiny(name), cohort, 1, tmp_path / "run", hardware=CPU, command="as tested")
    card = package.card
    assert card.name == f"{name}-fold1"
    figures = {figure.metric: figure for figure in card.figures}
    assert figures["DSC"].value > TINY[name][1]
    assert figures["DSC"].cases == len(cohort.fold(1)[1]) == len(card.training["held_out"])
    assert card.training["command"] == "as tested"
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert made >= {"recipe.json", "training.png", "evaluation", "models", *(f"{p.role}.csv" for p in tiny(name).parts)}
    # Installed like any other package, it runs on a CT that no fold has, from the command line.
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    assert main(["models", "install", str(package.folder)]) == 0
    hu, truth = easy_case(77)
    sitk.WriteImage(to_image(hu, GEOMETRY), str(tmp_path / "ct.nii.gz"))
    write_nifti(tmp_path / "truth.nii.gz", truth, GEOMETRY)
    segment = ["segment", str(tmp_path / "ct.nii.gz"), "--pipeline", tiny(name).pipeline, "--model", card.name]
    options = ["--reference", str(tmp_path / "truth.nii.gz"), "--device", "cpu", "--precision", "f32"]
    capsys.readouterr()
    code = main([*segment, *options, "--output", str(tmp_path / "result"), "--json"])
    assert code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dsc"] > TINY[name][1]
    assert document["provenance"]["pipeline"] == tiny(name).pipeline
    assert [model["name"] for model in document["provenance"]["models"]] == [card.name]
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "result" / "pancreas.nii.gz")))
    assert dice(found, truth) == pytest.approx(document["dsc"])


def test_an_interrupted_training_ends_with_the_same_package(cohort, tmp_path):
    recipe = tiny("unet-single").with_settings({"*.schedule.steps": 12, "*.schedule.every": 4})
    weights = []
    for name in ("whole", "broken"):
        folder = tmp_path / name
        if name == "broken":
            training, _ = cohort.fold(1)
            folder.mkdir()
            PartLoop(recipe.parts[0], cohort, training, folder, CPU).run(7)
        weights.append(train(recipe, cohort, 1, folder, hardware=CPU, command="").card.weights.sha256)
    assert weights[0] == weights[1]
    again = train(recipe, cohort, 1, tmp_path / "broken", hardware=CPU, command="")
    assert again.card.weights.sha256 == weights[0]


def test_a_folder_with_another_training_is_refused(cohort, tmp_path):
    recipe = tiny("unet-single").with_settings({"*.schedule.steps": 2})
    train(recipe, cohort, 1, tmp_path / "run", hardware=CPU, command="")
    stricter = replace(recipe, options={"threshold": 0.6})
    for other, fold in ((recipe.with_settings({"*.schedule.seed": 8}), 1), (recipe, 2), (stricter, 1)):
        with pytest.raises(InputError, match="other settings, data or fold"):
            train(other, cohort, fold, tmp_path / "run", hardware=CPU, command="")


def test_the_command_line_trains_lists_and_refuses(cohort, tmp_path, capsys):
    assert main(["train", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in recipes.NAMES)
    assert main(["train", "zhao2019", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["parts"][0]["objective"]["center_weight"] == 0.1
    assert main(["train"]) == 2
    data = ["--data", str(cohort.folder)]
    assert main(["train", "nobody2000", *data]) == 3
    assert main(["train", "zhao2019", *data, "--fold", "9"]) == 3
    assert "no fold 9" in capsys.readouterr().err
    settings = [f"--set={path}={json.dumps(value)}" for path, value in {**QUICK, **SMALL}.items()]
    output = tmp_path / "run"
    train_it = ["train", "unet-single", *data, "--fold", "2", "--output", str(output), "--precision", "f32"]
    assert main([*train_it, *settings, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["package"]).name == "unet-single-fold2"
    assert answer["figures"][0]["value"] > 0.7
    evaluate = ["evaluate", answer["package"], *data, "--output", str(tmp_path / "report"), "--precision", "f32"]
    assert main([*evaluate, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]["unet-single-fold2"]
    assert {score["fold"] for score in scores} == {2}
    assert np.mean([score["dsc"] for score in scores]) == pytest.approx(answer["figures"][0]["value"], abs=0.01)
    assert main([*evaluate, "--fold", "1"]) == 3
    assert "was trained on cases of fold 1" in capsys.readouterr().err


def test_reproduce_writes_the_papers_tables_beside_the_published_figures(cohort, tmp_path, capsys):
    settings = [f"--set={path}={json.dumps(value)}" for path, value in {**QUICK, **TINY["zhao2019"][0]}.items()]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"zhao2019": {"settings": {"*.schedule.steps": 20}}}))
    command = ["reproduce", "zhao2019", "--data", str(cohort.folder), "--output", str(tmp_path), "--precision", "f32"]
    command += ["--plan", str(plan)]
    assert main([*command, *settings]) == 0
    text = (tmp_path / "report.md").read_text()
    for wanted in (
        "85.99 ± 4.51",
        "| 3, published |",
        "76.3",
        "zhao2019: DSC per fold",
        "zhao2019: Boxes per fold",
        "--plan plan.json",
    ):
        assert wanted in text
    assert (tmp_path / "zhao2019-fold1" / "models" / "zhao2019-fold1" / "model.json").is_file()
    assert (tmp_path / "zhao2019-fold2" / "training.png").is_file()
    assert list(tmp_path.glob("worst-zhao2019-*.png"))


def test_a_plan_gives_recipes_folds_and_settings_of_their_own(tmp_path):
    path = tmp_path / "plan.json"
    plan = {"zhao2019": {"folds": [2, 1, 2], "settings": {"*.schedule.steps": 9, "localizer.objective.loss": "dice"}}}
    path.write_text(json.dumps(plan))
    zhao, unet = tasks(("zhao2019", "unet-single"), (1, 3), ("*.schedule.steps=5",), read_plan(path))
    assert (zhao.folds, unet.folds) == ((2, 1), (1, 3))
    assert [part.schedule.steps for part in (*zhao.recipe.parts, *unet.recipe.parts)] == [9, 9, 5]
    assert zhao.recipe.part("localizer").objective.loss == "dice"
    # The settings of a task are what `train` takes for the same.
    assert recipes.get("zhao2019").with_settings(dict(map(parse_setting, zhao.settings))) == zhao.recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not JSON"),
        ("[1]", "does not say"),
        ('{"zhao2019": {"fold": 1}}', "does not say"),
        ('{"zhao2019": {"folds": []}}', "does not say"),
        ('{"zhao2019": {"folds": [true]}}', "does not say"),
        ('{"nobody2000": {}}', "no recipe"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(text, said, tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(path)
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_plan(path)


def test_a_full_disk_in_the_middle_of_a_training_is_told(cohort, tmp_path, monkeypatch):
    def full(self: Path, data: object) -> int:
        raise OSError(28, "No space left on device")

    recipe = tiny("unet-single").with_settings({"*.schedule.steps": 4, "*.schedule.every": 2})
    training, _ = cohort.fold(1)
    PartLoop(recipe.parts[0], cohort, training, tmp_path, CPU).run(2)
    monkeypatch.setattr(Path, "write_bytes", full)
    loop = PartLoop(recipe.parts[0], cohort, training, tmp_path, CPU)
    with pytest.raises(OutputError, match="disk is full"):
        loop.run()
    assert PartLoop(recipe.parts[0], cohort, training, tmp_path, CPU).step == 2


def test_boxes_stay_inside_the_sample(cohort, tmp_path):
    part = recipes.get("zhao2019").part("segmenter")
    sample = cohort.sample(cohort.cases[0], part.grid)
    assert Box.of_mask(np.asarray(sample.truth)) is not None
    assert sample.geometry.spacing == (2.0, 2.0, 4.0)

"""Training that begins with an installed model: recipes, and the axial network on one's own cases."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.helpers.easy_cohort import GEOMETRY as EASY
from Testing.helpers.easy_cohort import easy_case, easy_cohort
from Testing.helpers.tiny_recipes import QUICK, SMALL

from pancreasseg.cli.main import main
from pancreasseg.core import Volume
from pancreasseg.core.errors import InputError
from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.corrections import keep_correction
from pancreasseg.lab.axial import augmentation, finetuning, package
from pancreasseg.lab.axial.cases import CLASSES
from pancreasseg.lab.axial.finetuning import finetune, folds_of
from pancreasseg.lab.cohorts.prepare import Preparation, prepare
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.export import export
from pancreasseg.lab.training.run import train
from pancreasseg.lab.training.start import networks_of, start_of
from pancreasseg.models.package import ModelPackage
from pancreasseg.models.store import Store
from pancreasseg.networks import AxialUNet, build

CPU = Hardware("cpu", "f32")
CHANNELS = (16, 32)
PLAN = replace(finetuning.PLAN, steps=60, rate=1e-2, warm_up=3, batch=2, averaging=0.8)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def untrained(folder, name: str = "untrained") -> ModelPackage:
    """An axial model in a store of its own that knows nothing yet."""
    torch.manual_seed(3)
    network = AxialUNet(classes=len(CLASSES), channels=CHANNELS)
    card = {**package.card(list(CHANNELS), [], 0, None), "name": name, "licence": "CC BY-SA 4.0"}
    return export(folder / "models" / name, card, {package.MEMBER: network.state_dict()})


def test_a_recipe_goes_on_from_an_installed_model_and_says_so(tmp_path):
    cohort = easy_cohort(tmp_path / "data", count=2)
    recipe = recipes.get("unet-single").with_settings({**QUICK, **SMALL, "*.schedule.steps": 20})
    first = train(recipe, cohort, 1, tmp_path / "first", hardware=CPU, command="")
    short = recipe.with_settings({"*.schedule.steps": 1, "*.schedule.every": 1, "*.schedule.learning_rate": 1e-6})
    again = train(short, cohort, 1, tmp_path / "again", hardware=CPU, command="", start=first)
    dsc = [next(f.value for f in made.card.figures if f.metric == "DSC") for made in (first, again)]
    assert dsc[1] == pytest.approx(dsc[0], abs=0.05), "one step that changes nothing leaves it as good as it was"
    assert dsc[0] > 0.5
    assert again.card.training["from"]["sha256"] == first.card.weights.sha256
    assert "which they began with" in again.card.licence
    with pytest.raises(InputError) as refused:
        train(short, cohort, 1, tmp_path / "first", hardware=CPU, command="", start=first)
    assert refused.value.code == "other-training"


def test_outputs_are_rebuilt_by_name_where_classes_differ(tmp_path):
    part = recipes.get("unet-single").part("segmenter")
    part = replace(part, arguments={"channels": [4, 8]}, organs=("liver", "pancreas"))
    torch.manual_seed(0)
    old = build(part.network, **part.network_arguments).state_dict()
    card = {
        "name": "toy", "version": "1", "title": "Toy", "description": "", "pipeline": "single-stage",
        "networks": [part.card()], "contrast_phase": "portal-venous", "intended_use": "tests",
        "not_for": ["patients"], "training": {}, "figures": [], "licence": "Apache-2.0", "citation": "",
    }  # fmt: skip
    toy = export(tmp_path / "toy", card, {part.role: old})
    other = replace(part, organs=("pancreas", "spleen"))
    fresh = build(other.network, **other.network_arguments).state_dict()
    start = start_of(toy, other, fresh)
    stored = networks_of(toy)[part.role]
    heads = [key for key in start if start[key].shape[0] == 3 and "weight" in key]
    assert heads
    for key in heads:
        assert torch.equal(start[key][1], stored[key][2]), "the pancreas is what it was"
        assert torch.equal(start[key][2], fresh[key][2]), "the spleen is new"
    assert all(torch.equal(start[key], stored[key]) for key in start if start[key].shape[:1] != (3,))
    wider = replace(part, arguments={"channels": [8, 16]})
    with pytest.raises(InputError, match="another size"):
        start_of(toy, wider, build(wider.network, **wider.network_arguments).state_dict())
    with pytest.raises(InputError, match="no localizer"):
        start_of(toy, replace(part, role="localizer"), fresh)


def test_fine_tuning_learns_and_says_by_held_out_cases_that_it_got_better(tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "FOLDS", 2)
    monkeypatch.setattr(augmentation, "SIZE", (48, 64))  # the bodies are small
    base, cohort = untrained(tmp_path / "base"), easy_cohort(tmp_path / "data", count=4)
    settings = {"hardware": CPU, "command": "finetune", "plan": PLAN, "workers": 0}
    outcome = finetune(base, cohort, tmp_path / "out", "mine", **settings)
    assert outcome.better
    assert np.mean([score.dsc for score in outcome.before]) < 0.3
    assert "made it better" in outcome.sentence
    assert "4 better, 0 worse" in outcome.sentence
    card = outcome.package.card
    outcome.package.verify()
    assert card.training["from"]["name"] == "untrained"
    assert card.licence.startswith("CC BY-SA 4.0")
    assert "4 cases, own cases" in card.training["data"]
    assert [figure.cases for figure in card.figures if figure.metric == "DSC"] == [4, 4]
    assert outcome.report.is_file()
    assert Store(tmp_path / "out").get("mine").card.pipeline == "fast"
    again = finetune(base, cohort, tmp_path / "out", "mine", **settings)
    assert again.package.card.weights.sha256 == card.weights.sha256, "everything goes on where it stopped"
    with pytest.raises(InputError) as refused:
        finetune(base, cohort, tmp_path / "out", "mine", **{**settings, "plan": replace(PLAN, steps=61)})
    assert refused.value.code == "other-training"


def test_copies_of_a_scan_are_never_learned_from_and_judged_on(tmp_path):
    cohort = easy_cohort(tmp_path, count=5)
    twins = replace(cohort, cases=tuple(case.moved(group=f"g{n // 2}") for n, case in enumerate(cohort.cases)))
    assert [len(fold) for fold in folds_of(twins)] == [2, 2, 1]
    assert all(len({case.group for case in fold}) == 1 for fold in folds_of(twins))


def test_two_corrections_are_too_few_and_three_are_enough(tmp_path, capsys):
    for seed in range(2):
        hu, mask = easy_case(seed)
        keep_correction(tmp_path / "kept", Volume(hu, EASY), mask)
    call = ["finetune", str(tmp_path / "kept"), "--output", str(tmp_path / "out"), "--json"]
    assert main(call) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "too-few-cases"
    assert "2 CTs" in error["message"]
    hu, mask = easy_case(2)
    keep_correction(tmp_path / "kept", Volume(hu, EASY), mask)
    assert len(folds_of(prepare("corrections", tmp_path / "kept", tmp_path / "cohort", Preparation()))) == 3


def test_the_command_tells_case_by_case_and_installs_only_what_got_better(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(augmentation, "SIZE", (48, 64))
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    untrained(tmp_path / "home")
    for seed in range(3):
        hu, mask = easy_case(seed)
        keep_correction(tmp_path / "kept", Volume(hu, EASY), mask)
    call = ["finetune", str(tmp_path / "kept"), "--from", "untrained", "--output", str(tmp_path / "out")]
    assert main([*call, "--steps", "1", "--install", "--device", "cpu", "--precision", "f32", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["cases"]) == 3
    assert "did not make it better; keep the model as it is" in told["sentence"]
    assert (told["better"], told["installed"]) == (False, False)
    assert [each.card.name for each in Store().packages() if not each.bundled] == ["untrained"]
    assert ModelPackage(Path(told["package"])).card.training["from"]["name"] == "untrained"


def test_a_model_of_another_kind_is_refused_with_what_to_do_instead(tmp_path):
    base = untrained(tmp_path / "base")
    document = json.loads((base.folder / "model.json").read_text())
    for entry in document["networks"]:
        entry["members"] = ["axial", "other"]
    state = networks_of(base)["axial"]
    pair = {key: value for key, value in document.items() if key not in ("format", "weights")}
    two = export(tmp_path / "two" / "models" / "pair", {**pair, "name": "pair"}, {"axial": state, "other": state})
    with pytest.raises(InputError, match="no single axial U-Net") as refused:
        finetune(two, easy_cohort(tmp_path, count=3), tmp_path / "out", "mine", hardware=CPU, command="")
    assert "train RECIPE --from" in refused.value.hint

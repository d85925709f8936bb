"""Result folders of nnU-Net become packages, and whatever is wrong with one leaves nothing behind."""

import hashlib
import json
import pickle
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Testing.helpers import nnunet_folders as folders

from pancreasseg.core.errors import ModelError, OutputError
from pancreasseg.models import catalogue
from pancreasseg.models.nnunet import published
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.nnunet.classes import read_classes
from pancreasseg.models.nnunet.plans import read_plan
from pancreasseg.models.store import Store
from pancreasseg.runs.installing import store as user_store


@pytest.fixture
def store(tmp_path) -> Store:
    return user_store(tmp_path / "home")


def contents(store: Store) -> list[str]:
    """Everything in the store but the lock."""
    if not store.home.exists():
        return []
    return sorted(str(p.relative_to(store.home)) for p in store.home.rglob("*") if p.is_file() and p.name != ".lock")


def zipped(folder: Path, path: Path, names: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                inside = str(file.relative_to(folder))
                archive.write(file, (names or {}).get(inside, inside))
    return path


def changed(folder: Path, file: str, change: Any) -> None:
    """Change the parsed contents of a JSON file in place."""
    data = json.loads((folder / file).read_text())
    change(data)
    (folder / file).write_text(json.dumps(data))


# What a package says


@pytest.mark.parametrize("way", ["configuration", "dataset", "results", "zip"])
def test_a_result_is_installed_from_wherever_it_lies(store, tmp_path, way):
    folder = folders.write_result(tmp_path / "results", folds=("0", "1"))
    source = {
        "configuration": folder,
        "dataset": folder.parent,
        "results": folder.parent.parent,
        "zip": zipped(tmp_path / "results", tmp_path / "model.zip"),
    }[way]
    (package,) = store.install(source)
    (card,) = package.card.networks
    assert package.card.name == "dataset007-pancreas-3d-fullres"
    assert card.classes == ("background", "pancreas", "cancer")
    assert (card.pancreas, card.organ, card.regions) == (1, (1, 2), False)
    assert card.members == ("segmenter-0", "segmenter-1")
    assert card.preprocessing.window_hu == (-120.0, 250.0)
    assert card.preprocessing.normalise(np.array([40.0, 250.0])) == pytest.approx([0.0, 3.5], abs=1e-6)
    assert card.conventions is not None
    assert card.conventions.mirror_axes == (0, 1, 2)
    assert package.card.pipeline == "fast"


def test_the_spacing_and_patch_follow_the_transposition(store, tmp_path):
    given = folders.plans((8, 16, 32), (3.0, 1.0, 2.0), transposition=(2, 0, 1))
    (package,) = store.install(folders.write_result(tmp_path / "r", given))
    card = package.card.networks[0].preprocessing
    # the network's axes are x, z, y
    assert card.spacing_mm == (3.0, 2.0, 1.0)
    assert card.patch == (8, 32, 16)


def test_the_finest_configuration_is_taken_and_another_on_request(store, tmp_path):
    folders.write_result(tmp_path / "r", folders.plans(name="3d_lowres", spacing=(3, 3, 3)), name="3d_lowres")
    folders.write_result(tmp_path / "r")
    (package,) = store.install(tmp_path / "r")
    assert package.card.networks[0].preprocessing.spacing_mm == (1.5, 1.5, 1.5)
    (package,) = store.install(tmp_path / "r", choices=Choices(configuration="3d_lowres", name="low"))
    assert package.card.name == "low"
    assert package.card.networks[0].preprocessing.spacing_mm == (3.0, 3.0, 3.0)


def test_regions_are_judged_each_by_itself(store, tmp_path):
    labels = {"background": 0, "whole pancreas": [1, 2], "tumour": [2]}
    dataset = {**folders.DATASET, "labels": labels, "regions_class_order": [1, 2]}
    (package,) = store.install(folders.write_result(tmp_path / "r", dataset=dataset, outputs=2))
    (card,) = package.card.networks
    assert card.regions
    assert card.organ == (1, 2)
    assert card.classes == ("background", "whole pancreas", "tumour")


@pytest.mark.parametrize(
    ("labels", "pancreas", "organ"),
    [
        ({"pancreas": 1, "cancer": 2}, "pancreas", ["cancer"]),
        ({"spleen": 1, "Pancreas": 2, "kidney_cyst_left": 3}, "Pancreas", []),
        ({"pancreatic duct": 3, "Pancreas": 1, "PDAC": 2, "aorta": 4}, "Pancreas", ["PDAC", "pancreatic duct"]),
        ({"pancreas_head": 1, "pancreas_tail": 2}, "pancreas_head", ["pancreas_tail"]),
    ],
)  # fmt: skip
def test_the_pancreas_and_what_belongs_to_it_are_found_by_their_names(labels, pancreas, organ):
    classes = read_classes({"labels": {"background": 0, **labels}})
    assert classes.names[classes.pancreas] == pancreas
    assert [classes.names[index] for index in classes.organ[1:]] == organ


def test_a_person_says_which_class_is_the_pancreas_and_what_belongs_to_it():
    dataset = {"labels": {"background": 0, "organ": 1, "stone": 2, "cyst": 3}}
    classes = read_classes(dataset, "organ", ["stone"])
    assert (classes.pancreas, classes.organ) == (1, (1, 2))
    with pytest.raises(ModelError, match="no class"):
        read_classes(dataset, "liver")


def test_old_and_new_plans_say_the_same():
    old = read_plan(folders.plans(old=True, channels=(32, 64, 128)), "3d_fullres")
    new = folders.plans(channels=(32, 64, 128))
    new["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["n_conv_per_stage_decoder"] = [2, 2]
    assert read_plan(new, "3d_fullres") == old


def test_a_configuration_inherits_from_another():
    given = folders.plans()
    given["configurations"]["mine"] = {"inherits_from": "3d_fullres", "patch_size": [32, 32, 32]}
    assert read_plan(given, "mine").patch == (32, 32, 32)
    given["configurations"]["3d_fullres"]["inherits_from"] = "mine"
    with pytest.raises(ModelError, match="inherits from itself"):
        read_plan(given, "mine")


def test_totalsegmentators_folders_are_known_by_their_names(store, tmp_path, monkeypatch):
    dataset = {**folders.DATASET, "labels": {"background": 0, **{f"part{i}": i for i in range(1, 7)}, "pancreas": 7}}
    results = tmp_path / "home" / "nnunet" / "results"
    folders.write_result(
        results, folders.plans(spacing=(3, 3, 3)), dataset, data="Dataset297_TotalSegmentator_total_3mm_1559subj_v204"
    )
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    there = published.on_this_computer()
    assert list(there) == ["totalsegmentator-3mm"]
    (package,) = store.install(there["totalsegmentator-3mm"])
    (card,) = package.card.networks
    assert (package.card.name, package.card.licence, card.role) == ("totalsegmentator-3mm", "Apache-2.0", "localizer")
    assert card.preprocessing.orientation == "RAS"
    assert card.conventions is not None
    assert (card.conventions.scheme, card.conventions.order, card.conventions.step) == ("totalsegmentator", 1, 0.8)
    (results / "Dataset298_TotalSegmentator_total_6mm_1559subj").mkdir()
    assert list(published.on_this_computer()) == ["totalsegmentator-3mm"]
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "nowhere"))
    assert published.on_this_computer() == {}


def test_what_totalsegmentator_has_fetched_already_is_installed_by_its_name_and_not_fetched_again(
    store, tmp_path, monkeypatch
):
    dataset = {**folders.DATASET, "labels": {"background": 0, **{f"part{i}": i for i in range(1, 7)}, "pancreas": 7}}
    data = "Dataset291_TotalSegmentator_part1_organs_1559subj"
    folders.write_result(tmp_path / "weights", dataset=dataset, data=data)
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "weights"))
    monkeypatch.setattr("pancreasseg.models.download.download", lambda *_: pytest.fail("fetched"))
    (package,) = store.install("totalsegmentator-organs")
    assert package.card.name == "totalsegmentator-organs"
    assert "on this computer" in package.card.training["fetched"]
    assert (tmp_path / "weights" / data).is_dir()


@pytest.fixture
def on_a_mirror(tmp_path, monkeypatch):
    """The real file cannot be fetched here: a result of the same layout stands in for it on a mirror."""
    dataset = {**folders.DATASET, "labels": {"background": 0, **{f"part{i}": i for i in range(1, 7)}, "pancreas": 7}}
    data = "Dataset291_TotalSegmentator_part1_organs_1559subj"
    folders.write_result(tmp_path / "r", dataset=dataset, data=data)
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("PANCREASSEG_MIRROR", str(tmp_path / "mirror"))
    return zipped(tmp_path / "r", tmp_path / "mirror" / f"{data}.zip")


def published_as(monkeypatch, name: str, **facts: Any) -> None:
    """Let the catalogue state other facts about an entry's file."""
    there = dict(catalogue.results())
    there[name] = replace(there[name], files={"archive": replace(there[name].files["archive"], **facts)})
    monkeypatch.setattr(catalogue, "results", lambda: there)


def test_a_file_that_is_not_of_the_published_size_is_refused_and_leaves_nothing(store, on_a_mirror):
    with pytest.raises(ModelError, match=r"is not the published file \(SHA256 or size differs\)"):
        store.install("totalsegmentator-organs")
    assert [path for path in contents(store) if not path.endswith(".lock")] == []


@pytest.mark.parametrize("stated", ["size", "neither"])
def test_a_published_result_is_fetched_and_what_came_is_recorded(store, on_a_mirror, monkeypatch, stated):
    archive = on_a_mirror
    size = archive.stat().st_size if stated == "size" else 0
    published_as(monkeypatch, "totalsegmentator-organs", size=size, sha256="")
    (package,) = store.install("totalsegmentator-organs")
    assert package.card.name == "totalsegmentator-organs"
    assert package.card.training["fetched"].endswith(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert package.card.networks[0].role == "segmenter"
    assert [path for path in contents(store) if path.endswith(".zip")] == []
    for entry in catalogue.results().values():
        (file,) = entry.files.values()
        assert file.url.startswith("https://github.com/wasserth/TotalSegmentator/releases/download/v")


SMALL = "nnUNetResEncUNetLPlans_8"


@pytest.fixture
def two_trainings(tmp_path) -> Path:
    """A folder as the third version of TotalSegmentator publishes it: a plain and a small residual network in one."""
    organs = {**folders.DATASET, "labels": {"background": 0, **{f"part{i}": i for i in range(1, 7)}, "pancreas": 7}}
    data = "Dataset831_TotalSegmentator_part1_organs_1830subj"
    small = folders.write_result(tmp_path, folders.plans(architecture=folders.RESIDUAL), organs, data=data)
    small.rename(small.with_name(f"nnUNetTrainerNoMirroring__{SMALL}__3d_fullres"))
    folders.write_result(tmp_path, dataset=organs, data=data)
    return tmp_path / data


def test_of_two_trainings_on_one_data_set_the_published_entry_takes_the_one_it_speaks_of(store, two_trainings):
    (package,) = store.install(two_trainings)
    assert package.card.name == "totalsegmentator-v3-organs"
    assert package.card.networks[0].network == "residual-encoder-unet"


def test_the_other_of_two_trainings_is_installed_by_its_plans_and_gets_a_name_of_its_own(store, two_trainings):
    (package,) = store.install(two_trainings, choices=Choices(plans="nnUNetPlans"))
    assert package.card.name == "dataset831-totalsegmentator-part1-organs-1830subj-3d-fullres"
    assert package.card.networks[0].network == "plain-conv-unet"
    assert (package.card.licence, package.card.networks[0].preprocessing.orientation) == ("Apache-2.0", "RAS")
    with pytest.raises(ModelError, match=f"no model with the plans mine here, only {SMALL}, nnUNetPlans"):
        store.install(two_trainings, choices=Choices(plans="mine"))


def test_of_two_trainings_that_nobody_published_one_has_to_be_named(store, two_trainings):
    own = two_trainings.rename(two_trainings.with_name("Dataset007_Own"))
    with pytest.raises(ModelError, match="several nnU-Net models") as caught:
        store.install(own)
    assert "name its plans" in caught.value.hint
    (package,) = store.install(own, choices=Choices(plans=SMALL))
    assert package.card.networks[0].network == "residual-encoder-unet"


# What is refused, with a sentence


class _Code:
    """A pickle that would run a program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def _with_code(folder: Path) -> None:
    torch.save({"network_weights": _Code(folder.parent / "ran")}, folder / "fold_0" / "checkpoint_final.pth")


def _with_plain_code(folder: Path) -> None:
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps(_Code(folder.parent / "ran")))


def _bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "fold_0" / "checkpoint_final.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (50 << 20))


def _replace_weights(folder: Path, change: Any) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    saved = torch.load(path, weights_only=False)
    change(saved["network_weights"])
    torch.save(saved, path)


def _wider(weights: dict[str, torch.Tensor]) -> None:
    weights["decoder.seg_layers.1.weight"] = torch.zeros(9, 3, 1, 1, 1)


def _huge(weights: dict[str, torch.Tensor]) -> None:
    weights["decoder.seg_layers.1.weight"] = torch.zeros(1).expand(3, 3, 1, 1, 1 << 40)


def _arguments(data: dict) -> dict:
    return data["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]


def _facts(data: dict) -> dict:
    return data["configurations"]["3d_fullres"]


REFUSED = {
    "code": (_with_code, "could run a program"),
    "code in a plain pickle": (_with_plain_code, "could run a program|damaged"),
    "zip bomb": (_bomb, "packed, as PyTorch never does"),
    "no plans": (lambda f: (f / "plans.json").write_text("{"), "is no JSON"),
    "plans of version 1": (lambda f: ((f / "plans.json").unlink(), (f / "plans.pkl").touch()), "first version"),
    "no dataset.json": (lambda f: (f / "dataset.json").unlink(), "dataset.json is missing"),
    "no checkpoint": (lambda f: (f / "fold_0" / "checkpoint_final.pth").unlink(), "holds no checkpoint_final.pth"),
    "no weights": (lambda f: torch.save({}, f / "fold_0" / "checkpoint_final.pth"), "no network_weights"),
    "mismatched shapes": (lambda f: _replace_weights(f, _wider), "of another shape"),
    "a tensor without end": (lambda f: _replace_weights(f, _huge), "of another shape"),
    "a missing tensor": (lambda f: _replace_weights(f, lambda w: w.pop("decoder.seg_layers.1.bias")), "is missing"),
    "not a number": (
        lambda f: _replace_weights(f, lambda w: w["decoder.seg_layers.1.bias"].fill_(torch.nan)),
        "not a finite number",
    ),
    "unknown architecture": (
        lambda f: changed(
            f,
            "plans.json",
            lambda p: _facts(p)["architecture"].update({"network_class_name": "os.system"}),
        ),
        "network os.system is not known",
    ),
    "absurd width": (
        lambda f: changed(f, "plans.json", lambda p: _arguments(p).update({"features_per_stage": [3, 4, 10**9]})),
        "are not 3 numbers",
    ),
    "absurd depth": (
        lambda f: changed(f, "plans.json", lambda p: _arguments(p).update({"n_stages": 10**6})),
        "1000000 stages",
    ),
    "unknown normalisation": (
        lambda f: changed(f, "plans.json", lambda p: _facts(p).update({"normalization_schemes": ["Mine"]})),
        "normalisation Mine is not known",
    ),
    "unknown resampling": (
        lambda f: changed(f, "plans.json", lambda p: _facts(p).update({"resampling_fn_data": "mine"})),
        "resampling mine is not known",
    ),
    "two channels": (
        lambda f: changed(f, "dataset.json", lambda d: d["channel_names"].update({"1": "PET"})),
        "wants 2 images",
    ),
    "no pancreas": (
        lambda f: changed(f, "dataset.json", lambda d: d.update({"labels": {"background": 0, "liver": 1, "cyst": 2}})),
        "none of its classes is the pancreas",
    ),
    "cascade": (
        lambda f: changed(f, "plans.json", lambda p: _facts(p).update({"previous_stage": "3d_lowres"})),
        "second half of a cascade",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_what_cannot_be_used_is_refused_with_a_sentence_and_leaves_nothing(store, tmp_path, what, as_zip):
    store.install(folders.write_result(tmp_path / "good"), choices=Choices(name="good"))
    before = contents(store)
    spoil, sentence = REFUSED[what]
    folder = folders.write_result(tmp_path / "bad")
    spoil(folder)
    source = zipped(tmp_path / "bad", tmp_path / "bad.zip") if as_zip else folder
    with pytest.raises(ModelError, match=sentence) as caught:
        store.install(source)
    assert caught.value.message.endswith(".")
    assert contents(store) == before
    assert not (folder.parent / "ran").exists()
    store.verify("good")


def test_a_zip_that_leads_outside_is_refused(store, tmp_path):
    folder = folders.write_result(tmp_path / "bad")
    inside = str((folder / "plans.json").relative_to(tmp_path / "bad"))
    source = zipped(tmp_path / "bad", tmp_path / "bad.zip", {inside: "../../plans.json"})
    with pytest.raises(ModelError, match="leads outside"):
        store.install(source)
    assert contents(store) == []


def test_the_second_half_of_a_cascade_alone_is_refused(store, tmp_path):
    folder = folders.write_result(tmp_path / "r")
    shutil.move(folder, folder.with_name("nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"))
    with pytest.raises(ModelError, match="second half of a cascade"):
        store.install(tmp_path / "r")


def _mutated(data: bytes, generator: random.Random) -> bytes:
    """A file with a few bytes changed, or cut, doubled or swapped."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 3, 20])):
        place = generator.randrange(len(changed))
        changed[place] = generator.randrange(256)
    cut = generator.randrange(len(changed))
    return bytes(generator.choice([changed, changed, changed[:cut], changed[:cut] + changed[cut // 2 :]]))


@pytest.mark.parametrize("kind", ["checkpoint", "zip"])
def test_mutated_files_are_installed_whole_or_refused_with_a_sentence(store, tmp_path, kind):
    folder = folders.write_result(tmp_path / "r")
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    source = zipped(tmp_path / "r", tmp_path / "r.zip") if kind == "zip" else folder
    target = source if kind == "zip" else checkpoint
    data = target.read_bytes()
    generator = random.Random(10)  # noqa: S311  (no secret)
    sentences: list[str] = []
    for _ in range(50):
        target.write_bytes(_mutated(data, generator))
        left: list[str] = []
        try:
            (package,) = store.install(source)
        except (ModelError, OutputError) as error:
            sentences.append(error.message)
            left = contents(store)
        else:
            package.verify()
            store.remove(package.card.name)
        assert left == []
    assert len(sentences) >= 20
    assert all(sentence.endswith(".") for sentence in sentences)

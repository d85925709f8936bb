import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.helpers.model_samples import ARGUMENTS, CARD, card, tensors, write_tiny

from pancreasseg import networks
from pancreasseg.core.errors import ModelError, OutputError
from pancreasseg.inference.load import load_networks
from pancreasseg.models.card import Card
from pancreasseg.models.package import ModelPackage, write_package

WEIGHTS = {"file": "weights.safetensors", "sha256": "0" * 64, "size": 1}


def full_card(**changes):
    return {"format": 1, "weights": WEIGHTS, **card(**changes)}


def network_card(**changes):
    return full_card(networks=[{**CARD["networks"][0], **changes}])


def preprocessing_card(**changes):
    return network_card(preprocessing={**CARD["networks"][0]["preprocessing"], **changes})


def test_a_card_comes_back_as_it_was_written():
    read = Card.from_json(json.dumps(full_card()))
    assert read.name == "tiny-model"
    network = read.network("segmenter")
    assert (network.members, network.classes, network.pancreas) == (("one", "two"), ("background", "pancreas"), 1)
    assert network.preprocessing.spacing_mm == (2.0, 2.0, 2.0)
    assert network.preprocessing.patch == (32, 32, 16)
    assert read.figures[0].value == 0.5


def test_hounsfield_units_are_clipped_scaled_and_shifted():
    preprocessing = Card.from_dict(full_card()).networks[0].preprocessing
    values = preprocessing.normalise(np.array([[-1000, 0, 100, 3000]], dtype=np.int16))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[-1.5, -0.5, 0.5, 1.9]], rtol=1e-6)


def test_a_role_that_a_package_lacks_is_named():
    with pytest.raises(ModelError, match="has no localizer; it has segmenter"):
        Card.from_dict(full_card()).network("localizer")


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([], "model.json"),
        ({**full_card(), "format": 2}, "format 2"),
        ({**full_card(), "format": True}, "format"),
        (full_card(name="../evil"), "name"),
        (full_card(name="Große Drüse"), "name"),
        (full_card(title=" "), "title"),
        (full_card(title=None), "title"),
        (full_card(networks=[]), "networks"),
        (full_card(networks=CARD["networks"] * 2), "networks"),
        (full_card(contrast_phase="summer"), "contrast_phase"),
        (full_card(not_for="patients"), "not_for"),
        (full_card(options=["recrops"]), "options"),
        (full_card(options={"margin_mm": float("inf")}), r"options.margin_mm"),
        (full_card(options={"margin_mm": [10]}), r"options.margin_mm"),
        (full_card(options={"threshold": -5}), r"options.threshold"),
        (full_card(options={"faint_threshold": 1.5}), r"options.faint_threshold"),
        (full_card(figures=[{"metric": "DSC", "value": float("nan"), "data": "x"}]), r"figures\[0\].value"),
        ({k: v for k, v in full_card().items() if k != "licence"}, "licence: it is missing"),
        (network_card(role="oracle"), r"networks\[0\].role"),
        (network_card(pancreas=2), r"networks\[0\].pancreas"),
        (network_card(pancreas=0), r"networks\[0\].pancreas"),
        (network_card(members=[]), "members"),
        (network_card(members=["a", "a"]), "share a name"),
        (network_card(members=["a.b"]), "members"),
        (network_card(arguments=[1]), "arguments"),
        (preprocessing_card(orientation="LPP"), "orientation"),
        (preprocessing_card(orientation="PLS"), "orientation"),
        (preprocessing_card(array_axes="xyz"), "array_axes"),
        (preprocessing_card(size=[8, 8, 8]), "exactly one"),
        (preprocessing_card(spacing_mm=None), "exactly one"),
        (preprocessing_card(spacing_mm=[2, 2]), "3 positive numbers"),
        (preprocessing_card(spacing_mm=[2, 2, 0]), "3 positive numbers"),
        (preprocessing_card(patch=[2, 2, 0.5]), "whole numbers"),
        (preprocessing_card(window_hu=[200, -100]), "window_hu"),
        (preprocessing_card(scale="big"), "scale"),
        ({**full_card(), "weights": {**WEIGHTS, "file": "../secret"}}, "weights.file"),
        ({**full_card(), "weights": {**WEIGHTS, "file": ".."}}, "weights.file"),
        ({**full_card(), "weights": {**WEIGHTS, "sha256": "abc"}}, "weights.sha256"),
        ({**full_card(), "weights": {**WEIGHTS, "size": 0}}, "weights.size"),
    ],
)
def test_a_wrong_card_is_refused_with_the_place_that_is_wrong(data, place):
    with pytest.raises(ModelError, match=place):
        Card.from_dict(data)


def test_a_card_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "model.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelError, match="not JSON"):
        ModelPackage(tmp_path)


def test_a_folder_without_a_card_is_no_package(tmp_path):
    with pytest.raises(ModelError, match="holds no model package"):
        ModelPackage(tmp_path / "nowhere")


def test_a_written_package_loads_as_the_networks_it_was_made_from(tmp_path):
    package = write_tiny(tmp_path / "tiny-model")
    package.verify()
    assert hashlib.sha256(package.weights.read_bytes()).hexdigest() == package.card.weights.sha256
    loaded = load_networks(package, package.card.networks[0])
    x = torch.randn(1, 1, 5, 6, 7)
    for prefix, network in zip(("one", "two"), loaded, strict=True):
        original = networks.build("unet3d", **ARGUMENTS)
        state = {k.removeprefix(f"{prefix}."): v for k, v in tensors().items() if k.startswith(prefix)}
        original.load_state_dict(state)
        assert not network.training
        torch.testing.assert_close(network(x), original.eval()(x))


def test_arrays_can_be_written_without_torch_tensors(tmp_path):
    arrays = {key: value.numpy() for key, value in tensors().items()}
    package = write_package(tmp_path / "tiny-model", card(), arrays)
    assert len(load_networks(package, package.card.networks[0])) == 2


def test_writing_again_replaces_the_package_and_leaves_nothing_else(tmp_path):
    write_tiny(tmp_path / "tiny-model")
    write_tiny(tmp_path / "tiny-model", version="2.0.0")
    assert ModelPackage(tmp_path / "tiny-model").card.version == "2.0.0"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny-model"]


def test_a_package_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_tiny(tmp_path / "tiny-model")
    with pytest.raises(ModelError):
        write_tiny(tmp_path / "tiny-model", pipeline="")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_tiny(tmp_path / "file" / "tiny-model")
    ModelPackage(tmp_path / "tiny-model").verify()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "tiny-model"]


def damage(package: ModelPackage, how: str) -> None:
    data = package.weights.read_bytes()
    if how == "truncated":
        package.weights.write_bytes(data[: len(data) // 2])
    elif how == "one bit":
        package.weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        package.weights.unlink()


@pytest.mark.parametrize(
    ("how", "code"), [("truncated", "weights-size"), ("one bit", "wrong-hash"), ("gone", "weights-missing")]
)
def test_damaged_weights_are_never_used(tmp_path, how, code):
    package = write_tiny(tmp_path / "tiny-model")
    damage(package, how)
    for use in (package.verify, package.read_weights, lambda: load_networks(package, package.card.networks[0])):
        with pytest.raises(ModelError) as caught:
            use()
        assert caught.value.code == code


def test_a_truncated_safetensors_file_with_a_matching_card_is_refused(tmp_path):
    package = write_tiny(tmp_path / "tiny-model")
    damage(package, "truncated")
    data = package.weights.read_bytes()
    path = Path(package.folder, "model.json")
    written = json.loads(path.read_text())
    written["weights"].update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    path.write_text(json.dumps(written))
    again = ModelPackage(package.folder)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_networks(again, again.card.networks[0])


def test_weights_that_do_not_fit_the_network_are_named(tmp_path):
    good = tensors()
    first = next(iter(good))
    cases = {
        "missing": {k: v for k, v in good.items() if k != first},
        "not in the network": {**good, "one.extra": torch.zeros(1)},
        "of another shape": {**good, first: torch.zeros(1)},
    }
    for number, (what, broken) in enumerate(cases.items()):
        package = write_package(tmp_path / f"m{number}", card(), broken)
        with pytest.raises(ModelError, match=what):
            load_networks(package, package.card.networks[0])


def test_half_precision_weights_run_in_single_precision(tmp_path):
    halves = {k: v.half() if v.is_floating_point() else v for k, v in tensors().items()}
    package = write_package(tmp_path / "m0", card(), halves)
    network = load_networks(package, package.card.networks[0])[0]
    assert {p.dtype for p in network.parameters()} == {torch.float32}

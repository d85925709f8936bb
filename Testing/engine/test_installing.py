"""What takes its place in the store can run; what cannot is refused in one sentence and never hides the others."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from Testing.helpers.model_cards import card_of, network_entry, preprocessing
from Testing.helpers.model_samples import ARGUMENTS, tensors, write_tiny

from pancreasseg import networks
from pancreasseg.cli.main import main
from pancreasseg.core.errors import ModelError
from pancreasseg.core.setup import Setup
from pancreasseg.models.package import write_package
from pancreasseg.models.store import Store
from pancreasseg.pipelines import choose
from pancreasseg.runs import installing


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    return installing.store()


def raw_package(folder: Path, change: dict[str, Any] | None = None, text: str | None = None) -> Path:
    """A package on disk whose card says what it likes; the hash of the weights is right."""
    package = write_tiny(folder)
    card = json.loads((folder / "model.json").read_text())
    card.update(change or {})
    (folder / "model.json").write_text(json.dumps(card) if text is None else text)
    return package.folder


def network_change(**changes: Any) -> dict[str, Any]:
    entry = network_entry("segmenter", arguments=ARGUMENTS, members=["one", "two"])
    return {"networks": [{**entry, **changes}]}


def preprocessing_change(**changes: Any) -> dict[str, Any]:
    return network_change(preprocessing=preprocessing(**changes))


BAD_CARDS: dict[str, dict[str, Any]] = {
    "an unknown pipeline": {"pipeline": "three-stage"},
    "a pipeline for other networks": {"pipeline": "whole-volume"},
    "a pipeline for another network": {
        "pipeline": "mask-rcnn",
        "networks": [network_entry("localizer", arguments=ARGUMENTS, members=["one", "two"])],
    },
    "settings that the pipeline does not have": {"options": {"recrop": 1}},
    "an unknown network": network_change(network="transformer"),
    "class 5 of 2": network_change(pancreas=5),
    "more classes than the network has": network_change(classes=["background", "pancreas", "tumour"]),
    "arguments with other classes": network_change(arguments={**ARGUMENTS, "classes": 5}),
    "-1 channels": network_change(arguments={**ARGUMENTS, "channels": [-1, 3]}),
    "a million channels": network_change(arguments={**ARGUMENTS, "channels": [2, 10**6]}),
    "many channels": network_change(arguments={**ARGUMENTS, "channels": [4096] * 8}),
    "no channels": network_change(arguments={**ARGUMENTS, "channels": [0, 0]}),
    "arguments of a wrong type": network_change(arguments={**ARGUMENTS, "channels": {"a": 1}}),
    "arguments nobody knows": network_change(arguments={**ARGUMENTS, "heads": 1}),
    "a spacing of 1e-9 mm": preprocessing_change(spacing_mm=[1e-9] * 3),
    "a spacing of 1e9 mm": preprocessing_change(spacing_mm=[1e9] * 3),
    "a size of 2000^3": preprocessing_change(spacing_mm=None, size=[2000] * 3),
    "a patch of 1000^3": preprocessing_change(patch=[1000] * 3),
    "a decimation of 10^9": preprocessing_change(spacing_mm=None, decimation=10**9),
    "a scale of 1e308": preprocessing_change(scale=1e308),
    "a scale of 0": preprocessing_change(scale=0),
    "a shift of 1e300": preprocessing_change(shift=-1e300),
    "a window of 1e300 HU": preprocessing_change(window_hu=[-1e300, 1e300]),
    "an integer beyond float": preprocessing_change(scale=10**400),
    "an integer beyond float in the spacing": preprocessing_change(spacing_mm=[10**400] * 3),
    "an integer beyond float in a setting": {"options": {"margin_mm": 10**400}},
    "half a character": {"title": "\ud800"},
    "half a character as a name": {"training": {"\udfff": 1}},
    "a control character": {"title": "nice \x1b[2J model"},
    "a title of many lines": {"title": "a\nb"},
    "an endless title": {"title": "a" * 100_000},
    "NaN as deviation": {"figures": [{"metric": "DSC", "value": 0.5, "sd": float("nan"), "data": "x"}]},
    "cases below none": {"figures": [{"metric": "DSC", "value": 0.5, "cases": -1, "data": "x"}]},
    "NaN in the training": {"training": {"data": "x", "cases": float("nan")}},
    "infinity in the training": {"training": {"losses": [[float("inf")]]}},
}


@pytest.mark.parametrize("what", BAD_CARDS)
def test_a_card_that_cannot_be_used_is_refused_in_one_sentence(store: Store, tmp_path: Path, what: str) -> None:
    folder = raw_package(tmp_path / "from" / "tiny-model", BAD_CARDS[what])
    with pytest.raises(ModelError) as caught:
        store.install(folder)
    assert len(str(caught.value)) < 700
    assert "\x1b" not in str(caught.value)
    str(caught.value).encode("utf-8")
    assert store.damaged() == {}
    assert [package.card.name for package in store.packages()] == ["pancreas-ct"]


NESTED = {
    "lists": "[" * 50_000,
    "objects": '{"a":' * 50_000,
    "closed lists": "[" * 900 + "]" * 900,
    "in an entry": json.dumps({"format": 1, "training": json.loads("[" * 300 + "]" * 300)}),
    "digits": '{"format": ' + "9" * 10_000 + "}",
    "nothing": "",
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("what", NESTED)
def test_deep_or_broken_json_is_no_card(store: Store, tmp_path: Path, what: str) -> None:
    folder = raw_package(tmp_path / "from" / "tiny-model")
    (folder / "model.json").write_bytes(NESTED[what].encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match="cannot be used"):
        store.install(folder)


def bad_tensors(kind: str) -> dict[str, torch.Tensor]:
    good = tensors()
    last = sorted(key for key, value in good.items() if value.is_floating_point())[-1]
    value = {"NaN": float("nan"), "infinite": float("-inf"), "huge": 3e38, "bfloat16": float("nan")}[kind]
    good[last] = torch.full_like(good[last], value)
    return good if kind != "bfloat16" else {k: v.bfloat16() if v.is_floating_point() else v for k, v in good.items()}


@pytest.mark.parametrize("kind", ["NaN", "infinite", "huge", "bfloat16"])
def test_weights_that_are_no_numbers_are_refused(store: Store, tmp_path: Path, kind: str) -> None:
    folder = raw_package(tmp_path / "from" / "tiny-model")
    weights = folder / "weights.safetensors"
    save_file(bad_tensors(kind), weights)
    card = json.loads((folder / "model.json").read_text())
    stated = {"file": weights.name, "sha256": sha256(weights.read_bytes()).hexdigest(), "size": weights.stat().st_size}
    (folder / "model.json").write_text(json.dumps({**card, "weights": stated}))
    with pytest.raises(ModelError, match="no finite numbers") as caught:
        store.install(folder)
    assert caught.value.code == "bad-weights"
    assert [p.card.name for p in store.packages()] == ["pancreas-ct"]


def test_weights_of_another_network_are_refused_before_the_network_takes_memory(store: Store, tmp_path: Path) -> None:
    huge = {**ARGUMENTS, "channels": [4096] * 8}  # hundreds of gigabytes
    folder = raw_package(tmp_path / "from" / "tiny-model", network_change(arguments=huge))
    with pytest.raises(ModelError, match="do not fit the network"):
        store.install(folder)


def test_a_network_that_computes_no_numbers_is_refused(store: Store, tmp_path: Path) -> None:
    from Testing.helpers.model_samples import card

    broken = tensors()
    for key in broken:
        if key.endswith("running_var"):
            broken[key] = torch.full_like(broken[key], -1.0)
    package = write_package(tmp_path / "from" / "tiny-model", card(), broken)
    with pytest.raises(ModelError, match="no finite numbers"):
        store.install(package.folder)


def test_good_packages_of_every_kind_pass(store: Store, tmp_path: Path) -> None:
    assert [p.card.name for p in store.install(write_tiny(tmp_path / "from" / "tiny-model").folder)] == ["tiny-model"]
    bundled = Store().get("pancreas-ct")
    installing.check_package(bundled)
    torch.manual_seed(0)
    state = networks.build("unet3d", channels=[4, 8]).state_dict()
    part = card_of(
        network_entry("localizer", arguments={"channels": [4, 8]}, members=["a"]), name="coarse", pipeline="two-stage"
    )
    package = write_package(tmp_path / "from" / "coarse", part, {f"a.{key}": value for key, value in state.items()})
    assert store.install(package.folder), "half a pipeline may wait for its other half"


@pytest.mark.real_data
def test_published_networks_pass(store: Store, real_data: Path) -> None:
    files = sorted((real_data / "models" / "obelisk").glob("*_fold1.pth"))
    assert {p.card.name for p in store.install(files)} == {"obelisk-hybrid-fold1", "obelisk-unet-fold1"}


# A bad package that got into the store all the same


@pytest.fixture(params=["deep", "unknown pipeline", "NaN", "half a pipeline", "surrogate", "a file", "no rights"])
def bad_company(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Store:
    """A store with a good package, and one put there by hand that would be the best if it were any good."""
    store.install(write_tiny(tmp_path / "from" / "tiny-model").folder)
    best = [{"metric": "DSC", "value": 0.99, "data": "x"}]
    folder = store.folder / "a-bad-one"
    change = {"name": "a-bad-one", "figures": best}
    if request.param == "deep":
        raw_package(folder, text="[" * 100_000)
    elif request.param == "unknown pipeline":
        raw_package(folder, {**change, "pipeline": "three-stage"})
    elif request.param == "NaN":
        raw_package(folder, {**change, "training": {"cases": float("nan")}})
    elif request.param == "half a pipeline":
        raw_package(folder, {**change, "pipeline": "two-stage"})
    elif request.param == "surrogate":
        raw_package(folder, {**change, "title": "\ud800"})
    elif request.param == "a file":
        folder.write_text("in the way")
    else:
        folder.mkdir()
        (folder / "model.json").symlink_to("/proc/1/mem")
    return store


def test_a_bad_package_never_hides_the_others(bad_company: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "tiny-model" in [package.card.name for package in bad_company.packages()]
    assert choose(store=bad_company)[0].card.name == "tiny-model", "a run goes on with the good one"
    assert main(["models", "list"]) == 0
    assert "tiny-model" in capsys.readouterr().out
    main(["models", "verify"])
    assert "tiny-model: the weights are those" in capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_verify_goes_on_after_a_damaged_package_and_says_so_in_the_end(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a-model", "b-model", "c-model"):
        store.install(write_tiny(tmp_path / "from" / name, name=name).folder)
    (store.folder / "b-model" / "weights.safetensors").write_bytes(b"short")
    assert main(["models", "verify"]) == ModelError.exit_code
    said = capsys.readouterr()
    for name in ("a-model", "c-model", "pancreas-ct"):
        assert f"{name}: the weights are those" in said.out
    assert "Error: b-model: The weights" in said.err
    assert main(["models", "verify", "--json"]) == ModelError.exit_code
    document = json.loads(capsys.readouterr().out)
    assert document["verified"] == ["a-model", "c-model", "pancreas-ct"]
    assert [entry["code"] for entry in document["failed"]] == ["weights-size"]


def test_a_model_for_an_unknown_pipeline_is_a_sentence_for_who_names_it(store: Store, tmp_path: Path) -> None:
    raw_package(store.folder / "tiny-model", {"pipeline": "three-stage"})
    with pytest.raises(ModelError, match="made for the pipeline 'three-stage'"):
        choose(Setup(model="tiny-model"), store)


WITHOUT_TORCH = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Hidden())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else find(name, package)
from pancreasseg.runs import installing
print([package.card.name for package in installing.store(sys.argv[1]).install(sys.argv[2])])
"""


def test_a_package_installs_where_torch_is_not_installed_yet(tmp_path: Path) -> None:
    package = write_tiny(tmp_path / "tiny-model")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "home"), str(package.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['tiny-model']", done.stderr


# Zip files that unpack to more than anybody has


def zipped(folder: Path, path: Path, weights: bytes | None = None, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(folder / "model.json", "model.json")
        if weights is None:
            archive.write(folder / "weights.safetensors", "weights.safetensors")
        else:
            archive.writestr("weights.safetensors", weights)
    return path


def test_weights_that_shrink_as_no_weights_do_are_refused_before_they_are_unpacked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = bytes(30_000_000)
    change = {"weights": {"file": "weights.safetensors", "sha256": "0" * 64, "size": len(zeros)}}
    folder = raw_package(tmp_path / "from" / "tiny-model", change)
    compressible = bytes(range(256)) * 40 + bytes(20_000)
    half = b"".join(bytes([n % 251]) * 30 + compressible[:200] for n in range(130_000))[: len(zeros)]
    for content in (zeros, half):
        bomb = zipped(folder, tmp_path / "bomb.zip", content)
        with monkeypatch.context() as small:
            small.setattr("pancreasseg.models.archive.RATIO_LIMIT", 10**9)
            with pytest.raises(ModelError) as caught:
                store.install(bomb)
        assert caught.value.code == "unsafe-zip"
    assert not list(store.folder.glob("*"))


def test_a_zip_entry_is_unpacked_in_blocks(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny(tmp_path / "from" / "tiny-model").folder
    sizes: list[int] = []
    read = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        data = read(self, n)
        sizes.append(len(data))
        return data

    monkeypatch.setattr("pancreasseg.models.archive.BLOCK_BYTES", 1000)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    store.install(zipped(folder, tmp_path / "p.zip"))
    assert max(sizes) <= 1000
    assert sum(sizes) > 10_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_another_compression_says_what_to_do(store: Store, tmp_path: Path, method: int) -> None:
    folder = write_tiny(tmp_path / "from" / "tiny-model").folder
    with pytest.raises(ModelError, match="Unpack it first"):
        store.install(zipped(folder, tmp_path / "p.zip", method=method))


def test_a_zip_that_lies_about_a_size_is_refused(store: Store, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "from" / "tiny-model").folder
    data = zipped(folder, tmp_path / "p.zip").read_bytes()
    size = (folder / "weights.safetensors").stat().st_size.to_bytes(4, "little")
    assert data.count(size) >= 2
    (tmp_path / "p.zip").write_bytes(data.replace(size, (int.from_bytes(size, "little") - 7).to_bytes(4, "little")))
    with pytest.raises(ModelError):
        store.install(tmp_path / "p.zip")
    assert [p.card.name for p in store.packages()] == ["pancreas-ct"]

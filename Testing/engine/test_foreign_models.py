"""Networks in a file: ONNX computes without code, TorchScript only on a person's word."""

import io
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from Testing.helpers import bright_model
from torch import nn

from pancreasseg.core import Box
from pancreasseg.core.errors import ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.inference.hardware import Hardware
from pancreasseg.measure.compare import dice
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create
from pancreasseg.pipelines.trained_stage import TrainedStage
from pancreasseg.runs.installing import store as user_store

# PyTorch discourages TorchScript, which people still have.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

CARD = {
    "name": "bright-file",
    "classes": ["background", "pancreas"],
    "pancreas": "pancreas",
    "spacing_mm": [2, 2, 2],
    "orientation": "LPS",
    "window_hu": [0, 200],
    "patch": [40, 40, 24],
}
SLOPE, THRESHOLD = 40.0, bright_model.THRESHOLD_HU / 200


def onnx_bytes(channels: int = 1, *, elsewhere: bool = False) -> bytes:
    """A 1 x 1 x 1 convolution: bright voxels are pancreas."""
    weight = np.zeros((2, channels, 1, 1, 1), dtype=np.float32)
    weight[1] = SLOPE
    bias = np.array([0.0, -SLOPE * THRESHOLD], dtype=np.float32)
    tensors = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    if elsewhere:
        tensors[0].ClearField("raw_data")
        tensors[0].data_location = TensorProto.EXTERNAL
        tensors[0].external_data.add(key="location", value="../../secret")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"], kernel_shape=[1, 1, 1])],
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, None, None, None])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, None, None, None])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


class _Bright(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((torch.zeros_like(x), 40.0 * (x - 0.6)), dim=1)


def script_bytes() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(_Bright(), torch.zeros(1, 1, 4, 4, 4)), stream)
    return stream.getvalue()


@pytest.fixture
def store(tmp_path) -> Store:
    return user_store(tmp_path / "home")


@pytest.fixture
def card(tmp_path) -> Path:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(CARD))
    return path


def contents(store: Store) -> list[str]:
    if not store.home.exists():
        return []
    return [str(p) for p in store.home.rglob("*") if p.is_file() and p.name != ".lock"]


@pytest.mark.parametrize("kind", ["onnx", "pt"])
def test_a_network_in_a_file_segments_like_any_other(store, tmp_path, card, kind):
    path = tmp_path / f"model.{kind}"
    path.write_bytes(onnx_bytes() if kind == "onnx" else script_bytes())
    (package,) = store.install(path, choices=Choices(card=card, trust=kind == "pt"))
    assert store.info("bright-file")["carries_code"] is (kind == "pt")
    volume, organ = bright_model.a_patient()
    stage = TrainedStage(package, package.card.networks[0], Hardware("cpu", "f32"))
    around = Box.of_mask(organ)
    assert around is not None
    box = around.grow(8.0, volume.geometry)
    found = stage.pancreas_on_box(volume, box, Progress()) >= 0.5
    assert dice(found, organ[box.slices]) > 0.9
    bright_model.write_bright_model(store.home)
    result = create(Setup(model="bright+bright-file", device="cpu", precision="f32"), store)
    assert dice(result.segment(volume, result.localize(volume)).mask > 0, organ > 0) > 0.9


def test_a_card_beside_the_file_counts_without_being_named(store, tmp_path, card):
    (tmp_path / "bright.onnx").write_bytes(onnx_bytes())
    with pytest.raises(ModelError, match="small card") as caught:
        store.install(tmp_path / "bright.onnx")
    assert "bright.json" in caught.value.hint
    card.rename(tmp_path / "bright.json")
    (package,) = store.install(tmp_path / "bright.onnx")
    assert package.card.name == "bright-file"


def test_several_packages_vote_and_their_agreement_is_told(store, tmp_path, card):
    for name, change in (("one", 0.0), ("two", 0.1)):
        model = onnx.load_from_string(onnx_bytes())
        bias = np.array([0.0, -SLOPE * (THRESHOLD + change)], dtype=np.float32)
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias, "bias"))
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
        store.install(tmp_path / f"{name}.onnx", choices=Choices(card=card, name=name))
    bright_model.write_bright_model(store.home)
    volume, organ = bright_model.a_patient()
    pipeline = create(Setup(pipeline="fast", model="bright+one,two", device="cpu", precision="f32"), store)
    box = Box.of_mask(organ).grow(8.0, volume.geometry)  # type: ignore[union-attr]
    result = pipeline.segment(volume, box)
    assert [model["name"] for model in result.provenance.models] == ["bright", "one", "two"]
    assert dice(result.mask > 0, organ > 0) > 0.9
    assert set(np.unique(result.agreement)) == {0.5, 1.0}


def test_torchscript_needs_a_persons_word_whatever_way_it_comes(store, tmp_path, card):
    path = tmp_path / "model.pt"
    path.write_bytes(script_bytes())
    with pytest.raises(ModelError, match="carries code") as caught:
        store.install(path, choices=Choices(card=card))
    assert "--trust-code" in caught.value.hint
    assert contents(store) == []
    elsewhere = user_store(tmp_path / "elsewhere")
    (package,) = elsewhere.install(path, choices=Choices(card=card, trust=True))
    with pytest.raises(ModelError, match="carries code"):
        store.install(package.folder)
    assert contents(store) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"spacing_mm": None}, "cannot be used"),
        ({"pancreas": "liver"}, "cannot be used"),
        ({"patch": [5000, 5, 5]}, "cannot be used"),
        ({"orientation": "XYZ"}, "cannot be used"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(store, tmp_path, card, change, sentence):
    (tmp_path / "model.onnx").write_bytes(onnx_bytes())
    card.write_text(json.dumps({**CARD, **change}))
    with pytest.raises(ModelError, match=sentence):
        store.install(tmp_path / "model.onnx", choices=Choices(card=card))
    assert contents(store) == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (onnx_bytes(channels=2), "cannot compute"),
        (onnx_bytes(elsewhere=True), "in other files"),
        (b"no network at all", "cannot compute"),
        (b"", "cannot"),
    ],
    ids=["two channels", "weights in other files", "no network", "empty"],
)
def test_an_onnx_file_that_cannot_run_is_refused_and_leaves_nothing(store, tmp_path, card, data, sentence):
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=sentence):
        store.install(tmp_path / "model.onnx", choices=Choices(card=card))
    with pytest.raises(ModelError, match="small card"):
        store.install(tmp_path / "model.onnx")
    assert contents(store) == []


_TRY_ALL = """
import sys
from pathlib import Path
from pancreasseg.core.errors import PancreasSegError
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.runs.installing import store
folder, first = Path(sys.argv[1]), int(sys.argv[2])
there = store(folder / "home")
for path in sorted(folder.glob("*.onnx")) + sorted(folder.glob("*.pt")):
    if int(path.stem) < first:
        continue
    print(path.stem, end=" ", flush=True)
    try:
        package, = there.install(path, choices=Choices(card=folder / "card.json", trust=True))
        there.remove(package.card.name)
        print("installed", flush=True)
    except PancreasSegError as error:
        left = [p for p in there.home.rglob("*") if p.is_file() and p.name != ".lock"]
        print("refused" if error.message.endswith(".") and not left else f"wrong: {error} {left}", flush=True)
"""


@pytest.mark.parametrize("kind", ["onnx", "pt"])
def test_mutated_files_at_worst_end_the_process_that_tries_them(tmp_path, card, kind):
    generator = random.Random(11)  # noqa: S311  (no secret)
    data = onnx_bytes() if kind == "onnx" else script_bytes()
    for number in range(50):
        changed = bytearray(data)
        for _ in range(generator.choice([1, 3, 10])):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        cut = generator.randrange(len(changed)) if number % 5 == 0 else len(changed)
        (tmp_path / f"{number:02}.{kind}").write_bytes(changed[:cut])
    lines: list[str] = []
    ends = 0
    while len(lines) < 50:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _TRY_ALL, str(tmp_path), str(len(lines))],
            capture_output=True,
            text=True,
        )
        lines += done.stdout.splitlines()
        if done.returncode:
            assert done.returncode < 0, done.stderr[-2000:]  # by a signal, not by an error that nobody foresaw
            ends += 1
    assert [line for line in lines if "wrong" in line] == []
    assert sum("refused" in line for line in lines) >= 15
    assert ends == 0 or kind == "pt"

"""Attention maps through the worker: the pipeline's own, on request, beside the rest of the protocol."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.attentive_model import NAMES, a_small_patient, write_attentive_model
from Testing.helpers.bright_model import write_bright_model
from Testing.helpers.true_worker import true_client

from pancreasseg.core import Box
from pancreasseg.core.errors import Cancelled, InputError, ModelError, RunError
from pancreasseg.core.results import Attention
from pancreasseg.core.setup import Setup
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create
from pancreasseg.pipelines.attention import attention_maps
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.codec import READERS, attention_fields, files_in
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.protocol import Message

BOX = Box((8, 8, 4), (40, 36, 16))
SETUP = Setup(model="attentive", device="cpu", precision="f32")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_attentive_model(folder)
    write_bright_model(folder)
    return folder


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder of its own."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module", params=["pipe", "server"])
def client(
    request: pytest.FixtureRequest, home: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerClient]:
    environment = {"PANCREASSEG_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with true_client(request.param, tmp_path_factory.mktemp("server"), environment) as started:
        volume = a_small_patient()
        started.wait(started.load(volume.array, volume.geometry))
        yield started


def test_the_worker_returns_the_maps_that_were_asked_for(home: Path, client: WorkerClient) -> None:
    stages = []
    request = client.attention(BOX, ["level-1-mean", "level-2-head-1"], setup=SETUP)
    found = client.wait(request, lambda event: stages.append(event.value.stage))
    volume = a_small_patient()
    pipeline = create(Setup(model="attentive", device="cpu", precision="f32"), Store(home))
    expected = attention_maps(pipeline.stages[0], volume, BOX)
    assert found.box == BOX
    assert list(found.maps) == ["level-1-mean", "level-2-head-1"]
    for name, array in found.maps.items():
        np.testing.assert_allclose(array, expected.maps[name], atol=1e-6)
    assert stages[-1] == "attention"
    assert list(client.wait(client.attention(BOX, setup=SETUP)).maps) == list(NAMES)


def test_what_cannot_be_shown_is_a_sentence_and_the_worker_goes_on(client: WorkerClient) -> None:
    with pytest.raises(ModelError, match='"bright" has no attention gates'):
        client.wait(client.attention(BOX, setup=replace(SETUP, model="bright")))
    with pytest.raises(InputError, match="no such attention map"):
        client.wait(client.attention(BOX, ["level-7-mean"], setup=SETUP))
    with pytest.raises(InputError, match="outside the volume"):
        client.wait(client.attention(Box((500, 0, 0), (510, 9, 9)), setup=SETUP))
    assert client.wait(client.segment(BOX, setup=SETUP)).mask.any()


def test_a_cancelled_request_leaves_no_map_behind(client: WorkerClient, temporary: Path) -> None:
    request = client.attention(BOX, setup=SETUP)
    client.cancel(request)
    with pytest.raises(Cancelled):
        client.wait(request)
    client.wait(client.hello())
    assert not list(temporary.rglob("level-*.npy"))


def test_maps_cross_the_pipe_unchanged_and_a_lost_one_is_told() -> None:
    folder = ExchangeFolder.create()
    try:
        random = np.random.default_rng(0)
        sent = Attention(BOX, {name: random.random(BOX.shape, dtype=np.float32) for name in NAMES})
        fields = Message.parse(Message(4, "result", attention_fields(sent, folder, 4)).line()).fields
        assert len(list(files_in(fields))) == len(NAMES)
        volume = a_small_patient()
        reader = READERS["attention"](fields, volume.geometry, folder)
        assert not reader.advance(0.0), "one map at a time"
        assert reader.advance()
        got = reader.result()
        assert (got.box, list(got.maps)) == (BOX, list(NAMES))
        for name in NAMES:
            np.testing.assert_array_equal(got.maps[name], sent.maps[name])
        assert not list(folder.path.glob("*.npy"))
        with pytest.raises(RunError, match="missing or damaged"):
            READERS["attention"](fields, volume.geometry, folder).advance()
    finally:
        folder.remove()

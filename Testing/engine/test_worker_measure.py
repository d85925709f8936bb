"""Measuring in the worker, and handing over a CT block by block."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.worker_talk import GEOMETRY, ORGAN, Way, talk

from pancreasseg.core import Volume
from pancreasseg.core.errors import Cancelled, InputError, RunError
from pancreasseg.core.setup import Setup
from pancreasseg.measure import compare, measure
from pancreasseg.worker.client import WorkerClient


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def client(way: Way) -> Iterator[WorkerClient]:
    with way.client() as started:
        yield started


@pytest.fixture
def ct() -> np.ndarray:
    array = np.random.default_rng(3).integers(-100, 60, GEOMETRY.shape, dtype=np.int16)
    array[ORGAN.slices] = 130
    return array


def a_mask() -> np.ndarray:
    mask: np.ndarray = np.zeros(GEOMETRY.shape, np.uint8)
    mask[ORGAN.slices] = 1
    return mask


def test_the_numbers_are_those_of_measuring_here(client: WorkerClient, ct: np.ndarray) -> None:
    mask = a_mask()
    reference = np.roll(mask, 1, axis=2)
    measured = client.wait(client.measure(mask, ct, GEOMETRY, reference))
    assert measured.own == tuple(measure(mask, Volume(ct, GEOMETRY)))
    assert measured.against == tuple(compare(mask, reference, GEOMETRY))


def test_without_a_reference_there_is_nothing_to_compare_with(client: WorkerClient, ct: np.ndarray) -> None:
    assert client.wait(client.measure(a_mask(), ct, GEOMETRY)).against == ()


def test_distances_to_nothing_stay_infinite(client: WorkerClient, ct: np.ndarray) -> None:
    measured = client.wait(client.measure(a_mask(), ct, GEOMETRY, np.zeros(GEOMETRY.shape, np.uint8)))
    assert next(m.value for m in measured.against if m.name == "hd") == float("inf")


def test_measuring_does_not_wait_for_a_run(client: WorkerClient, ct: np.ndarray) -> None:
    client.wait(client.load(ct, GEOMETRY))
    run = client.segment(setup=Setup(options={"behaviour": "hang"}))
    assert client.wait(client.measure(a_mask(), ct, GEOMETRY)).own
    client.cancel(run)
    with pytest.raises(Cancelled):
        client.wait(run)


def test_no_array_stays_behind(client: WorkerClient, ct: np.ndarray, temporary: Path) -> None:
    client.wait(client.measure(a_mask(), ct, GEOMETRY, a_mask()))
    assert not list(temporary.glob("*/*.npy"))


def test_a_mask_that_does_not_fit_is_refused(client: WorkerClient, ct: np.ndarray) -> None:
    with pytest.raises(InputError):
        client.wait(client.measure(a_mask()[1:], ct, GEOMETRY))


def test_a_ct_that_does_not_fit_is_a_malformed_request(client: WorkerClient, ct: np.ndarray) -> None:
    with pytest.raises(RunError) as told:
        client.wait(client.measure(a_mask(), ct[1:], GEOMETRY))
    assert told.value.code == "protocol"
    assert client.wait(client.measure(a_mask(), ct, GEOMETRY)).own


def test_measuring_before_hello_is_refused(way: Way) -> None:
    events, _ = talk([b'{"id": 1, "request": "measure"}\n', b'{"id": 2, "request": "shutdown"}\n'], way)
    assert [(event["id"], event["event"]) for event in events] == [(1, "error"), (2, "result")]


def test_a_ct_that_comes_in_blocks_is_segmented_like_one_that_comes_at_once(
    client: WorkerClient, ct: np.ndarray
) -> None:
    upload = client.upload(ct.shape, ct.dtype)
    for start in range(0, len(ct), 5):
        upload.add(ct[start : start + 5])
    client.wait(client.load(upload, GEOMETRY))
    np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("pieces", ["at once", "in blocks"])
def test_a_worker_that_died_unnoticed_is_restarted_before_the_next_ct_is_handed_over(
    client: WorkerClient, ct: np.ndarray, pieces: str
) -> None:
    client.wait(client.load(np.roll(ct, 3, axis=0), GEOMETRY))
    following = ct
    if pieces == "in blocks":
        following = client.upload(ct.shape, ct.dtype)
        following.add(ct)
    os.kill(client.pid or 0, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while client.running and time.monotonic() < deadline:
        time.sleep(0.01)
    client.wait(client.load(following, GEOMETRY))
    np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_worker_that_dies_while_measuring_is_a_sentence_and_the_next_time_works(
    client: WorkerClient, ct: np.ndarray
) -> None:
    client.wait(client.hello())
    os.kill(client.pid or 0, signal.SIGSTOP)
    request = client.measure(a_mask(), ct, GEOMETRY)
    os.kill(client.pid or 0, signal.SIGKILL)
    with pytest.raises(RunError) as caught:
        client.wait(request)
    assert caught.value.code == "worker-lost"
    assert client.wait(client.measure(a_mask(), ct, GEOMETRY)).own

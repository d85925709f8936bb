"""Neither side of the pipe trips over what the other one sends, and neither over what others do to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Testing.helpers.played_process import PlayedProcess, played
from Testing.helpers.worker_talk import Way

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import PancreasSegError, RunError
from pancreasseg.core.setup import Setup
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.folder import ExchangeFolder

GEOMETRY = Geometry((24, 20, 16), (1.5, 2.0, 2.5))
Asked = tuple[WorkerClient, PlayedProcess]
ORGAN = Box((5, 6, 7), (12, 11, 10))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def ct() -> np.ndarray:
    array = np.full(GEOMETRY.shape, -1000, dtype=np.int16)
    array[2:-2, 2:-2, 2:-2] = 40
    array[ORGAN.slices] = 130
    return array


@pytest.fixture
def client(way: Way, ct: np.ndarray) -> Iterator[WorkerClient]:
    with way.client() as started:
        started.wait(started.load(ct, GEOMETRY))
        yield started


# What happens to the process and to its folder


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes otherwise")
def test_after_sigterm_the_next_click_works(client: WorkerClient) -> None:
    worker = client.pid or 0
    os.kill(worker, signal.SIGTERM)
    while client.running:
        time.sleep(0.01)
    assert client.holds_volume
    assert client.wait(client.segment()).mask.sum() == ORGAN.voxels
    assert client.pid != worker


def test_after_a_cleaner_took_the_folder_the_ct_is_loaded_again_and_all_is_well(
    client: WorkerClient, ct: np.ndarray, temporary: Path
) -> None:
    for folder in temporary.iterdir():
        shutil.rmtree(folder)
    assert not client.holds_volume
    with pytest.raises(RunError) as caught:
        client.wait(client.segment())
    assert caught.value.code == "no-volume"
    client.wait(client.load(ct, GEOMETRY))
    assert client.wait(client.segment()).mask.sum() == ORGAN.voxels
    assert client.wait(client.measure(ct > 100, ct, GEOMETRY)).own
    client.shutdown()
    assert not list(temporary.iterdir())


def test_after_a_cleaner_took_the_files_the_ct_is_loaded_again(
    client: WorkerClient, ct: np.ndarray, temporary: Path
) -> None:
    for file in temporary.glob("*/*"):
        file.unlink()
    assert not client.holds_volume
    upload = client.upload(ct.shape, ct.dtype)
    upload.add(ct)
    client.wait(client.load(upload, GEOMETRY))
    assert client.wait(client.segment()).mask.sum() == ORGAN.voxels
    (folder,) = temporary.iterdir()
    os.utime(folder, (time.time() - 3600,) * 2)
    ExchangeFolder.create(temporary).remove()
    assert folder.exists(), "its lock is there again, so nobody takes it for left behind"


# Names of files


@pytest.mark.parametrize(
    "name", ["../outside.npy", "/etc/passwd", "a/b.npy", "..\\outside.npy", "", ".", "..", None, 3]
)
def test_deleting_follows_no_name_out_of_the_folder(temporary: Path, name: Any) -> None:
    outside = temporary / "outside.npy"
    outside.write_text("mine")
    folder = ExchangeFolder.create()
    folder.write("inside", np.zeros(3))
    folder.delete(name)
    assert not folder.holds(name)
    folder.delete(str(outside))
    assert outside.read_text() == "mine"
    assert (folder.path / "inside.npy").exists()
    folder.remove()


# Answers


def answers(asked: Asked, request: int, **fields: Any) -> Any:
    """What comes of an answer with these fields to a request; raises what it fails with."""
    client, process = asked
    process.say(json.dumps({"id": request, "event": "result", **fields}).encode())
    events = client.poll()
    while client.reading:
        events += client.poll()
    (event,) = events
    assert event.request == request
    if event.name == "error":
        raise event.value
    return event.value


JUNK: tuple[Any, ...] = (
    None,
    3,
    -1,
    1e400,
    "x",
    "../x",
    [],
    [1],
    {},
    {"file": 3},
    {"file": "../x"},
    {"box": "ab"},
    True,
)


@pytest.fixture
def asked() -> Iterator[Asked]:
    """A client with a CT, and the process that it takes for a worker's."""
    with played(GEOMETRY) as both:
        yield both


GOOD: dict[str, dict[str, Any]] = {
    "localize": {"box": [0, 2, 0, 2, 0, 2], "score": 0.5, "candidates": [], "findings": [], "timings": {}},
    "segment": {
        "mask": {"box": [0, 2, 0, 2, 0, 2], "file": "m.npy"},
        "labels": None,
        "probability": {"file": "p.npy"},
        "agreement": {"file": "a.npy"},
        "box": [0, 2, 0, 2, 0, 2],
        "findings": [],
        "timings": {},
        "provenance": {
            "pipeline": "p", "models": [], "device": "cpu", "precision": "f32", "box": [0, 2, 0, 2, 0, 2],
            "version": "1",
        },
    },
    "attention": {"box": [0, 2, 0, 2, 0, 2], "maps": {"one": {"file": "m.npy"}}},
    "measure": {
        "own": [{"name": "v", "title": "V", "value": 1.0, "unit": "ml", "note": "",
                 "code": {"scheme": "SCT", "value": "1", "meaning": "V"}}],
        "against": [],
    },
    "load": {"findings": [{"code": "a", "severity": "info", "sentence": "A.", "number": None}]},
    "hello": {"device": {}, "versions": {}, "models": []},
}  # fmt: skip


def ask(asked: Asked, name: str) -> int:
    client, process = asked
    array = np.zeros(GEOMETRY.shape, np.uint8)
    requests = {
        "localize": client.localize,
        "segment": client.segment,
        "attention": lambda: client.attention(ORGAN),
        "measure": lambda: client.measure(array, array, GEOMETRY),
        "load": lambda: client.load(array, GEOMETRY),
        "hello": client.hello,
    }
    request = requests[name]()
    for file in ("m", "p", "a"):
        process.leave(file, np.zeros((2, 2, 2), np.float32))
    return request


@pytest.mark.parametrize("name", GOOD)
def test_a_good_answer_is_read_and_a_garbled_one_is_a_sentence(asked: Asked, name: str) -> None:
    requests = [ask(asked, name)]
    answers(asked, requests[0], **GOOD[name])
    refused: list[PancreasSegError] = []
    for field in GOOD[name]:
        missing = {key: value for key, value in GOOD[name].items() if key != field}
        for fields in (missing, *({**missing, field: junk} for junk in JUNK)):
            requests.append(ask(asked, name))
            try:
                answers(asked, requests[-1], **fields)
            except PancreasSegError as error:
                refused.append(error)
    assert len(refused) >= 4 * len(GOOD[name])
    assert {error.code for error in refused} <= {"protocol", "exchange-file"}
    assert all(error.hint for error in refused)
    for request in requests:
        with pytest.raises(ValueError, match="is not going on"):
            asked[0].wait(request)


@pytest.mark.parametrize(
    "change",
    [
        {"mask": {"box": [0, 3, 0, 2, 0, 2], "file": "m.npy"}},
        {"mask": {"box": [-2, 0, 0, 2, 0, 2], "file": "m.npy"}},
        {"mask": {"box": [23, 25, 0, 2, 0, 2], "file": "m.npy"}},
        {"mask": {"box": [0, 10**9, 0, 2, 0, 2], "file": "m.npy"}},
        {"box": [0, 1, 0, 2, 0, 2]},
        {"provenance": {"pipeline": "p"}},
    ],
)
def test_arrays_that_do_not_lie_where_the_answer_says_are_refused(asked: Asked, change: dict[str, Any]) -> None:
    request = ask(asked, "segment")
    with pytest.raises(PancreasSegError) as caught:
        answers(asked, request, **{**GOOD["segment"], **change})
    assert caught.value.code == "protocol"


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"null", b"3", b"{", b"[" * 100_000, b'{"event": "result"}', b'{"event": ["result"], "id": 1}',
        b'{"event": "result", "id": [1]}', b'{"event": "result", "id": true}', b'{"event": "result", "id": "1"}',
        b'{"event": "progress", "id": 2}', b'{"event": "notice", "id": 2, "severity": "bad"}',
        b'{"event": "progress", "id": 2, "stage": 3, "done": 1, "total": 1, "fraction": 1, "seconds_left": 1}',
        b'{"event": "result", "id": 77, "mask": {"file": "../x"}, "labels": {"file": 3}}',
        b"\xff\xfe\x00", b'{"event": "error", "id": 77}', b'{"event": "ready", "id": 1, "id": 2}',
    ],
)  # fmt: skip
def test_poll_raises_nothing_whatever_comes(line: bytes, ct: np.ndarray) -> None:
    code = f"import sys; sys.stdout.buffer.write({line!r} + b'\\n'); sys.stdout.flush(); sys.stdin.read()"
    with WorkerClient([sys.executable, "-c", code]) as client:
        client.load(ct, GEOMETRY)
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            for event in client.poll():
                assert not event.final or event.value.code == "protocol"


# Requests

WRONG: dict[str, list[Any]] = {
    "volume": [3, [], {}],
    "pipeline": [3, ["two-stage"], {}],
    "model": [3, [], {}, True],
    "device": [3, []],
    "precision": [{}, 0.5],
    "options": [3, "x", [["a", 1]]],
    "box": [3, "ab", [1, 2, 3], ["a"] * 6, [1.5] * 6, [None] * 6, [10**400] * 6, {}],
    "maps": ["all", 3, [3]],
    "file": [None, 3, [], {}],
    "mask": [None, 3],
    "hu": [None, 3],
    "reference": [3, []],
    "geometry": [None, 3, [], {}, {"size": [1, 2]}, {**GEOMETRY.as_dict(), "size": [10**400, 1, 1]},
                 {**GEOMETRY.as_dict(), "spacing": [0, 1, 1]}, {**GEOMETRY.as_dict(), "direction": ["a"] * 9}],
    "source": [3, "x", []],
    "allow": [3, "x", [3]],
    "target": ["x", [], {}, 0.5, True],
}  # fmt: skip
PARAMETERS = {
    "load": ["file", "geometry", "source", "allow"],
    "localize": ["volume", "pipeline", "model", "device", "precision", "options"],
    "segment": ["volume", "options", "box"],
    "attention": ["volume", "options", "box", "maps"],
    "measure": ["mask", "hu", "reference", "geometry"],
    "cancel": ["target"],
}


def test_wrong_types_of_parameters_are_answered_as_a_matter_of_the_protocol() -> None:
    from Testing.helpers.worker_in_process import talk_in_process

    folder = ExchangeFolder.create()
    good = {
        "file": "ct.npy", "mask": "ct.npy", "hu": "ct.npy", "geometry": GEOMETRY.as_dict(), "box": [0, 1, 0, 1, 0, 1],
    }  # fmt: skip
    requests, expected = [], {}
    for name, parameters in PARAMETERS.items():
        for parameter in parameters:
            for value in WRONG[parameter]:
                number = len(requests) + 1
                expected[number] = (name, parameter, value)
                requests.append({"id": number, "request": name, **good, parameter: value})
    found = {event["id"]: event.get("code") for event in talk_in_process(folder, requests)}
    wrong = {str(expected[number]): code for number, code in found.items() if number in expected and code != "protocol"}
    assert wrong == {}
    assert set(found) >= set(expected)


def test_a_setting_of_a_wrong_type_is_a_matter_of_the_protocol_too(
    ct: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from Testing.helpers.worker_in_process import talk_in_process

    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    folder = ExchangeFolder.create()
    file = folder.write("ct", ct)
    load = {"id": 1, "request": "load", "file": file, "geometry": GEOMETRY.as_dict()}
    runs = [
        {"id": 2 + number, "request": "segment", "volume": file, "box": [5, 12, 6, 11, 7, 10], "device": "cpu",
         "model": "pancreas-ct", "options": options}
        for number, options in enumerate(({"margin_mm": "wide"}, {"margin": 3}, {"boxes": 1.5}, {"boxes": [2]}))
    ]  # fmt: skip
    codes = {event["id"]: event.get("code") for event in talk_in_process(folder, [load, *runs]) if "code" in event}
    assert codes == dict.fromkeys(range(2, 6), "protocol")
    assert Setup().options == {}

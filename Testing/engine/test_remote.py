"""The worker on another machine: what crosses, who shares it, and what happens when the connection or a side is lost.

That it does what a worker does beside its client is shown by the tests of the worker, which run both ways.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.tap import Tap, tapping
from Testing.helpers.worker_talk import DOUBLE, GEOMETRY, ORGAN

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from Testing.helpers.http_server import Site
from Testing.helpers.http_server import serving as serving_files
from Testing.helpers.remote import ENVIRONMENT, LIMITS, TOKEN, a_client, bridge, serving

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import Cancelled, PancreasSegError, RunError
from pancreasseg.core.setup import Setup
from pancreasseg.remote.serve import RunningServer
from pancreasseg.worker.answers import Event
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.protocol import PROTOCOL


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of its own, for the client."""
    folder = tmp_path / "Doe^Jane"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps what it is sent."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with serving(folder) as running:
        yield running


@pytest.fixture
def tap(server: RunningServer) -> Iterator[Tap]:
    with tapping(server.address.port) as made:
        yield made


@pytest.fixture
def ct() -> np.ndarray:
    array = np.random.default_rng(3).integers(-100, 60, GEOMETRY.shape, dtype=np.int16)
    array[ORGAN.slices] = 130
    return array


def through(tap: Tap, *more: str) -> WorkerClient:
    return a_client(f"http://127.0.0.1:{tap.port}", *more)


def long_run(patches: int = 100) -> Setup:
    return Setup(options={"patches": patches, "pause": 0.02})


def uploads(tap: Tap) -> int:
    return len(re.findall(rb"PUT /v1/sessions/[\w-]+/arrays/", bytes(tap.sent)))


def code_of(client: WorkerClient, request: int) -> str:
    with pytest.raises(PancreasSegError) as caught:
        client.wait(request)
    assert caught.value.hint
    return caught.value.code


# What crosses


def test_a_hundred_moved_boxes_send_the_ct_once(tap: Tap, ct: np.ndarray) -> None:
    with through(tap) as client:
        client.wait(client.load(ct, GEOMETRY))
        for step in range(100):
            box = Box((step % 5, step % 7, step % 3), (20, 18, 14))
            result = client.wait(client.segment(box))
            assert result.box == box
            np.testing.assert_array_equal(result.mask[box.slices], ct[box.slices] > 100)
    assert uploads(tap) == 1


def test_nothing_crosses_but_arrays_their_grids_and_settings(tap: Tap, ct: np.ndarray, temporary: Path) -> None:
    told = {"patient": "Doe^Jane", "uid": "1.2.840.99", "file": str(temporary / "Doe.nii.gz")}
    mask = (ct > 100).astype(np.uint8)
    with through(tap) as client:
        client.wait(client.load(ct, GEOMETRY, source=told))
        client.wait(client.segment())
        client.wait(client.measure(mask, ct, GEOMETRY, mask))
    sent = bytes(tap.sent)
    for word in (b"Doe", b"1.2.840", str(temporary).encode(), b"nii", os.uname().nodename.encode()):
        assert word not in sent
    heads = re.findall(rb"^(?:GET|PUT|POST|DELETE) \S+ HTTP/1.1\r\n((?:[\w-]+: [^\r\n]*\r\n)+)", sent, re.M)
    names = {line.split(b":")[0] for head in heads for line in head.splitlines()}
    assert names <= {
        b"Host", b"Accept-Encoding", b"Authorization", b"Content-Type", b"Content-Encoding", b"Content-Length",
        b"PancreasSeg-Array", b"Transfer-Encoding",
    }  # fmt: skip
    asked = [json.loads(found) for found in re.findall(rb'\{"request": .*?\}(?=GET|PUT|DELETE|$)', sent)]
    assert {"load", "segment", "measure"} <= {request["request"] for request in asked}
    settings = {"volume", "pipeline", "model", "device", "precision", "options", "box"}
    grid = {"file", "geometry", "allow", "mask", "hu", "reference"}
    assert {name for request in asked for name in request} <= {"request", "target", *settings, *grid}


def test_arrays_are_compressed(tap: Tap) -> None:
    ct = np.full((60, 100, 100), -1000, np.int16)
    ct[20:40, 20:80, 20:80] = 130
    with through(tap) as client:
        client.wait(client.load(ct, Geometry((100, 100, 60))))
        assert client.wait(client.segment()).mask.sum() == 20 * 60 * 60
    assert len(tap.sent) < ct.nbytes / 20
    assert tap.received < ct.nbytes / 20


# What stays


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/*.npy"))


def until(what) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_everything_is_deleted_after_use_and_the_ct_when_the_client_ends(
    server: RunningServer, folder: Path, ct: np.ndarray
) -> None:
    mask = (ct > 100).astype(np.uint8)
    with a_client(server.address) as client:
        client.wait(client.load(ct, GEOMETRY))
        client.wait(client.load(ct, GEOMETRY))
        client.wait(client.segment())
        client.wait(client.measure(mask, ct, GEOMETRY, mask))
        until(lambda: len(files(folder)) == 1)
        assert "volume" in files(folder)[0]
    until(lambda: not files(folder))
    until(lambda: any("unload: done" in line for line in server.device.log))
    with a_client(server.address) as other:
        assert code_of(other, other.segment()) == "no-volume"


def test_a_client_that_vanished_leaves_nothing(tmp_path: Path, ct: np.ndarray) -> None:
    with serving(tmp_path, limits=replace(LIMITS, idle_seconds=0.2)) as server:
        client = a_client(server.address)
        client.wait(client.load(ct, GEOMETRY))
        os.kill(client.pid or 0, signal.SIGKILL)
        until(lambda: not files(tmp_path))
        client.shutdown()
    assert not list(tmp_path.glob("pancreasseg-*"))


# Several clients


def test_clients_take_turns(server: RunningServer, ct: np.ndarray) -> None:
    moved = np.roll(ct, 2, axis=2)
    with a_client(server.address) as first, a_client(server.address) as second:
        first.wait(first.load(ct, GEOMETRY))
        second.wait(second.load(moved, GEOMETRY))
        greedy = [first.segment(setup=long_run(20)) for _ in range(4)]
        until(lambda: any(event.name == "progress" for event in first.poll()))
        seen: list[Event] = []
        np.testing.assert_array_equal(second.wait(second.segment(), seen.append).mask, moved > 100)
        assert seen[0].value.stage == "queue"
        done = {event.request for event in first.poll() if event.final}
        assert greedy[-1] not in done, "all of the first one's were done before"
        np.testing.assert_array_equal(first.wait(greedy[-1]).mask, ct > 100)


def test_one_clients_cancel_stops_its_own_run_alone(server: RunningServer, ct: np.ndarray) -> None:
    with a_client(server.address) as first, a_client(server.address) as second:
        for client in (first, second):
            client.wait(client.load(ct, GEOMETRY))
        running, waiting = first.segment(setup=long_run(1000)), second.segment(setup=long_run(10))
        until(lambda: any(event.name == "progress" for event in first.poll()))
        first.cancel()
        with pytest.raises(Cancelled):
            first.wait(running)
        assert second.wait(waiting).mask.any()


def test_only_so_many_clients_at_once(tmp_path: Path) -> None:
    one = replace(LIMITS, sessions=1)
    with serving(tmp_path, limits=one) as server, a_client(server.address) as first, a_client(server.address) as second:
        first.wait(first.hello())
        assert code_of(second, second.hello()) == "server-full"
        first.shutdown()
        second.wait(second.hello())


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path, ct: np.ndarray) -> None:
    with serving(tmp_path, limits=replace(LIMITS, run_seconds=3.0)) as server, a_client(server.address) as client:
        client.wait(client.load(ct, GEOMETRY))
        assert code_of(client, client.segment(setup=long_run(1000))) == "server-time"
        assert client.wait(client.localize()).box == ORGAN


# What is lost


def test_a_run_goes_on_when_the_connection_was_cut(tap: Tap, ct: np.ndarray) -> None:
    with through(tap) as client:
        client.wait(client.load(ct, GEOMETRY))
        seen: list[Event] = []

        def cut(event: Event) -> None:
            if event.value.stage == "fine" and event.value.done == 5:
                tap.cut(0.5)
            seen.append(event)

        result = client.wait(client.segment(setup=long_run(40)), cut)
        np.testing.assert_array_equal(result.mask, ct > 100)
        fine = [event.value.done for event in seen if event.value.stage == "fine"]
        assert fine == list(range(41)), "no event is lost, none comes twice"
        assert "reconnect" in [event.value.stage for event in seen]
    assert uploads(tap) == 1


@pytest.fixture
def large() -> tuple[np.ndarray, Geometry]:
    """A CT that does not fit into what a network has on its way at once."""
    array = np.random.default_rng(0).integers(-100, 60, (60, 200, 200), dtype=np.int16)
    array[20:40, 50:150, 50:150] = 130
    return array, Geometry((200, 200, 60))


def test_a_ct_that_was_cut_off_on_its_way_is_sent_again(tap: Tap, large: tuple[np.ndarray, Geometry]) -> None:
    ct, geometry = large
    with through(tap) as client:
        client.wait(client.hello())
        request = client.load(ct, geometry)
        until(lambda: len(tap.sent) > 500_000)
        tap.cut(0.2)
        client.wait(request)
        np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)
    assert uploads(tap) == 2


def test_a_ct_on_its_way_can_be_cancelled_and_is_there_at_the_next_click(
    tap: Tap, large: tuple[np.ndarray, Geometry]
) -> None:
    ct, geometry = large
    with a_client(f"http://127.0.0.1:{tap.port}", "--patience", "0.3") as client:
        client.wait(client.hello())
        tap.most = len(tap.sent) + 500_000
        request = client.load(ct, geometry)
        until(lambda: len(tap.sent) > tap.most)
        client.cancel(request)
        with pytest.raises(Cancelled):
            client.wait(request)
        tap.most = float("inf")
        client.wait(client.load(ct, geometry))
        # The same where a lost session makes the bridge send it anew, within a run.
        tap.cut(60)
        assert code_of(client, client.segment()) == "server-unreachable"
        tap.cut(0.0)
        tap.most = len(tap.sent) + 500_000
        request = client.segment()
        until(lambda: len(tap.sent) > tap.most)
        client.cancel(request)
        with pytest.raises(Cancelled):
            client.wait(request)
        tap.most = float("inf")
        np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)


def test_a_connection_that_stays_away_is_a_sentence_and_the_next_click_works(
    server: RunningServer, tap: Tap, ct: np.ndarray
) -> None:
    with a_client(f"http://127.0.0.1:{tap.port}", "--patience", "0.3") as client:
        client.wait(client.load(ct, GEOMETRY))
        request = client.segment(setup=long_run())
        until(lambda: any(event.name == "progress" for event in client.poll()))
        tap.cut(60)
        assert code_of(client, request) == "server-unreachable"
        tap.cut(0.0)
        assert client.wait(client.segment()).mask.any()
        assert len(server.service.sessions) == 1, "the one that was lost is over"
    assert uploads(tap) == 2, "in a new session the CT is sent anew"


def start(port: int, folder: Path) -> tuple[subprocess.Popen[str], int]:
    program = Path(__file__).parents[1] / "helpers" / "remote_double.py"
    process = subprocess.Popen(
        [sys.executable, str(program), str(port), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(TOKEN + "\n")
    process.stdin.flush()
    return process, int(process.stdout.readline().rpartition(":")[2])


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_server_killed_in_the_middle_is_a_sentence_and_when_it_is_back_the_next_click_works(
    tmp_path: Path, ct: np.ndarray
) -> None:
    process, port = start(0, tmp_path)
    with a_client(f"http://127.0.0.1:{port}", "--patience", "0.3") as client:
        try:
            client.wait(client.load(ct, GEOMETRY))
            request = client.segment(setup=long_run(1000))
            until(lambda: any(event.name == "progress" for event in client.poll()))
            kill(process)
            assert code_of(client, request) == "server-unreachable"
            assert code_of(client, client.segment()) == "server-unreachable"
            until(lambda: not list(tmp_path.glob("pancreasseg-*")))  # its worker has taken the CTs along
            process, _ = start(port, tmp_path)
            np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)
        finally:
            kill(process)


def test_a_server_that_was_restarted_between_two_clicks_is_not_even_noticed(tmp_path: Path, ct: np.ndarray) -> None:
    with serving(tmp_path) as server:
        port = server.address.port
        client = a_client(server.address)
        client.wait(client.load(ct, GEOMETRY))
    with client, serving(tmp_path, port=port):
        np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)


@pytest.mark.parametrize(("how", "code"), [("missing", "package-missing"), ("exit", "worker-start")])
def test_a_worker_that_cannot_start_there_is_a_sentence_here(tmp_path: Path, how: str, code: str) -> None:
    with serving(tmp_path, worker=[*DOUBLE, how]) as server, a_client(server.address) as client:
        assert code_of(client, client.hello()) == code


# Who is not let in, and who answers instead


def test_another_token_is_refused_and_told_to_nobody(server: RunningServer) -> None:
    token = "another-token-that-is-long-enough"
    with WorkerClient(bridge(server.address), {**ENVIRONMENT, "PANCREASSEG_TOKEN": token}) as client:
        assert code_of(client, client.hello()) == "server-token"
        log = "\n".join(client.log)
        listed = Path(f"/proc/{client.pid}/cmdline")
        words = listed.read_text() if listed.exists() else ""
    assert token not in log + words


def test_a_server_of_another_version_is_a_sentence(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pancreasseg.remote.wire.VERSION", 99)
    with a_client(server.address) as client:
        assert code_of(client, client.hello()) == "protocol-version"


def test_what_is_no_server_of_ours_is_a_sentence() -> None:
    with serving_files(Site()) as site, a_client(site.address) as client:
        assert code_of(client, client.hello()) == "server-other"


def test_nobody_there_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with a_client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(RunError) as caught:
            client.wait(client.hello())
        assert caught.value.code == "server-unreachable"
        assert "127.0.0.1" in caught.value.message


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    made = tmp_path_factory.mktemp("certificate")
    file, key = made / "certificate.pem", made / "key.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(
            ["openssl", *words, *names, "-out", str(file), "-keyout", str(key)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no openssl to make a certificate with")
    return file, key


def test_tls_is_believed_with_its_certificate_and_refused_without(
    tmp_path: Path, certificate: tuple[Path, Path], ct: np.ndarray
) -> None:
    file, key = certificate
    with serving(tmp_path, certificate=file, key=key) as server:
        assert str(server.address).startswith("https://")
        with a_client(server.address, "--authority", str(file)) as client:
            client.wait(client.load(ct, GEOMETRY))
            np.testing.assert_array_equal(client.wait(client.segment()).mask, ct > 100)
        with a_client(server.address) as client:
            assert code_of(client, client.hello()) == "server-certificate"
        with a_client(f"https://localhost:{server.address.port}", "--authority", str(file)) as client:
            assert code_of(client, client.hello()) == "server-certificate"
        with a_client(f"http://127.0.0.1:{server.address.port}") as client:
            assert code_of(client, client.hello()) in ("server-other", "server-unreachable")
        with a_client(server.address, "--authority", str(key)) as client:
            assert code_of(client, client.hello()) == "certificate-file"


# The bridge as a process


def test_the_bridge_loads_no_compiled_library_while_it_listens(
    server: RunningServer, ct: np.ndarray, tmp_path: Path
) -> None:
    """On Windows that would wait for the reading thread's pending read; see `pancreasseg.worker.standard_streams`."""
    program = f"""
import sys
from pancreasseg.remote import __main__ as program, bridge
take_over, before = bridge.take_over, set()
def watched():
    before.update(sys.modules)
    return take_over()
bridge.take_over = watched
sys.argv = ["bridge", {str(server.address)!r}]
program.main()
files = {{name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}}
print(sorted(name for name, file in files.items() if file.endswith((".so", ".pyd"))), file=sys.stderr)
"""
    exchange = ExchangeFolder.create()
    file = exchange.write("volume-2", ct)
    lines = [
        {"id": 1, "request": "hello", "protocol": PROTOCOL, "folder": str(exchange.path)},
        {"id": 2, "request": "load", "file": file, "geometry": GEOMETRY.as_dict()},
        {"id": 3, "request": "segment", "volume": file},
    ]
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        process.stdin.flush()
        answers = iter(process.stdout.readline, b"")
        assert next(line for line in map(json.loads, answers) if line["id"] == 3 and line["event"] == "result")["mask"]
        process.stdin.close()
        assert process.stderr.read().splitlines()[-1] == b"[]"
    assert not exchange.path.exists()
    exchange.remove()


def test_the_bridge_needs_neither_torch_nor_what_only_the_server_needs() -> None:
    code = (
        "import sys, pancreasseg.remote.__main__;"
        "heavy = ('torch', 'SimpleITK', 'scipy', 'skimage', 'starlette', 'uvicorn', 'safetensors');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

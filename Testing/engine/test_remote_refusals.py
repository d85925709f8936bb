"""What the server does with those who are not meant, and with what no bridge would send; it answers, and goes on."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pancreasseg.cli.main import main
from pancreasseg.core.errors import InputError, PancreasSegError, RunError
from pancreasseg.remote import secret, wire
from pancreasseg.remote.address import PORT, Address

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from Testing.helpers.grids import quick
from Testing.helpers.remote import LIMITS, TOKEN, serving
from Testing.helpers.worker_talk import GEOMETRY

from pancreasseg.remote.serve import RunningServer, ServerSettings

BEARER = {"Authorization": f"Bearer {TOKEN}"}
SMALL = replace(LIMITS, array_bytes=1 << 20, session_bytes=3 << 20, message_bytes=1 << 12, outstanding=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with serving(folder, limits=SMALL) as running:
        yield running


def ask(
    server: RunningServer, method: str, path: str, body: Any = None, headers: dict[str, str] = BEARER, **more: Any
) -> tuple[int, dict[str, Any]]:
    """The number and the words of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=30)
    try:
        connection.request(method, path, body, headers, **more)
        answer = connection.getresponse()
        words = answer.read()
        return answer.status, json.loads(words) if words else {}
    finally:
        connection.close()


@contextmanager
def a_session(server: RunningServer) -> Iterator[str]:
    """The address of a session, which is ended."""
    status, answer = ask(server, "POST", "/v1/sessions", json.dumps(wire.session_request()))
    assert status == 201
    yield f"/v1/sessions/{answer['session']}"
    assert ask(server, "DELETE", f"/v1/sessions/{answer['session']}")[0] == 204, "the session is as good as before"


@pytest.fixture
def session(server: RunningServer) -> Iterator[str]:
    with a_session(server) as address:
        yield address


def put(server: RunningServer, session: str, layout: str, body: Any, name: str = "volume-1.npy") -> tuple[int, Any]:
    return ask(server, "PUT", f"{session}/arrays/{name}", body, {**BEARER, wire.ARRAY_HEADER: layout})


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*/*") if path.name != "in-use"]


# Who asks


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "server-token"),
        ({"Authorization": "Bearer "}, 401, "server-token"),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401, "server-token"),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401, "server-token"),
        ({"Authorization": f"Basic {TOKEN}"}, 401, "server-token"),
        ({"Authorization": "Bearer \xff\xfe"}, 401, "server-token"),
        ({**BEARER, "Origin": "https://evil.example"}, 403, "server-origin"),
        ({**BEARER, "Origin": "null"}, 403, "server-origin"),
        ({**BEARER, "Host": "evil.example"}, 403, "server-origin"),
        ({**BEARER, "Host": ""}, 403, "server-origin"),
        ({**BEARER, "Host": "localhost:1234"}, 201, None),
        ({**BEARER, "Host": "[::1]:8443"}, 201, None),
    ],
)
def test_who_is_not_meant_is_refused(server: RunningServer, headers: dict[str, str], status: int, code: str) -> None:
    told, answer = ask(server, "POST", "/v1/sessions", json.dumps(wire.session_request()), headers)
    assert (told, answer.get("code")) == (status, code)
    if status == 201:
        ask(server, "DELETE", f"/v1/sessions/{answer['session']}")


def test_a_token_is_compared_in_constant_time(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr("pancreasseg.remote.guard.hmac.compare_digest", lambda a, b: asked.append(a) or False)
    assert ask(server, "DELETE", "/v1/sessions/x")[0] == 401
    assert asked == [TOKEN.encode()]


def test_one_client_cannot_use_anothers_session(server: RunningServer, session: str) -> None:
    for method, path in (("GET", "/events"), ("DELETE", ""), ("GET", "/arrays/volume-1.npy")):
        assert ask(server, method, f"/v1/sessions/guess{path}")[1]["code"] == "no-session"
    assert ask(server, "GET", f"{session}/arrays/volume-1.npy")[1]["code"] == "no-array", "only results are given out"


# Too much


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: RunningServer, session: str) -> None:
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=30) as connection:
        head = f"PUT {session}/requests/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        connection.sendall(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_unknown_size_is_cut_off_at_the_limit(server: RunningServer, session: str, folder: Path) -> None:
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1 << 16
            yield os.urandom(1 << 16)

    with pytest.raises((OSError, http.client.HTTPException)):
        ask(server, "PUT", f"{session}/requests/1", parts(), BEARER, encode_chunked=True)
    assert sent < 500 << 16
    assert left(folder) == []


def bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 1)


@pytest.mark.parametrize(
    ("layout", "body", "code"),
    [
        ("<i2 10 10 10", bomb(1 << 24), "exchange-array"),
        ("|u1 1", bomb(1 << 24), "exchange-array"),
        ("<i2 1000 1000 1000", bomb(100), "server-size"),
        ("<f8 999999 999999 999999", bomb(100), "server-size"),
        ("<i2 10 10 10", bomb(1999), "exchange-array"),
        ("<i2 10 10 10", bomb(2000)[:-6], "exchange-array"),
        ("<i2 10 10 10", bomb(2000) + b"more", "exchange-array"),
        ("<i2 10 10 10", b"not compressed at all", "exchange-array"),
        ("<i2 10 10 10", b"", "exchange-array"),
        ("", bomb(2000), "exchange-array"),
        ("|O8 10", bomb(80), "exchange-array"),
        ("<i2 -1", bomb(2), "exchange-array"),
        ("<i2 1 1 1 1", bomb(2), "exchange-array"),
        ("<i2 0x10", bomb(2), "exchange-array"),
    ],
)
def test_arrays_that_are_none_or_too_large_are_refused_and_leave_nothing(
    server: RunningServer, session: str, folder: Path, layout: str, body: bytes, code: str
) -> None:
    status, answer = put(server, session, layout, body)
    assert (status >= 400, answer["code"]) == (True, code)
    assert left(folder) == []


def test_a_session_holds_only_so_much(server: RunningServer, session: str) -> None:
    answers = [put(server, session, "|u1 900000", bomb(900_000), f"mask-{number}.npy")[0] for number in range(4)]
    assert answers == [204, 204, 204, 413]


@pytest.mark.parametrize("name", ["..%2f..%2fx.npy", "x", "X.npy", "a.npy.npy", "doe^jane.npy", "in-use", "%00.npy"])
def test_names_that_lead_elsewhere_or_tell_something_are_refused(
    server: RunningServer, session: str, folder: Path, name: str
) -> None:
    assert put(server, session, "<i2 10", bomb(20), name)[0] in (400, 404)
    assert left(folder) == []


def test_only_so_many_requests_wait_for_an_answer(server: RunningServer, session: str) -> None:
    ct = np.full(GEOMETRY.shape, 130, "<i2")
    assert put(server, session, "<i2 16 20 24", zlib.compress(ct.tobytes()))[0] == 204
    load = {"request": "load", "file": "volume-1.npy", "geometry": GEOMETRY.as_dict()}
    slow = {"request": "segment", "volume": "volume-1.npy", "options": {"patches": 1000, "pause": 0.05}}
    asked = [load, *[slow] * 9]
    codes = [ask(server, "PUT", f"{session}/requests/{n}", json.dumps(it))[0] for n, it in enumerate(asked)]
    assert codes[:5] == [202] * 5
    assert codes[-1] == 429
    assert ask(server, "PUT", f"{session}/requests/1", json.dumps(slow))[0] == 202, "it has that one already"


# Too slow


def begun(session: str, shape: str) -> str:
    """The head of a request that hands over an array, but for its length."""
    authority = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    return f"PUT {session}/arrays/volume-1.npy HTTP/1.1\r\n{authority}{wire.ARRAY_HEADER}: <i2 {shape}\r\n"


def test_a_client_that_does_not_go_on_is_hung_up_on_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    hasty = replace(SMALL, header_seconds=1.0, stall_seconds=1.0)
    with serving(tmp_path, limits=hasty) as server, a_session(server) as session:
        head = begun(session, "10")
        beginnings = ["", "GET /v1", head, f"{head}Content-Length: 100\r\n\r\nx"]
        slow = [socket.create_connection(("127.0.0.1", server.address.port), timeout=30) for _ in beginnings]
        try:
            for connection, beginning in zip(slow, beginnings, strict=True):
                connection.sendall(beginning.encode())
            assert ask(server, "GET", f"{session}/events?after=x")[0] == 400, "others are served"
            answers = [connection.recv(4096) for connection in slow]
            assert answers[:3] == [b""] * 3
            assert answers[3].startswith(b"HTTP/1.1 408 ")
        finally:
            for connection in slow:
                connection.close()
        assert left(tmp_path) == []


def test_an_array_that_is_sent_again_is_not_harmed_by_what_is_left_of_the_first_try(
    server: RunningServer, session: str, folder: Path
) -> None:
    content = np.arange(1000, dtype="<i2")
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=30) as first:
        first.sendall(f"{begun(session, '1000')}Content-Length: 999\r\n\r\n".encode() + bomb(2000)[:10])
        for _ in range(2):
            assert put(server, session, "<i2 1000", zlib.compress(content.tobytes()))[0] == 204
    deadline = time.monotonic() + 30
    while list(folder.glob("*/*.partial")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (file,) = folder.glob("*/*.npy")
    np.testing.assert_array_equal(np.load(file), content)


# Nonsense


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"3", b"{", b"\xff", b"[" * 4000, b'{"request": "dance"}', b'{"request": "unload"}',
     b'{"request": "shutdown"}', b'{"request": "load"}', b'{"request": "load", "file": "../x", "geometry": {}}',
     b'{"request": "segment", "volume": "../../x"}', b'{"request": "segment", "box": [1]}',
     b'{"request": "measure", "mask": "/etc/passwd", "hu": "x", "geometry": null}', b'{"request": ["load"]}'],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused(server: RunningServer, session: str, body: bytes) -> None:
    status, answer = ask(server, "PUT", f"{session}/requests/1", body)
    assert (status, answer["code"]) == (400, "protocol")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/v1/sessions"), ("PUT", "/v1/sessions"), ("POST", "/v1/sessions/x"), ("GET", "/../etc"),
     ("PUT", "/v1/sessions/x/requests/one"), ("OPTIONS", "/v1/sessions"), ("GET", "/v1/sessions/x/events/y")],
)  # fmt: skip
def test_addresses_that_mean_nothing_are_refused(server: RunningServer, method: str, path: str) -> None:
    assert ask(server, method, path)[0] in (404, 405)


def test_nothing_that_is_sent_breaks_it(server: RunningServer, session: str, capfd: pytest.CaptureFixture) -> None:
    chance = random.Random(5)  # noqa: S311 - the same every time
    good = (
        f"PUT {session}/requests/7 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        'Content-Length: 48\r\n\r\n{"request": "segment", "box": [0, 1, 0, 1, 0, 1]}'
    ).encode()
    for _ in range(150):
        sent = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(sent))
            sent[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        with socket.create_connection(("127.0.0.1", server.address.port), timeout=30) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1 << 16)
            assert not answer.startswith(b"HTTP/1.1 5"), bytes(sent)
    told = capfd.readouterr()
    assert "Traceback" not in told.err
    assert TOKEN not in told.err + told.out


# What both sides share


@quick
@given(
    array=arrays.arrays(st.sampled_from([np.int16, np.uint8, np.float32, np.bool_]), arrays.array_shapes(max_dims=3))
)
def test_an_array_comes_out_as_it_went_in(array: np.ndarray) -> None:
    layout = wire.Layout.parse(wire.Layout.of(array).header())
    out = bytearray()
    unpacker = wire.Unpacker(layout, out.extend)
    for block in wire.packed(array[::-1]):
        unpacker.feed(block)
    unpacker.finish()
    got = np.frombuffer(bytes(out), layout.dtype).reshape(layout.shape)
    assert np.array_equal(got, array[::-1], equal_nan=got.dtype.kind == "f")


def test_a_bomb_is_stopped_at_what_was_declared() -> None:
    out = bytearray()
    unpacker = wire.Unpacker(wire.Layout((100_000,), np.dtype(np.uint8)), out.extend)
    with pytest.raises(RunError):
        unpacker.feed(bomb(1 << 24))
    assert len(out) <= 100_000


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gpu.example", f"https://gpu.example:{PORT}"),
        (" https://gpu.example:99/ ", "https://gpu.example:99"),
        ("127.0.0.1:99", "https://127.0.0.1:99"),
        ("http://localhost", f"http://localhost:{PORT}"),
        ("http://[::1]:99", "http://[::1]:99"),
    ],
)
def test_addresses_are_read(text: str, address: str) -> None:
    assert str(Address.parse(text)) == address


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (bad, "server-address")
        for bad in ("", "https://", "ftp://x", "http://x:port", "https://u@x", "https://x/y", "a b")
    ]
    + [(far, "server-unencrypted") for far in ("http://gpu.example", "http://10.0.0.1:99", "http://127.0.0.1.example")],
)
def test_addresses_that_are_none_or_unencrypted_are_refused(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        Address.parse(text)
    assert caught.value.code == code


# How it is started


def test_other_machines_are_not_served_without_tls_unless_it_is_said() -> None:
    with pytest.raises(InputError) as caught:
        ServerSettings(TOKEN, host="192.0.2.1").check()
    assert caught.value.code == "server-unencrypted"
    ServerSettings(TOKEN, host="192.0.2.1", unencrypted=True).check()
    ServerSettings(TOKEN).check()


@pytest.mark.parametrize("words", [["--port", "99999"], ["--port", "-1"], ["--sessions", "0"], ["--sessions", "many"]])
def test_numbers_that_make_no_sense_are_refused_at_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    assert "is no number from" in capsys.readouterr().err


def test_certificates_that_cannot_be_used_are_a_sentence(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    for settings in (
        ServerSettings(TOKEN, certificate=nothing),
        ServerSettings(TOKEN, certificate=nothing, key=nothing),
    ):
        with pytest.raises(InputError) as caught:
            settings.check()
        assert caught.value.code == "certificate"


def test_an_address_that_is_taken_is_a_sentence(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        RunningServer(ServerSettings(TOKEN, port=server.address.port, parent=tmp_path))
    assert caught.value.code == "server-address"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"
    made = secret.kept(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret.kept(file) == secret.read(file) == made
    assert len(made) > 40
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        secret.read(file)


@pytest.mark.parametrize("token", ["", "short", "with a space in the middle of it", "ünïcödé-ünïcödé-ünïcödé"])
def test_what_is_no_secret_is_refused(token: str) -> None:
    with pytest.raises(PancreasSegError):
        secret.checked(token)


def test_the_command_says_where_it_serves_and_keeps_the_token_to_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pancreasseg", "serve", "--port", "0"]
    environment = {**os.environ, "PANCREASSEG_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        told = [process.stderr.readline(), process.stderr.readline()]
        found = re.search(r"http://127\.0\.0\.1:(\d+)", told[1])
        token = secret.read(tmp_path / "serve-token")
        assert found
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
        connection.request(
            "POST", "/v1/sessions", json.dumps(wire.session_request()), {"Authorization": f"Bearer {token}"}
        )
        assert connection.getresponse().status == 201
        connection.close()
        process.terminate()
        told.append(process.stderr.read())
    assert process.returncode == 0
    assert token not in "".join(told)
    deadline = time.monotonic() + 10
    while list(tmp_path.glob("pancreasseg-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)

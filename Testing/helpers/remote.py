"""A server of the worker's protocol for tests: in a thread of this process, with the worker's double behind it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from Testing.helpers.worker_talk import DOUBLE, Way

from pancreasseg.remote.limits import Limits
from pancreasseg.remote.secret import VARIABLE
from pancreasseg.remote.serve import RunningServer, ServerSettings
from pancreasseg.worker.client import WorkerClient

TOKEN = "a-token-for-tests-that-is-long-enough"
LIMITS = Limits(stuck_seconds=0.5)
ENVIRONMENT = {VARIABLE: TOKEN}


@contextmanager
def serving(folder: Path, **settings) -> Iterator[RunningServer]:
    """A server, its temporary files in ``folder``."""
    chosen = {"token": TOKEN, "port": 0, "limits": LIMITS, "parent": folder, "worker": DOUBLE, **settings}
    server = RunningServer(ServerSettings(**chosen))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def bridge(address: object, *more: str) -> list[str]:
    """Starts the bridge to a server."""
    return [sys.executable, "-m", "pancreasseg.remote", str(address), *more]


def a_client(address: object, *more: str) -> WorkerClient:
    return WorkerClient(bridge(address, "--patience", "5", *more), ENVIRONMENT)


def way_to(server: RunningServer) -> Way:
    return Way("server", bridge(server.address), ENVIRONMENT, lambda _client: server.device.log)

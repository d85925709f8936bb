"""The worker's server without a process: requests in, events out."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.memory import WorkerMemory
from pancreasseg.worker.protocol import FINAL, PROTOCOL
from pancreasseg.worker.server import Server

_PATIENCE_SECONDS = 120.0


def talk_in_process(folder: ExchangeFolder, requests: Sequence[dict[str, Any] | bytes]) -> list[dict[str, Any]]:
    """All events of a session that greets, sends these requests or raw lines and, when all are answered, shuts down."""
    hello = {"id": 0, "request": "hello", "protocol": PROTOCOL, "folder": str(folder.path)}
    pipe = _Pipe([hello, *requests])
    Server(pipe, pipe, WorkerMemory(), dict).run()  # type: ignore[arg-type]
    folder.remove()
    return pipe.events


class _Pipe:
    """Both pipes. Requests never end: that would end the process."""

    def __init__(self, requests: Sequence[dict[str, Any] | bytes]) -> None:
        self._requests = requests
        self._answered = threading.Semaphore(0)
        self.events: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[bytes]:
        for request in self._requests:
            lines = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
            yield from io.BytesIO(lines)
        for _ in self._requests:
            assert self._answered.acquire(timeout=_PATIENCE_SECONDS), "a request was not answered"
        yield b'{"id": -1, "request": "shutdown"}\n'
        threading.Event().wait()

    def write(self, line: bytes) -> None:
        self.events.append(json.loads(line))
        if self.events[-1]["event"] in FINAL:
            self._answered.release()

    def flush(self) -> None:
        """Nothing waits."""

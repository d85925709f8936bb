"""The worker's server without a process: requests in, events out."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.memory import WorkerMemory
from pancreasseg.worker.protocol import FINAL, PROTOCOL
from pancreasseg.worker.server import Server

_PATIENCE_SECONDS = 120.0


def talk_in_process(
    folder: ExchangeFolder, requests: Sequence[dict[str, Any] | bytes], memory: WorkerMemory | None = None
) -> list[dict[str, Any]]:
    """All events of a session that greets, sends these requests or raw lines and, when all are answered, shuts down."""
    hello = {"id": 0, "request": "hello", "protocol": PROTOCOL, "folder": str(folder.path)}
    pipe = _Pipe([hello, *requests])
    try:
        Server(pipe, pipe, memory or WorkerMemory(), dict).run()  # type: ignore[arg-type]
    finally:
        pipe.over.set()
        folder.remove()
    return pipe.events


class _Pipe:
    """Both pipes. Requests do not end before the server has: that would end the process."""

    def __init__(self, requests: Sequence[dict[str, Any] | bytes]) -> None:
        self._requests = requests
        self._answered = threading.Semaphore(0)
        self.events: list[dict[str, Any]] = []
        self.over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for request in self._requests:
            lines = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
            yield from io.BytesIO(lines)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        left = len(self._requests)
        while left and not self.over.is_set() and time.monotonic() < deadline:
            left -= self._answered.acquire(timeout=0.05)
        yield b'{"id": -1, "request": "shutdown"}\n'
        self.over.wait()

    def write(self, line: bytes) -> None:
        self.events.append(json.loads(line))
        if self.events[-1]["event"] in FINAL:
            self._answered.release()

    def flush(self) -> None:
        """Nothing waits."""

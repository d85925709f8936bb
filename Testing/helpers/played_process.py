"""A worker process that is played: a real client hears from it what a test lets it say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.process import END_SECONDS
from pancreasseg.worker.protocol import Message, Request


class PlayedProcess:
    """Stands for a `pancreasseg.worker.process.WorkerProcess`; what it is asked is kept in ``asked``."""

    alive, ended, log, pid = True, False, (), 0

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self._messages: list[Message] = []

    def say(self, line: bytes) -> None:
        """Send a line; raises what the thread that reads lines would have passed over."""
        self._messages.append(Message.parse(line))

    def messages(self, _seconds: float) -> list[Message]:
        said, self._messages = self._messages, []
        return said

    def write(self, request: Request) -> None:
        self.asked.append(request)

    def end(self, patience: float = END_SECONDS) -> None:
        """There is nothing to end."""

    def leave(self, name: str, array: np.ndarray) -> None:
        """Write an array into the folder that the client has said in its greeting."""
        ExchangeFolder(Path(self.asked[0].parameters["folder"])).write(name, array)


@contextmanager
def played(geometry: Geometry) -> Iterator[tuple[WorkerClient, PlayedProcess]]:
    """A client that has loaded a CT of this geometry into a played process."""
    process = PlayedProcess()
    with mock.patch("pancreasseg.worker.client.WorkerProcess", return_value=process), WorkerClient() as client:
        request = client.load(np.zeros(geometry.shape, np.int16), geometry)
        process.say(b'{"id": %d, "event": "result", "findings": []}' % request)
        client.poll()
        yield client, process

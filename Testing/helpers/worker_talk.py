"""The worker's double as tests start it, a CT for it, and what it answers to raw lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pancreasseg.core import Box, Geometry
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.protocol import PROTOCOL

DOUBLE = [sys.executable, str(Path(__file__).with_name("worker_double.py"))]
GEOMETRY = Geometry((24, 20, 16), (1.5, 2.0, 2.5), (3.0, -4.0, 5.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
ORGAN = Box((5, 6, 7), (12, 11, 10))


class Way:
    """How a test reaches the worker's double: through "pipe", or "server".

    Attributes:
        command: starts what the client talks to.
        environment: variables added to this process's environment for it.
        log: the last lines of the log of the worker behind a client.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Callable[[WorkerClient], Sequence[str]] = lambda client: client.log,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log

    def client(self) -> WorkerClient:
        return WorkerClient(self.command, self.environment)

    def process(self) -> subprocess.Popen[bytes]:
        """What the client talks to, without the client."""
        pipe, environment = subprocess.PIPE, {**os.environ, **self.environment}
        return subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


PIPE = Way("pipe", DOUBLE, {})


def talk(lines: list[bytes], way: Way = PIPE) -> tuple[list[dict], int]:
    """What the worker answers to raw lines, and its exit code after the pipe is closed."""
    environment = {**os.environ, **way.environment}
    done = subprocess.run(
        way.command, input=b"".join(lines), capture_output=True, check=False, timeout=60, env=environment
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def hello(folder: ExchangeFolder, protocol: int = PROTOCOL) -> bytes:
    return json.dumps({"id": 1, "request": "hello", "protocol": protocol, "folder": str(folder.path)}).encode() + b"\n"

"""The worker's double as tests start it, a CT for it, and what it answers to raw lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pancreasseg.core import Box, Geometry
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.protocol import PROTOCOL

DOUBLE = [sys.executable, str(Path(__file__).with_name("worker_double.py"))]
GEOMETRY = Geometry((24, 20, 16), (1.5, 2.0, 2.5), (3.0, -4.0, 5.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
ORGAN = Box((5, 6, 7), (12, 11, 10))


def talk(lines: list[bytes]) -> tuple[list[dict], int]:
    """What the worker answers to raw lines, and its exit code after the pipe is closed."""
    done = subprocess.run(DOUBLE, input=b"".join(lines), capture_output=True, check=False, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def hello(folder: ExchangeFolder, protocol: int = PROTOCOL) -> bytes:
    return json.dumps({"id": 1, "request": "hello", "protocol": protocol, "folder": str(folder.path)}).encode() + b"\n"

"""A Dask scheduler and a worker, each in a process of its own, reached over TCP."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scheduler_running(folder: Path, **environment: str) -> Iterator[str]:
    """The scheduler's address; ``environment`` is added to that of both processes."""
    said = folder / "scheduler.json"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment}
    common = ["--scheduler-file", str(said), "--host", "127.0.0.1", "--no-dashboard"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words, *common],
            stderr=subprocess.DEVNULL,
            env=variables,
        )
        for kind, words in (("scheduler", ["--port", "0"]), ("worker", ["--nthreads", "1"]))
    ]
    try:
        while not said.exists() or not said.read_text():
            assert started[0].poll() is None
            time.sleep(0.1)
        yield json.loads(said.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)

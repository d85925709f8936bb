"""A server in a process of its own, with the worker's double behind it: ``python remote_double.py PORT FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from pancreasseg.remote.serve import ServerSettings, serve

if __name__ == "__main__":
    double = [sys.executable, str(Path(__file__).with_name("worker_double.py"))]
    serve(
        ServerSettings(sys.stdin.readline().strip(), port=int(sys.argv[1]), parent=Path(sys.argv[2]), worker=double),
        lambda line: print(line, flush=True),
    )

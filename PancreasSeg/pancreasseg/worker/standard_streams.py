"""Standard input and output of the worker's processes: kept for the protocol, and safe on Windows.

On Windows a process that loads certain compiled libraries (scipy's OpenBLAS by way of libgfortran) asks for the state
of its standard handles, and Windows makes that wait for a pending read of the same pipe: a thread that waits for the
next request would keep ``import scipy`` waiting until one comes. numpy/numpy#24290 and python/cpython#78961 tell of it.
So the pipe is taken away from file descriptor 0, compiled libraries are loaded before a thread reads, and where a
process loads libraries while it listens it looks into the pipe instead of reading from it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

#: Compiled libraries, and the rooms of the engine that load further parts of them.
COMPILED = (
    "scipy.linalg",
    "scipy.ndimage",
    "scipy.sparse.csgraph",
    "unicodedata",
    "skimage.graph",
    "skimage.measure",
    "SimpleITK",
    "safetensors",
    "torch",
    "pancreasseg.measure.measurements",
    "pancreasseg.runs.run",
)

_LOOK_SECONDS = 0.02


def take_over() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to read requests from and to write events to; libraries find nothing to read and print to the log."""
    # Not sys.stdin itself: Python would wait for the reading thread to let go of it when it shuts down.
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # Libraries that print must not be able to break a protocol line.
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, events


def import_compiled() -> None:
    """Load the compiled libraries; one that is missing is spoken of when it is needed."""
    for name in COMPILED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        from pancreasseg import pipelines
        from pancreasseg.export.formats import formats

        pipelines.declarations()
        formats()


def when_input_ends(act: Callable[[], None]) -> None:
    """Call ``act`` in a thread when the other side of standard input is gone; never, where that is no pipe."""

    def listen() -> None:
        await_end(0)
        act()

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=listen, name="input", daemon=True).start()


def await_end(pipe: int) -> None:
    """Return once nobody can write to the pipe any more; what comes before is thrown away."""
    if sys.platform == "win32":
        _await_end_by_looking(pipe)
        return
    with contextlib.suppress(OSError):
        while os.read(pipe, 4096):
            pass


def _await_end_by_looking(pipe: int) -> None:
    """The same on Windows, without a read that waits."""
    import _winapi
    import msvcrt

    handle = msvcrt.get_osfhandle(pipe)  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):  # the pipe is broken: its end
        while True:
            waiting, *_ = _winapi.PeekNamedPipe(handle)  # type: ignore[attr-defined]
            if waiting:
                os.read(pipe, waiting)
            else:
                time.sleep(_LOOK_SECONDS)

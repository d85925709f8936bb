"""Standard streams that are closed, full, or read by somebody who has gone away.

None of it may cost a result: what is written to folders is written whatever becomes of the words about it.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from pancreasseg.core.errors import OutputError


def open_all() -> None:
    """Open what the process was started without (``2>&-``) to nothing, before a file gets its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    # Python has no stream where the number was closed.
    sys.stdout = sys.stdout or _nothing()
    sys.stderr = sys.stderr or _nothing()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a Windows console lacks some letters


def is_terminal(stream: TextIO) -> bool:
    """True when a person sees the stream as it is written."""
    with suppress(ValueError):  # closed
        return stream.isatty()
    return False


def write(stream: TextIO, text: str, *, must: bool = True) -> None:
    """Write to a stream as long as somebody reads it.

    Raises:
        OutputError: the stream ``must`` be written and cannot: the disk is full, and the like.
    """
    try:
        stream.write(text)
    except (OSError, ValueError) as error:
        _give_up(stream, error, must=must)


def flush() -> None:
    """Write what is still waiting in both streams, so that nothing fails while Python shuts down.

    Raises:
        OutputError: as for `write`, of standard output.
    """
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            _give_up(stream, error, must=stream is sys.stdout)


def _give_up(stream: TextIO, error: Exception, *, must: bool) -> None:
    """Let what is and will be written go nowhere."""
    with suppress(OSError, ValueError):  # no real file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    if must and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        raise OutputError(
            "cannot-write-answer",
            f"The answer could not be written to standard output ({error.strerror}).",
            "Files of results are in their places; send the output elsewhere to read the answer.",
        ) from error


def _nothing() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # open as long as the process

"""Locks on files, which the system frees when a process ends, however it ends."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process, and one thread of it, at a time gets past here for one file; waits for its turn.

    The file is made where it is not there, and stays. Where the file system knows no locks nobody is kept out.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    with path.open("a+b") as stream:
        with suppress(OSError):
            _lock(stream)
        try:
            yield
        finally:
            unlock(stream)


if sys.platform == "win32":
    import msvcrt

    def try_lock(stream: IO[bytes]) -> bool:
        """Take the lock of an open file unless another process has it; true when it was taken."""
        try:
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(stream: IO[bytes]) -> None:
        """Give the lock back; harmless when it was not taken."""
        with suppress(OSError):
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

    def _lock(stream: IO[bytes]) -> None:
        while True:
            stream.seek(0)
            try:
                msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno != errno.EDEADLOCK:  # Windows gives up after ten seconds: go on waiting
                    raise
            else:
                return

else:
    import fcntl

    def try_lock(stream: IO[bytes]) -> bool:
        """Take the lock of an open file unless another process has it; true when it was taken."""
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(stream: IO[bytes]) -> None:
        """Give the lock back; harmless when it was not taken."""
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_UN)

    def _lock(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX)

"""Files and folders that are either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pancreasseg.core.errors import OutputError

#: Leftovers of a killed installation are swept away after this many seconds; a living one is never that slow.
STALE_SECONDS = 24 * 3600.0

_NEW, _OLD = ".new-", ".old-"


def sha256_of(path: Path) -> str:
    """SHA256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def plain_write_errors(where: Path) -> Iterator[None]:
    """Turn errors of the file system into one sentence.

    Raises:
        OutputError: no room, no permission, or any other refusal to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                "disk-full", f"There is no room left to write to {where}.", "Free some space and try again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(
                "not-writable",
                f"You may not write to {where}.",
                "Choose another folder; the setting PANCREASSEG_HOME moves the model store.",
            ) from error
        raise OutputError("write-failed", f"Writing to {where} failed: {error.strerror or error}.") from error


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A private folder in ``parent`` to prepare a new neighbour in; gone afterwards, whatever happens."""
    with plain_write_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_folder(prepared: Path, target: Path) -> None:
    """Put ``prepared`` in the place of ``target``; the old one goes only once the new one stands.

    A process that dies between the two steps leaves the old one under another name; `recover` brings it back. Where
    other processes may do the same, hold the lock of the parent folder.
    """
    old = target.with_name(_OLD + target.name)
    with plain_write_errors(target):
        for path in (*prepared.iterdir(), prepared):
            _to_disk(path)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        try:
            prepared.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def recover(parent: Path) -> None:
    """Undo what a killed process left half done in ``parent``; hold its lock while calling this."""
    for old in parent.glob(_OLD + "*"):
        target = parent / old.name.removeprefix(_OLD)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for new in parent.glob(_NEW + "*"):
        if time.time() - new.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(new, ignore_errors=True)


@contextmanager
def locked(parent: Path) -> Iterator[None]:
    """Only one process at a time gets past here for one folder; the system frees the lock when a process dies."""
    with plain_write_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        file = (parent / ".lock").open("a+b")
    with file:
        _lock(file)
        try:
            recover(parent)
            yield
        finally:
            _unlock(file)


def _to_disk(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return  # Windows has no handle to flush for folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        with suppress(OSError):  # some network file systems refuse; the contents are verified anyway
            os.fsync(handle)
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        while True:
            file.seek(0)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno != errno.EDEADLOCK:  # Windows gives up after ten seconds: go on waiting
                    raise
            else:
                return

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

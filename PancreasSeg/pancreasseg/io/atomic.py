"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pancreasseg.core.errors import OutputError

_PREFIX = ".pancreasseg-partial-"
_STALE_AFTER_SECONDS = 3600.0
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def prepare_folder(folder: str | Path) -> Path:
    """Make the folder for results and see that files can be written there, before any work is done for them.

    What a run that was killed more than an hour ago left behind is removed.

    Raises:
        OutputError: it cannot be made, is no folder, or cannot be written to.
    """
    folder = Path(folder)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / (_PREFIX + secrets.token_hex(6))
        probe.mkdir()
        probe.rmdir()
        for old in folder.glob(_PREFIX + "*"):
            with suppress(FileNotFoundError):  # another process has just removed what it had there
                if time.time() - old.lstat().st_mtime > _STALE_AFTER_SECONDS:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
    return folder


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A place to write a file to; it takes the name ``path`` when the block ends well and vanishes when it does not.

    Raises:
        OutputError: the disk is full, the folder cannot be written to, and the like.
    """
    path = Path(path)
    # Beside the target, as renaming is atomic only within a file system; same suffixes, as some writers go by them.
    partial = path.with_name(_PREFIX + secrets.token_hex(6) + "".join(path.suffixes[-2:])[-20:])
    with output_errors(path):
        try:
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def all_or_none(folder: Path, names: Sequence[str], outdated: Sequence[str] = ()) -> Iterator[Path]:
    """A hidden folder to write ``names`` into; when the block ends well they all move to ``folder``, else none does.

    Files of the same names that were there before are kept until the new ones have all taken their places, and come
    back if that fails half way. A process killed while writing leaves the earlier files as they were.

    Args:
        folder: where the files go.
        names: the files, also in folders in it ("maps/one.png").
        outdated: files that go when the new ones come.

    Raises:
        OutputError: a file cannot be written, or a folder stands where it should go.
    """
    with output_errors(folder):
        stage = folder / (_PREFIX + secrets.token_hex(6))
        new, previous = stage / "new", stage / "previous"
        try:
            for name in (*names, *outdated):
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (previous / name).parent.mkdir(parents=True, exist_ok=True)
            yield new
            for name in names:
                _sync(new / name)
            _move_all(names, outdated, new, folder, previous)
            for name in outdated:
                with suppress(OSError):  # other files are in it
                    (folder / name).parent.rmdir()
            _sync_folder(folder)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the system's errors about writing ``target`` into plain sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise OutputError(
                "disk-full", f"The disk is full: {target} could not be written.", "Free some space and run again."
            ) from error
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "cannot-write", f"{target} cannot be written ({reason}).", "Choose a folder that you may write to."
        ) from error


def _move_all(names: Sequence[str], outdated: Sequence[str], new: Path, folder: Path, previous: Path) -> None:
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"a folder is in the place of {name}")
    moved: list[str] = []
    made: list[Path] = []
    try:
        for name in (*names, *outdated):
            if not (folder / name).parent.exists():
                (folder / name).parent.mkdir()
                made.append((folder / name).parent)
            if (folder / name).exists():
                shutil.copy2(folder / name, previous / name)
            moved.append(name)
            if name in names:
                (new / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError:
        for name in moved:
            if (previous / name).exists():
                (previous / name).replace(folder / name)
            elif not (new / name).exists():
                (folder / name).unlink(missing_ok=True)
        for empty in made:
            empty.rmdir()
        raise


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut, where the system lets one open a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

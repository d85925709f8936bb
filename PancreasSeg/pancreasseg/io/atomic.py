"""Files and folders that appear whole or not at all, whenever the process that writes them is killed.

What is new is made in a hidden folder beside its place, the stage. `Staging.commit` puts it there:

1. everything new is on the disk, and a journal in the stage names it;
2. the old file that vouches for the others (the last of the names) moves into the stage;
3. the other old files move into the stage, the new ones into their places;
4. the new file that vouches for the others moves to its place: from here on the new content counts.

Who finds a journal whose writer has died before the last step (`recover`) takes the steps back. So whoever sees the
vouching file sees all that it vouches for, and what was there before comes back unless all of the new is there.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pancreasseg.core.errors import DISK_FULL, OutputError
from pancreasseg.io.locks import try_lock

PREFIX = ".pancreasseg-partial-"
_IN_USE, _JOURNAL = "in-use", "journal.json"
#: What nobody has locked may belong to a process that is about to, or lie where locks do not work.
_STALE_AFTER_SECONDS = 3600.0


def prepare_folder(folder: str | Path) -> Path:
    """Make the folder for results and see that files can be written there, before any work is done for them.

    What killed runs left half done in it is put right, see `recover`.

    Raises:
        OutputError: it cannot be made, is no folder, or cannot be written to.
    """
    folder = Path(folder)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / (PREFIX + secrets.token_hex(6))
        probe.mkdir()
        probe.rmdir()
        recover(folder)
    return folder


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A place to write a file to; it takes the name ``path`` when the block ends well and vanishes when it does not.

    Raises:
        OutputError: the disk is full, the folder cannot be written to, and the like.
    """
    path = Path(path)
    # Beside the target, as renaming is atomic only within a file system; same suffixes, as some writers go by them.
    partial = path.with_name(PREFIX + secrets.token_hex(6) + "".join(path.suffixes[-2:])[-20:])
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

    Args:
        folder: where the files go.
        names: the files, also in folders in it ("maps/one.png"). The last one vouches for all: it goes first and comes
            last.
        outdated: files that go when the new ones come.

    Raises:
        OutputError: a file cannot be written, or a folder stands where it should go.
    """
    with staged(folder) as stage, output_errors(folder):
        for name in names:
            (stage.new / name).parent.mkdir(parents=True, exist_ok=True)
        yield stage.new
        stage.commit(names, outdated)


@contextmanager
def staged(folder: Path) -> Iterator[Staging]:
    """A `Staging` in ``folder``; gone afterwards, whatever happens.

    Raises:
        OutputError: the folder cannot be written to.
    """
    stage = Staging(folder)
    try:
        yield stage
    finally:
        stage.remove()


class Staging:
    """A hidden folder in which something new is made before it takes its place, see the module's text.

    Args:
        folder: where it will take its place.

    Attributes:
        new: write here.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / (PREFIX + secrets.token_hex(6))
        self.new = self.path / "new"
        self._synced = False
        with output_errors(folder):
            self.new.mkdir(parents=True)
            self._in_use = (self.path / _IN_USE).open("wb")
            try_lock(self._in_use)

    def sync(self) -> None:
        """Bring everything new onto the disk; `commit` does so as well, but holds up whoever waits for a lock.

        Raises:
            OSError: the disk is full, and the like.
        """
        for path in (*self.new.rglob("*"), self.new):
            _sync_folder(path) if path.is_dir() else _sync(path)
        self._synced = True

    def commit(self, names: Sequence[str], outdated: Sequence[str] = ()) -> None:
        """Put files or folders out of `new` in their places, all or none of them.

        Args:
            names: relative to `new` and to the folder; the last one vouches for all.
            outdated: files that go when the new ones come.

        Raises:
            OutputError: they cannot be put there, or a folder stands where a file should go; all is as it was before.
        """
        with output_errors(self.folder):
            if not self._synced:
                self.sync()
            recover(self.folder)  # another's half commit must not be taken back over this one
            for name in names:
                if (self.folder / name).is_dir() and not (self.new / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, f"a folder is in the place of {name}")
            self.write_journal(names, outdated)
            try:
                self._move(names, outdated)
            except BaseException:
                _roll_back(self.path)
                raise
            (self.path / _JOURNAL).unlink()
            for parent in {(self.folder / name).parent for name in outdated} - {self.folder}:
                with suppress(OSError):  # other files are in it
                    parent.rmdir()
            _sync_folder(self.folder)

    def remove(self) -> None:
        """Delete the stage; what was committed stays."""
        self._in_use.close()
        if not (self.path / _JOURNAL).exists():  # else not even taking back has worked: `recover` tries it again
            shutil.rmtree(self.path, ignore_errors=True)

    def write_journal(self, names: Sequence[str], outdated: Sequence[str]) -> None:
        """The first step of `commit`: say what is about to move, for `recover`."""
        made = _missing_parents(self.folder, names)
        text = json.dumps({"names": list(names), "outdated": list(outdated), "made": made})
        partial = self.path / (_JOURNAL + ".partial")
        partial.write_text(text, encoding="utf-8")
        _sync(partial)
        partial.replace(self.path / _JOURNAL)
        _sync_folder(self.path)

    def _move(self, names: Sequence[str], outdated: Sequence[str]) -> None:
        *others, last = names
        self._set_aside(last)
        for name in others:
            self._set_aside(name)
            _rename(self.new / name, self.folder / name)
        for name in outdated:
            self._set_aside(name)
        _rename(self.new / last, self.folder / last)

    def _set_aside(self, name: str) -> None:
        if os.path.lexists(self.folder / name):
            _rename(self.folder / name, self.path / "previous" / name)


def recover(folder: Path) -> None:
    """Take back what killed processes left half done in ``folder``, and remove what they were making there.

    Raises:
        OSError: the folder cannot be written to.
    """
    for path in folder.glob(PREFIX + "*"):
        with suppress(FileNotFoundError):  # another process has just removed what it had there
            if path.is_dir() and not path.is_symlink():
                _recover_stage(path)
            elif _is_stale(path):
                path.unlink()


def _recover_stage(stage: Path) -> None:
    if not (stage / _JOURNAL).exists():  # nothing has moved yet, or everything has
        if _is_stale(stage):
            shutil.rmtree(stage, ignore_errors=True)
        return
    with (stage / _IN_USE).open("r+b") as stream:
        if not try_lock(stream) and not _is_stale(stage):
            return  # its owner is at it
        _roll_back(stage)
    shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the system's errors about writing ``target`` into plain sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OutputError(
                "disk-full", f"The disk is full: {target} could not be written.", "Free some space and run again."
            ) from error
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "cannot-write", f"{target} cannot be written ({reason}).", "Choose a folder that you may write to."
        ) from error


def _roll_back(stage: Path) -> None:
    """Take back the steps of a commit that did not come to its last one; may itself be killed and done again."""
    try:
        journal = json.loads((stage / _JOURNAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # nothing has moved yet
    new, previous, folder = stage / "new", stage / "previous", stage.parent
    *others, last = journal["names"]
    if os.path.lexists(new / last):
        for name in (*journal["outdated"], *reversed(others), last):
            if name in others and os.path.lexists(folder / name) and not os.path.lexists(new / name):
                _rename(folder / name, new / name)
            if os.path.lexists(previous / name):
                _rename(previous / name, folder / name)
        for parent in reversed(journal["made"]):
            with suppress(OSError):
                (folder / parent).rmdir()
        _sync_folder(folder)
    (stage / _JOURNAL).unlink()  # before the stage goes piece by piece


def _rename(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _missing_parents(folder: Path, names: Sequence[str]) -> list[str]:
    """Folders inside ``folder`` that the names need and that are not there, outer ones first."""
    parents = {parent for name in names for parent in Path(name).parents if parent != Path()}
    return sorted(str(parent) for parent in parents if not (folder / parent).exists())


def _is_stale(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > _STALE_AFTER_SECONDS


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such thing
                raise


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut, where the system lets one open a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # likewise
            os.fsync(handle)
    finally:
        os.close(handle)

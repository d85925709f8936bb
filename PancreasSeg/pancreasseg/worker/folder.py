"""The private folder through which arrays cross between client and worker.

The client makes it, readable by its user alone, and removes it. Whoever outlives the other removes it as well: the
worker when the client was killed, and the next client when both were.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pancreasseg.core.errors import OutputError, RunError, explain
from pancreasseg.io.locks import try_lock

PREFIX = "pancreasseg-exchange-"
_LOCK = "in-use"
#: A folder younger than this may belong to a client that has not locked it yet.
_GRACE_SECONDS = 60.0


class ExchangeFolder:
    """A private folder with ``.npy`` files in it.

    Args:
        path: the folder, which must exist and have been made by `create`.

    Raises:
        RunError: the path is no such folder. The worker removes what it is given, so it takes no other.
    """

    def __init__(self, path: Path) -> None:
        if not path.name.startswith(PREFIX) or path.is_symlink() or not path.is_dir():
            raise RunError(
                "exchange-folder",
                "The folder for passing arrays to the segmentation process is not there.",
                "Start the run again; if it stays, check that the temporary folder can be written.",
            )
        self.path = path
        self._lock: IO[bytes] | None = None
        self._uploads: set[Path] = set()

    @classmethod
    def create(cls, parent: Path | None = None) -> ExchangeFolder:
        """Make a new one (mode 0700) and remove those that killed programs left behind.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        try:
            base = Path(parent or tempfile.gettempdir())
            remove_stale(base)
            folder = cls(Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)))
            folder._lock = (folder.path / _LOCK).open("wb")
        except OSError as error:
            raise OutputError(
                "temporary-folder",
                "The temporary folder cannot be written.",
                "Free some space there, or point the environment variable TMPDIR (TEMP on Windows) to another folder.",
            ) from error
        try_lock(folder._lock)
        return folder

    @property
    def in_use(self) -> bool:
        """Whether the client that made it is alive; asked by its worker."""
        return _in_use(self.path / _LOCK)

    def is_there(self) -> bool:
        """False when somebody has removed it, as cleaners of temporary files do; a lock that is gone is renewed."""
        if not self.path.is_dir():
            return False
        if self._lock is not None and not (self.path / _LOCK).exists():
            with contextlib.suppress(OSError):
                self._lock.close()
                self._lock = (self.path / _LOCK).open("wb")
                try_lock(self._lock)
        return True

    def holds(self, file: str) -> bool:
        """Whether there is an array of this name."""
        return _is_bare(file) and (self.path / file).is_file()

    def write(self, name: str, array: np.ndarray) -> str:
        """Save an array as ``<name>.npy``; returns the bare file name.

        Raises:
            OutputError: the disk is full, or the folder is gone.
        """
        partial = self._partial(name)
        with _writing(partial):
            with partial.open("wb") as stream:
                np.save(stream, array, allow_pickle=False)
            return self._whole(partial)

    def upload(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Upload:
        """Begin to save an array block by block; raises like `write`."""
        return Upload(self, name, shape, dtype)

    def _partial(self, name: str) -> Path:
        return self.path / f"{name}.partial"

    def _whole(self, partial: Path) -> str:
        """Give a complete file its name."""
        file = partial.with_suffix(".npy")
        partial.replace(file)
        return file.name

    def map(self, file: str) -> np.ndarray:
        """A read-only, memory-mapped array.

        Raises:
            RunError: a name with a path in it, a missing or a damaged file.
        """
        try:
            if not _is_bare(file):
                raise ValueError("not a bare file name")
            return np.asarray(np.load(self.path / file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise RunError(
                "exchange-file",
                "An array that was passed to or from the segmentation process is missing or damaged.",
                "Start the run again.",
            ) from error

    def take(self, file: str) -> np.ndarray:
        """Read an array into memory and delete its file; raises like `map`."""
        array = np.array(self.map(file))
        self.delete(file)
        return array

    def delete(self, file: str) -> None:
        """Delete one file, if it is there; one that Windows still holds open goes with the folder.

        Nothing happens to what is not in the folder, whatever the name says.
        """
        if _is_bare(file):
            with contextlib.suppress(OSError):  # or it is no file
                (self.path / file).unlink(missing_ok=True)

    def clear(self, keep: str | None = None) -> None:
        """Delete all arrays, finished or not, but ``keep`` and what is being uploaded."""
        for path in self.path.glob("*"):
            if path.name not in (_LOCK, keep) and path not in self._uploads:
                self.delete(path.name)

    def remove(self) -> None:
        """Delete the folder and all in it; harmless when it is gone already."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)  # another process may be removing it at the same time


class Upload:
    """An array on its way into the folder, block by block, so that no step takes long.

    Args:
        folder: where it goes.
        name: as for `ExchangeFolder.write`.
        shape: of the whole array.
        dtype: of the whole array; blocks of other types are converted.

    Raises:
        OutputError: the disk is full, or the folder is gone.
    """

    def __init__(self, folder: ExchangeFolder, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._folder = folder
        self._partial = folder._partial(name)
        self.dtype = np.dtype(dtype)
        with _writing(self._partial):
            self._stream = self._partial.open("wb")
            header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._stream, header)
        folder._uploads.add(self._partial)

    def add(self, block: np.ndarray) -> None:
        """Append the next rows along the first axis; raises like the constructor."""
        self.add_bytes(np.ascontiguousarray(block, dtype=self.dtype).data)

    def add_bytes(self, data: bytes | memoryview) -> None:
        """Append bytes of the array as they lie in memory, C order; raises like the constructor."""
        with _writing(self._partial):
            self._stream.write(data)

    def finish(self) -> str:
        """The bare file name of the complete array; raises like the constructor."""
        with _writing(self._partial):
            self._stream.close()
            file = self._folder._whole(self._partial)
        self._folder._uploads.discard(self._partial)
        return file

    def discard(self) -> None:
        """Give it up; harmless when it is finished or the folder is gone."""
        with contextlib.suppress(OSError):  # what was not written yet may not fit on the disk
            self._stream.close()
        self._folder._uploads.discard(self._partial)
        self._folder.delete(self._partial.name)


@contextlib.contextmanager
def _writing(partial: Path) -> Iterator[None]:
    """Turn what can go wrong into a sentence, and leave no half array behind."""
    try:
        yield
    except OSError as error:
        partial.unlink(missing_ok=True)
        known = explain(error)
        if isinstance(known, OutputError):
            raise known from error
        raise OutputError(
            "temporary-folder",
            "An array could not be written to the temporary folder.",
            "Free some space there and start the run again.",
        ) from error


def remove_stale(base: Path) -> None:
    """Remove exchange folders whose client and worker were both killed."""
    for path in base.glob(f"{PREFIX}*"):
        if path.is_symlink() or not _mine_and_old(path) or _in_use(path / _LOCK):
            continue
        shutil.rmtree(path, ignore_errors=True)


def _is_bare(file: object) -> bool:
    """Whether this is the name of a file, without a way that leads elsewhere."""
    return isinstance(file, str) and file not in ("", ".", "..") and not set(file) & set("/\\:\0")


def _mine_and_old(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False  # its owner removed it just now
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return mine and time.time() - status.st_mtime > _GRACE_SECONDS


def _in_use(lock: Path) -> bool:
    try:
        with lock.open("r+b") as stream:
            return not try_lock(stream)
    except FileNotFoundError:
        return False
    except OSError:
        return True

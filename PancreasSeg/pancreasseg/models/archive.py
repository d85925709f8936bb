"""Packages out of zip files that may come from anywhere."""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pancreasseg.core.errors import ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import output_errors
from pancreasseg.models.card import Card
from pancreasseg.models.package import CARD_FILE, CARD_LIMIT

#: Ending of checkpoints as they are published.
CHECKPOINT = ".pth"

#: What tells an nnU-Net result folder, the last of its first version, and describes it.
_PLANS = {"plans.json", "dataset.json", "plans.pkl"}

#: More than any package has; what unpacks to more is refused before anything is written.
SIZE_LIMIT = 4 << 30
ENTRY_LIMIT = 1000
#: No file shrinks by more than this; a zip that claims so is made to fill disks.
RATIO_LIMIT = 200
#: Weights hardly shrink at all. Below a megabyte nobody is harmed.
WEIGHTS_RATIO_LIMIT, HARMLESS = 4, 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BLOCK_BYTES = 1 << 20
#: What the zip module raises for damaged files, beside what it says it does.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, NotImplementedError, ValueError,
    OverflowError, LookupError, MemoryError,
)  # fmt: skip


def holds_checkpoints(path: Path) -> bool:
    """True for a zip of checkpoints as they were published, without a model package in it.

    Raises:
        ModelError: no whole zip, or entries that no honest archive has.
    """
    with _opened(path) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    return any(name.suffix == CHECKPOINT for name in names) and not any(name.name == CARD_FILE for name in names)


def holds_result(path: Path) -> bool:
    """True for a zip of an nnU-Net result folder, of whatever version.

    Raises:
        ModelError: no whole zip, or entries that no honest archive has.
    """
    with _opened(path) as archive:
        names = {PurePosixPath(name).name for name in archive.namelist()}
    return bool(names & {"plans.json", "plans.pkl"}) and CARD_FILE not in names


def unpack_result(path: Path, folder: Path, progress: Progress) -> None:
    """Unpack what is needed of an nnU-Net result folder, in the folders that it lies in; nothing is opened.

    Args:
        path: a zip for which `holds_result` holds.
        folder: existing, empty.
        progress: cancel takes effect between blocks.

    Raises:
        ModelError: sizes that no honest archive has.
        OutputError: the folder cannot be written.
        Cancelled: the person cancelled.
    """
    with _opened(path) as archive:
        for entry in archive.infolist():
            inside = PurePosixPath(entry.filename)
            if inside.name in _PLANS or (inside.suffix == CHECKPOINT and inside.parent.name.startswith("fold_")):
                target = folder / inside.parent
                with output_errors(target):
                    target.mkdir(parents=True, exist_ok=True)
                _extract(archive, entry, target, entry.file_size, progress)


def unpack_checkpoints(path: Path, folder: Path, progress: Progress) -> list[Path]:
    """Unpack the checkpoints of a zip file, and nothing else; they are not opened.

    Args:
        path: a zip for which `holds_checkpoints` holds.
        folder: existing, empty.
        progress: cancel takes effect between blocks.

    Raises:
        ModelError: two checkpoints of one name.
        OutputError: the folder cannot be written.
        Cancelled: the person cancelled.
    """
    with _opened(path) as archive:
        entries = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).suffix == CHECKPOINT]
        names = [PurePosixPath(entry.filename).name for entry in entries]
        if len(set(names)) < len(names):
            raise ModelError(
                "several-checkpoints",
                f"{path.name} holds several checkpoints of one name.",
                "Unpack it, and choose the files that belong together.",
            )
        for entry in entries:
            _extract(archive, entry, folder, entry.file_size, progress)
    return [folder / name for name in names]


def unpack(path: Path, folder: Path, progress: Progress) -> None:
    """Unpack the card and the weights of the package in a zip file, and nothing else.

    Args:
        path: the zip; the package lies at its top or in one folder of it.
        folder: existing, empty.
        progress: cancel takes effect between blocks.

    Raises:
        ModelError: no zip, no package in it, or entries that no honest package has (paths that lead outside, links,
            encryption, absurd sizes).
        OutputError: the folder cannot be written.
        Cancelled: the person cancelled.
    """
    with _opened(path) as archive:
        cards = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).name == CARD_FILE]
        if len(cards) != 1:
            raise ModelError(
                "no-package",
                f"{path.name} holds {len(cards) or 'no'} {CARD_FILE}; a model package has one.",
                "Choose a zip of one package, with model.json and weights.safetensors in it.",
            )
        _extract(archive, cards[0], folder, CARD_LIMIT, progress)
        weights = Card.from_json((folder / CARD_FILE).read_bytes()).weights
        inside = str(PurePosixPath(cards[0].filename).with_name(weights.file))
        if inside not in archive.namelist():
            raise ModelError("weights-missing", f"{path.name} holds no {inside}, which its card names.")
        _extract(archive, archive.getinfo(inside), folder, weights.size, progress)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip, once it is known to be harmless; what is broken in it becomes a sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist())
            yield archive
    except OSError as error:
        if error.errno != errno.EINVAL:  # how the system calls a place before the beginning of the file
            raise
        raise _no_whole_zip(path) from error
    except _DAMAGED as error:
        raise _no_whole_zip(path) from error


def _no_whole_zip(path: Path) -> ModelError:
    return ModelError("bad-zip", f"{path.name} is not a whole zip file.", "Fetch it again; it may have been cut short.")


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name).parts
        outside = name.startswith(("/", "\\")) or ".." in parts or "\\" in name or ":" in name
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "leads outside of it" if outside else "is a link or a device"
            raise ModelError(
                "unsafe-zip",
                f"{path.name} was refused: its entry {name!r} {what}.",
                "Nothing was unpacked. Ask where the file came from.",
            )
        if entry.flag_bits & 1:
            raise ModelError("bad-zip", f"{path.name} is encrypted.", "Unpack it first, then install the folder.")
        if entry.compress_type not in _METHODS:
            raise ModelError(
                "bad-zip",
                f"{path.name} is compressed in a way that PancreasSeg does not unpack.",
                "Unpack it first, then install the folder.",
            )
    total = sum(entry.file_size for entry in entries)
    bomb = any(entry.file_size > RATIO_LIMIT * max(entry.compress_size, 1 << 10) for entry in entries)
    if total > SIZE_LIMIT or len(entries) > ENTRY_LIMIT or bomb:
        raise ModelError(
            "unsafe-zip",
            f"{path.name} was refused: it would unpack to {len(entries)} files of {total / 1e6:.0f} MB.",
            "No model package is like that. Ask where the file came from.",
        )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, limit: int, progress: Progress) -> None:
    """Unpack one entry block by block, never more than it claims, whatever the compressed data hold."""
    name = PurePosixPath(entry.filename).name
    if entry.file_size > limit:
        raise ModelError("unsafe-zip", f"{name} in the zip is larger than its card says.")
    if entry.file_size > max(WEIGHTS_RATIO_LIMIT * entry.compress_size, HARMLESS):
        raise ModelError(
            "unsafe-zip",
            f"{name} would unpack to {entry.file_size / max(entry.compress_size, 1):.0f} times its size in the zip.",
            "Weights hardly shrink, so this is no model. Ask where the file came from.",
        )
    left = entry.file_size
    with archive.open(entry) as source, output_errors(folder / name), (folder / name).open("wb") as target:
        while block := source.read(min(BLOCK_BYTES, left + 1)):
            left -= len(block)
            if left < 0:
                raise ModelError("unsafe-zip", f"{name} in the zip is larger than the zip says.")
            progress.check()
            target.write(block)

"""Packages out of zip files that may come from anywhere."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pancreasseg.errors import ModelError
from pancreasseg.models.card import Card
from pancreasseg.models.files import plain_write_errors
from pancreasseg.models.package import CARD_FILE, CARD_LIMIT

#: More than any package has; what unpacks to more is refused before anything is written.
SIZE_LIMIT = 4 << 30
ENTRY_LIMIT = 1000
#: No weights file shrinks by more than this; a zip that claims so is made to fill disks.
RATIO_LIMIT = 200


def unpack(path: Path, folder: Path) -> None:
    """Unpack the card and the weights of the package in a zip file, and nothing else.

    Args:
        path: the zip; the package lies at its top or in one folder of it.
        folder: existing, empty.

    Raises:
        ModelError: no zip, no package in it, or entries that no honest package has (paths that lead outside, links,
            encryption, absurd sizes).
        OutputError: the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check(path, entries)
            cards = [entry for entry in entries if PurePosixPath(entry.filename).name == CARD_FILE]
            if len(cards) != 1:
                raise ModelError(
                    "no-package",
                    f"{path.name} holds {len(cards) or 'no'} {CARD_FILE}; a model package has one.",
                    "Choose a zip of one package, with model.json and weights.safetensors in it.",
                )
            _extract(archive, cards[0], folder, CARD_LIMIT)
            weights = Card.from_json((folder / CARD_FILE).read_bytes()).weights
            inside = str(PurePosixPath(cards[0].filename).with_name(weights.file))
            if inside not in archive.namelist():
                raise ModelError("weights-missing", f"{path.name} holds no {inside}, which its card names.")
            _extract(archive, archive.getinfo(inside), folder, weights.size)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ModelError(
            "bad-zip", f"{path.name} is not a whole zip file.", "Fetch it again; it may have been cut short."
        ) from error


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
    total = sum(entry.file_size for entry in entries)
    bomb = any(entry.file_size > RATIO_LIMIT * max(entry.compress_size, 1 << 10) for entry in entries)
    if total > SIZE_LIMIT or len(entries) > ENTRY_LIMIT or bomb:
        raise ModelError(
            "unsafe-zip",
            f"{path.name} was refused: it would unpack to {len(entries)} files of {total / 1e6:.0f} MB.",
            "No model package is like that. Ask where the file came from.",
        )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, limit: int) -> None:
    name = PurePosixPath(entry.filename).name
    if entry.file_size > limit:
        raise ModelError("unsafe-zip", f"{name} in the zip is larger than its card says.")
    with archive.open(entry) as source:
        # Never more than the entry claims, whatever the compressed data hold.
        data = source.read(entry.file_size + 1)
    with plain_write_errors(folder):
        (folder / name).write_bytes(data)

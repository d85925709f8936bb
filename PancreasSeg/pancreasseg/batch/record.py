"""What a result was made from, beside the result: so that another CT under the same name is never taken for it.

A CT is known by what the system says about its files (sizes and times) and, where that differs, by their bytes, so
that a CT copied to another disk is still the same. Settings are all that can change a result. The record also holds a
hash of each file of the result: a result that is not whole, or that somebody has changed, does not stand.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import InputError

RECORD = "batch.json"
_FORMAT = 1
_MASKS = ("pancreas.seg.nrrd", "pancreas.nii.gz")
_BLOCK = 1 << 20
# How headers name the file of their voxels (MetaImage, NRRD).
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Identity:
    """What tells one CT from another.

    Attributes:
        stamp: SHA256 of names, sizes, times and numbers of its files, as the file system has them.
        content: SHA256 of names and bytes of its files.
    """

    stamp: str
    content: str


@dataclass(frozen=True)
class Exports:
    """What became of the exports of a case.

    Attributes:
        files: by format, relative to the case's folder.
        refused: by format, why it was not written.
    """

    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"files": {name: list(paths) for name, paths in self.files.items()}, "refused": dict(self.refused)}


def files_of(ct: Path, besides: Path | None = None) -> list[Path]:
    """The files that make up a CT: itself and the file of its voxels, or all regular files below a folder.

    Args:
        ct: a file or a DICOM folder; links are followed.
        besides: a folder of results, which is no part of the CT though it may lie in its folder.
    """
    if ct.is_dir():
        return sorted(_below(ct, besides), key=os.fsencode)
    files = [ct]
    if ct.suffix.lower() in (".mhd", ".nhdr", ".nrrd", ".mha") and ct.is_file():
        with ct.open("rb") as file:
            found = _DATA_FILE.search(file.read(_BLOCK // 16))
        with suppress(ValueError, OSError):
            data = ct.parent / os.fsdecode(found[1]) if found else ct
            files += [data] if data != ct and data.is_file() else []
    return files


def stamp_of(ct: Path, files: Iterable[Path]) -> str:
    """See `Identity.stamp`."""
    digest = hashlib.sha256()
    for file in files:
        seen = file.stat()
        numbers = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
        digest.update(_relative(ct, file) + b"\0" + repr(numbers).encode() + b"\0")
    return digest.hexdigest()


def content_of(ct: Path, files: Iterable[Path]) -> str:
    """See `Identity.content`."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(_relative(ct, file) + b"\0" + bytes.fromhex(_hash(file)))
    return digest.hexdigest()


def glance(ct: Path, besides: Path | None = None) -> str:
    """The stamp of a CT; empty when its files cannot be looked at, which whoever reads them will say."""
    try:
        return stamp_of(ct, files_of(ct, besides))
    except OSError:
        return ""


def identify(ct: Path, besides: Path | None = None) -> Identity:
    """Read a CT's files through once.

    Raises:
        InputError: one of them cannot be read.
    """
    try:
        files = files_of(ct, besides)
        return Identity(stamp_of(ct, files), content_of(ct, files))
    except OSError as error:
        raise InputError(
            "file-unreadable", f"A file of the CT cannot be read ({error.strerror}).", "Copy the CT again."
        ) from error


def write_record(
    folder: Path,
    identity: Identity,
    settings: Mapping[str, Any],
    names: Iterable[str],
    exports: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Vouch for the result in ``folder``; call it when all files of ``names`` and ``exports`` are there.

    Raises:
        OutputError: it cannot be written.
    """
    from pancreasseg.io.atomic import output_errors

    with output_errors(folder):
        results = {name: _hash(folder / name) for name in names}
    _write(folder, {"format": _FORMAT, "input": asdict(identity), "settings": dict(settings), "results": results})
    if exports:
        write_exports(folder, exports)


def write_exports(folder: Path, exports: Mapping[str, Iterable[str]]) -> None:
    """Add to the record of ``folder`` which files of it are exports, by format.

    Raises:
        OutputError: it cannot be written.
    """
    from pancreasseg.io.atomic import output_errors

    with output_errors(folder):
        hashes = {form: {name: _hash(folder / name) for name in names} for form, names in exports.items()}
    _write(folder, {**(_read(folder) or {}), "exports": hashes})


def exported(folder: Path) -> dict[str, tuple[str, ...]]:
    """By format the exports of the result in ``folder`` whose files are all there."""
    return {
        form: tuple(names)
        for form, names in _exports(folder).items()
        if names and all((folder / name).is_file() for name in names)
    }


def forget(folder: Path) -> list[str]:
    """Withdraw what vouches for the result in ``folder``, before a new one is written over it.

    Masks and exports that somebody has changed since they were written are hand work: they are moved aside. Other
    exports go, as they are of the earlier result.

    Returns:
        Where they lie now, in ``folder``.

    Raises:
        OutputError: they cannot be moved.
    """
    from pancreasseg.io.atomic import output_errors

    kept = []
    results = (_read(folder) or {}).get("results", {})
    masks = {name: results[name] for name in _MASKS if name in results}
    exports = {name: known for names in _exports(folder).values() for name, known in names.items()}
    with output_errors(folder):
        for name, known in {**masks, **exports}.items():
            if not (folder / name).is_file():
                continue
            if _hash(folder / name) != known:
                kept.append(_move_aside(folder, name))
            elif name in exports:
                (folder / name).unlink()
        (folder / RECORD).unlink(missing_ok=True)
    return kept


def stands(folder: Path, ct: Path, settings: Mapping[str, Any], besides: Path | None = None) -> bool:
    """True when the result in ``folder`` is whole and of this CT and these settings."""
    try:
        record = _read(folder)
        if record is None or record["format"] != _FORMAT or record["settings"] != json.loads(json.dumps(settings)):
            return False
        results: dict[str, str] = record["results"]
        if not results or any(_hash(folder / name) != known for name, known in results.items()):
            return False
        files = files_of(ct, besides)
        known = record["input"]
        return stamp_of(ct, files) == known["stamp"] or content_of(ct, files) == known["content"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # not there, not whole or not ours: it is made anew


def _exports(folder: Path) -> dict[str, dict[str, str]]:
    """By format the exported files and their hashes, as far as the record makes sense."""
    known = (_read(folder) or {}).get("exports")
    entries = known.items() if isinstance(known, dict) else ()
    return {form: names for form, names in entries if isinstance(names, dict) and all(map(_is_inside, names))}


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _write(folder: Path, document: Mapping[str, Any]) -> None:
    from pancreasseg.io.atomic import atomic_write

    with atomic_write(folder / RECORD) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _below(folder: Path, besides: Path | None) -> Iterable[Path]:
    left_out = None if besides is None else besides.resolve()
    seen = set()
    for place, below, names in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        if here in seen or here == left_out:
            below.clear()
            continue
        seen.add(here)
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (file for name in names if not name.startswith(".") and (file := Path(place, name)).is_file())


def _relative(ct: Path, file: Path) -> bytes:
    """A file's name within its CT; that of a CT that is one file does not count."""
    return b"" if file == ct else os.fsencode(os.path.relpath(file, ct if ct.is_dir() else ct.parent))


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _move_aside(folder: Path, name: str) -> str:
    number = 1
    while (folder / f"edited-{number}" / name).exists():
        number += 1
    (folder / f"edited-{number}" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).replace(folder / f"edited-{number}" / name)
    return f"edited-{number}/{name}"

"""A case in the export formats, on the way: what is written beside its result, and what could not be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.batch.record import Exports, exported, write_exports
from pancreasseg.core.errors import InputError, explain

if TYPE_CHECKING:
    import numpy as np

    from pancreasseg.core import Volume

FOLDER = "export"


def export_all(
    folder: Path,
    ct: Path,
    formats: Sequence[str],
    series: int | str | None,
    volume: Volume,
    mask: np.ndarray,
    document: Mapping[str, Any],
) -> Exports:
    """Write a mask in each format; one that cannot be written keeps none of the others from it.

    Args:
        folder: of the case's results; the files go into ``export`` in it.
        ct: where the CT lies.
        formats: names of `pancreasseg.export.formats`.
        series: which series of ``ct``.
        volume: the CT.
        mask: (K, J, I) on its grid.
        document: what result.json holds, for the name of what made the mask.
    """
    from pancreasseg.io.atomic import prepare_folder

    if not formats:
        return Exports()
    place = prepare_folder(folder / FOLDER)
    files: dict[str, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    for name in formats:
        try:
            _refuse_without_series(name, ct)
            files[name] = _write(name, place, ct, series, volume, mask, _algorithm(document))
        except Exception as error:  # whatever it is, the other formats are written
            told = explain(error)
            if told.code == "disk-full":
                raise
            refused[name] = str(told)
    return Exports(files, refused)


def export_missing(
    folder: Path, ct: Path, formats: Sequence[str], series: int | str | None, allow: Collection[str]
) -> Exports:
    """Write what a kept result lacks of its exports, from its mask, without segmenting again."""
    there = exported(folder)
    missing = [name for name in formats if name not in there]
    possible = [name for name in missing if _possible(name, ct)]
    made = Exports({}, {name: str(_no_series(name)) for name in missing if name not in possible})
    if possible:
        done = _export_again(folder, ct, possible, series, allow)
        if done.files:
            write_exports(folder, {**there, **done.files})
        made = Exports(done.files, {**made.refused, **done.refused})
    return Exports({**{name: there[name] for name in formats if name in there}, **made.files}, made.refused)


def _export_again(
    folder: Path, ct: Path, formats: Sequence[str], series: int | str | None, allow: Collection[str]
) -> Exports:
    from pancreasseg.io.read import read_mask, read_volume
    from pancreasseg.io.write import MASK, read_result

    try:
        volume = read_volume(ct, series=series, allow=allow)
        mask = read_mask(folder / MASK, volume.geometry)
    except Exception as error:  # the result stands all the same
        return Exports({}, dict.fromkeys(formats, str(explain(error))))
    return export_all(folder, ct, formats, series, volume, mask, read_result(folder) or {})


def _write(
    name: str, place: Path, ct: Path, series: int | str | None, volume: Volume, mask: np.ndarray, algorithm: str
) -> tuple[str, ...]:
    from pancreasseg.export.formats import export, formats
    from pancreasseg.export.segment import ExportSegment

    source = ct if ct.is_dir() else None
    target = place / formats()[name].file
    paths, _ = export(
        name, target, [ExportSegment(mask)], volume.geometry, source, series=series, algorithm_name=algorithm
    )
    return tuple(f"{FOLDER}/{path.name}" for path in paths)


def _algorithm(document: Mapping[str, Any]) -> str:
    made = document.get("provenance", {})
    models = " ".join(f"{m['name']} {m['version']}" for m in made.get("models", ()))
    return f"PancreasSeg {made.get('pipeline', '')} {models}".strip()


def _possible(name: str, ct: Path) -> bool:
    from pancreasseg.export.formats import formats

    return ct.is_dir() or name not in formats() or not formats()[name].needs_series


def _refuse_without_series(name: str, ct: Path) -> None:
    if not _possible(name, ct):
        raise _no_series(name)


def _no_series(name: str) -> InputError:
    return InputError("no-series", f"{name} refers to a DICOM series, and this CT is none.", "Give the DICOM folder.")

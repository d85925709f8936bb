"""Every format by its name: a format is one module of this room, which says so in its ``DECLARATIONS``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pancreasseg import __version__
from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding
from pancreasseg.core.register import declared
from pancreasseg.export.format import Format, Order
from pancreasseg.export.segment import ExportSegment, check_segments
from pancreasseg.io.atomic import all_or_none, output_errors

if TYPE_CHECKING:
    from pancreasseg.export.series import Source


def formats() -> Mapping[str, Format]:
    """All formats by name, in the order of lists; loads no torch and no package that Slicer lacks."""
    return declared("pancreasseg.export", "DECLARATIONS")


def export(
    form: str,
    path: str | Path,
    segments: Sequence[ExportSegment],
    geometry: Geometry,
    source: Source = None,
    *,
    series: int | str | None = None,
    algorithm_name: str = "PancreasSeg",
    algorithm_version: str = __version__,
    smoothing_mm: float = 0.0,
) -> tuple[tuple[Path, ...], tuple[Finding, ...]]:
    """Write segments in one of `formats`.

    DICOM holds all segments in one file. The other formats hold one segment a file: a single segment is written to
    ``path``; several are written beside it with their names added, all of them or none.

    Args:
        form: a key of `formats`.
        path: file to write; the folder must exist, a missing ending is added.
        segments: what to write.
        geometry: grid of the masks.
        source: the CT's DICOM folder or files; needed for DICOM only.
        series: which series of a folder that holds several.
        algorithm_name: pipeline and model, for the formats that record it.
        algorithm_version: of that.
        smoothing_mm: of STL surfaces.

    Returns:
        The files written, and what a person should know about them.

    Raises:
        InputError: unknown format, nothing to export, or what `check_dicom_export` calls serious.
        RunError: a package that the format needs is missing.
        OutputError: a file cannot be written.
    """
    chosen = formats().get(form)
    if chosen is None:
        raise InputError("unknown-format", f"There is no export format {form!r}.", f"Choose {', '.join(formats())}.")
    path = Path(path)
    if not path.name.lower().endswith(chosen.ending):
        path = path.with_name(path.name + chosen.ending)
    order = Order(geometry, source, series, algorithm_name, algorithm_version, smoothing_mm)
    if chosen.write is not None:
        return (path,), chosen.write(path, segments, order)
    assert chosen.encode is not None  # noqa: S101 - a format has one of the two
    check_segments(segments, geometry)
    contents = [chosen.encode(segment, order) for segment in segments]
    paths = _paths(path, chosen.ending, segments)
    with output_errors(path.parent):
        path.parent.stat()
    with all_or_none(path.parent, [one.name for one in paths]) as stage:
        for one, content in zip(paths, contents, strict=True):
            (stage / one.name).write_bytes(content)
    return paths, ()


def _paths(path: Path, ending: str, segments: Sequence[ExportSegment]) -> tuple[Path, ...]:
    if len(segments) == 1:
        return (path,)
    stem = path.name[: -len(ending)]
    words = [re.sub(r"\s*\+\s*", " plus ", segment.name) for segment in segments]
    slugs = [re.sub(r"[^\w.-]+", "-", name).strip("-.") or "segment" for name in words]
    unique = [slug if slugs.index(slug) == n else f"{slug}-{n + 1}" for n, slug in enumerate(slugs)]
    return tuple(path.with_name(f"{stem}-{slug}{ending}") for slug in unique)

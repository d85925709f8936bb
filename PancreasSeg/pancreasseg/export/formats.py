"""Every format by its name, for the command line and for scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pancreasseg import __version__
from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding
from pancreasseg.export.segment import ExportSegment, check_segments
from pancreasseg.export.series import Source
from pancreasseg.io.atomic import all_or_none, output_errors

#: Format and the ending of its files.
FORMATS = {
    "dicom-seg": ".dcm",
    "rtstruct": ".dcm",
    "nifti": ".nii.gz",
    "nrrd": ".seg.nrrd",
    "stl": ".stl",
}
#: Formats that refer to the DICOM series of the CT.
DICOM = ("dicom-seg", "rtstruct")
#: Names for files of the pancreas that can lie in one folder.
FILE_NAMES = {
    "dicom-seg": "pancreas.seg.dcm",
    "rtstruct": "pancreas.rtstruct.dcm",
    "nifti": "pancreas.nii.gz",
    "nrrd": "pancreas.seg.nrrd",
    "stl": "pancreas.stl",
}


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
    """Write segments in one of `FORMATS`.

    DICOM holds all segments in one file. The other formats hold one segment a file: a single segment is written to
    ``path``; several are written beside it with their names added, all of them or none.

    Args:
        form: a key of `FORMATS`.
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
    if form not in FORMATS:
        raise InputError("unknown-format", f"There is no export format {form!r}.", f"Choose {', '.join(FORMATS)}.")
    path = Path(path)
    if not path.name.lower().endswith(FORMATS[form]):
        path = path.with_name(path.name + FORMATS[form])
    if form == "dicom-seg":
        from pancreasseg.export.dicom_seg import write_dicom_seg

        names = {"algorithm_name": algorithm_name, "algorithm_version": algorithm_version}
        return (path,), write_dicom_seg(path, segments, geometry, source, series=series, **names)
    if form == "rtstruct":
        from pancreasseg.export.rtstruct import write_rtstruct

        return (path,), write_rtstruct(path, segments, geometry, source, series=series)
    check_segments(segments, geometry)
    contents = [
        _encoded(form, segment, geometry, f"{algorithm_name} {algorithm_version}", smoothing_mm) for segment in segments
    ]
    paths = _paths(path, FORMATS[form], segments)
    with output_errors(path.parent):
        path.parent.stat()
    with all_or_none(path.parent, [one.name for one in paths]) as stage:
        for one, content in zip(paths, contents, strict=True):
            (stage / one.name).write_bytes(content)
    return paths, ()


def _encoded(form: str, segment: ExportSegment, geometry: Geometry, algorithm: str, smoothing_mm: float) -> bytes:
    mask = (segment.mask != 0).astype("uint8")
    if form == "nifti":
        from pancreasseg.io.nifti import encode_nifti

        return encode_nifti(mask, geometry)
    if form == "nrrd":
        from pancreasseg.io.seg_nrrd import encode_seg_nrrd

        return encode_seg_nrrd(
            mask,
            geometry,
            algorithm=algorithm,
            algorithm_type=segment.algorithm.value,
            name=segment.name,
            colour=segment.colour,
            terminology=segment.terminology,
        )
    from pancreasseg.export.surface import encode_stl, make_surface

    return encode_stl(make_surface(mask, geometry, smoothing_mm=smoothing_mm))


def _paths(path: Path, ending: str, segments: Sequence[ExportSegment]) -> tuple[Path, ...]:
    if len(segments) == 1:
        return (path,)
    stem = path.name[: -len(ending)]
    words = [re.sub(r"\s*\+\s*", " plus ", segment.name) for segment in segments]
    slugs = [re.sub(r"[^\w.-]+", "-", name).strip("-.") or "segment" for name in words]
    unique = [slug if slugs.index(slug) == n else f"{slug}-{n + 1}" for n, slug in enumerate(slugs)]
    return tuple(path.with_name(f"{stem}-{slug}{ending}") for slug in unique)

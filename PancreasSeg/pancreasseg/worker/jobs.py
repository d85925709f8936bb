"""What a task has to read and to export, as a file in a private folder: too much for a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pancreasseg.core import Box, Geometry

if TYPE_CHECKING:
    from pancreasseg.export.segment import ExportSegment

JOB_FILE = "job.json"


def write_series_job(folder: Path, files: Sequence[str]) -> Path:
    """Ask for the facts of a series.

    Args:
        folder: private, for this job alone.
        files: of the series.
    """
    return _write(folder, {"files": list(files)})


def write_export_job(
    folder: Path,
    form: str,
    path: Path,
    segments: Sequence[ExportSegment],
    geometry: Geometry,
    files: Sequence[str],
    algorithm: Mapping[str, str],
) -> Path:
    """Ask for an export; only the part of the grid that holds the masks goes into the folder.

    Args:
        folder: private, for this job alone.
        form: a DICOM format of `pancreasseg.export.formats`.
        path: what to write.
        segments: with masks of shape (K, J, I).
        geometry: grid of the masks.
        files: of the series.
        algorithm: ``algorithm_name`` and ``algorithm_version``, as `export` takes them.
    """
    boxes = [box for box in (Box.of_mask(segment.mask) for segment in segments) if box is not None]
    held = boxes[0] if boxes else Box((0, 0, 0), (1, 1, 1))
    for box in boxes[1:]:
        held = held.union(box)
    described = []
    for number, segment in enumerate(segments):
        np.save(folder / f"{number}.npy", segment.mask[held.slices] != 0, allow_pickle=False)
        codes = {"category": asdict(segment.category), "code": asdict(segment.code)}
        described.append(
            {"name": segment.name, "algorithm": segment.algorithm.value, "colour": segment.colour, **codes}
        )
    job = {
        "form": form,
        "path": str(path),
        "segments": described,
        "geometry": geometry.crop(held).as_dict(),
        "files": list(files),
        "algorithm": dict(algorithm),
    }
    return _write(folder, job)


def do_series_job(file: Path) -> dict[str, Any]:
    """Read the series; the facts of it as `SeriesFacts.as_dict`."""
    from pancreasseg.export.preflight import series_facts

    return series_facts(json.loads(file.read_text(encoding="utf-8"))["files"]).as_dict()


def do_export_job(file: Path) -> dict[str, Any]:
    """Export; the paths that were written, and the findings as dicts."""
    from pancreasseg.export.formats import export

    job = json.loads(file.read_text(encoding="utf-8"))
    segments = [_segment(file.parent / f"{number}.npy", it) for number, it in enumerate(job["segments"])]
    geometry = Geometry.from_dict(job["geometry"])
    paths, findings = export(job["form"], job["path"], segments, geometry, job["files"], **job["algorithm"])
    return {"paths": [str(path) for path in paths], "findings": [finding.as_dict() for finding in findings]}


def _segment(mask: Path, described: Mapping[str, Any]) -> ExportSegment:
    from pancreasseg.core.measurement import Code
    from pancreasseg.export.segment import Algorithm, ExportSegment

    red, green, blue = described["colour"]
    return ExportSegment(
        np.load(mask, allow_pickle=False),
        described["name"],
        Algorithm(described["algorithm"]),
        Code(**described["category"]),
        Code(**described["code"]),
        (red, green, blue),
    )


def _write(folder: Path, job: Mapping[str, Any]) -> Path:
    file = folder / JOB_FILE
    file.write_text(json.dumps(job), encoding="utf-8")
    return file

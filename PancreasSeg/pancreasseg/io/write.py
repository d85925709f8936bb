"""The files of one result: segmentation, numbers, report. They appear together or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.beside import beside
from pancreasseg.core.finding import Finding
from pancreasseg.core.results import Attention, Segmentation
from pancreasseg.io.atomic import all_or_none, atomic_write, prepare_folder, recover
from pancreasseg.io.nifti import encode_nifti
from pancreasseg.io.seg_nrrd import encode_seg_nrrd

if TYPE_CHECKING:
    from pancreasseg.core.measurement import Measurement

SEGMENTATION = "pancreas.seg.nrrd"
MASK = "pancreas.nii.gz"
STATISTICS = "statistics.csv"
RESULT = "result.json"
REPORT = "report.png"
ATTENTION = "attention"
ATTENTION_SHEET = f"{ATTENTION}/maps.png"
RESULT_FORMAT = 1


def write_results(
    folder: str | Path,
    volume: Volume,
    segmentation: Segmentation,
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    *,
    dsc: float | None = None,
    report: Callable[[Path], object] | None = None,
    attention: Attention | None = None,
    sheet: Callable[[Path], object] | None = None,
    extra: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Write everything about one result into ``folder``; either all files appear or none.

    result.json vouches for the others: it is the first that goes from an earlier result and the last that comes. What
    a killed process left is put right by the next run that writes here, and by `read_result`.

    Args:
        folder: made if it is not there.
        volume: what was segmented.
        segmentation: the result.
        measurements: of the mask, and against a reference where there is one.
        findings: all remarks about the volume and the result.
        dsc: against the reference, where there is one.
        report: draws the picture into the path that it is given; without it there is no report.png.
        attention: maps to write beside the result; those of an earlier result in this folder go in any case.
        sheet: draws them into the path that it is given.
        extra: more entries for result.json.

    Returns:
        What result.json holds.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = prepare_folder(folder)
    provenance = segmentation.provenance
    others: dict[str, Callable[[Path], object]] = {}
    if report:
        others[REPORT] = report
    if attention is not None:
        grid = volume.geometry.crop(attention.box)
        for name, array in attention.maps.items():
            others[f"{ATTENTION}/{name}.nii.gz"] = partial(_write_map, array, grid)
    if sheet:
        others[ATTENTION_SHEET] = sheet
    names = [SEGMENTATION, MASK, STATISTICS, *others, RESULT]
    document = result_document(volume, segmentation, measurements, findings, dsc=dsc, extra=extra)
    document["files"] = names
    models = " ".join(f"{m['name']} {m['version']}" for m in provenance.models)
    algorithm = f"PancreasSeg {provenance.version} {provenance.pipeline} {models}".strip()
    outdated = [f"{ATTENTION}/{path.name}" for path in (folder / ATTENTION).glob("level-*.nii.gz")]
    outdated = [name for name in (*outdated, ATTENTION_SHEET) if name not in names and (folder / name).is_file()]
    with all_or_none(folder, names, outdated) as stage:
        # Packing leaves the interpreter alone, so the masks are packed while the picture is drawn.
        segment = beside(lambda: encode_seg_nrrd(segmentation.mask, volume.geometry, algorithm=algorithm))
        mask = beside(lambda: encode_nifti(segmentation.mask, volume.geometry))
        (stage / STATISTICS).write_text(statistics_csv(measurements), encoding="utf-8", newline="")
        (stage / RESULT).write_text(as_json(document), encoding="utf-8")
        for name, write in others.items():
            write(stage / name)
        (stage / SEGMENTATION).write_bytes(segment.result())
        (stage / MASK).write_bytes(mask.result())
    return document


def read_result(folder: Path) -> dict[str, Any] | None:
    """What result.json says of a whole result: every file that it names is there and not empty; else None.

    What a killed process left half done in the folder is put right first.
    """
    try:
        recover(folder)
        document = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size > 0 for name in document["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # none yet, or not ours
    return document if whole else None


def result_document(
    volume: Volume,
    segmentation: Segmentation,
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    *,
    dsc: float | None = None,
    extra: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The content of result.json. ``dsc`` is there only when a reference was given."""
    provenance = segmentation.provenance
    document: dict[str, Any] = {
        "format": RESULT_FORMAT,
        "program": "PancreasSeg",
        "version": provenance.version,
        "input": {**volume.source, "geometry": volume.geometry.as_dict()},
        "box": list(segmentation.box.bounds()),
        "measurements": [m.as_dict() for m in measurements],
        "findings": [f.as_dict() for f in findings],
        "timings": dict(segmentation.timings),
        "provenance": {
            "pipeline": provenance.pipeline,
            "models": [dict(m) for m in provenance.models],
            "device": provenance.device,
            "precision": provenance.precision,
            "box": list(provenance.box),
            "version": provenance.version,
        },
        **(extra or {}),
    }
    if dsc is not None:
        document["dsc"] = dsc
    return json_ready(document)


def write_seg_nrrd(
    path: str | Path, mask: np.ndarray, geometry: Geometry, *, algorithm: str = "PancreasSeg", automatic: bool = True
) -> None:
    """Write a mask as the segment "Pancreas" that Slicer opens, see `seg_nrrd.encode_seg_nrrd`.

    Raises:
        OutputError: the file cannot be written.
    """
    kind = "AUTOMATIC" if automatic else "SEMIAUTOMATIC"
    content = encode_seg_nrrd(mask, geometry, algorithm=algorithm, algorithm_type=kind)
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def write_nifti(path: str | Path, mask: np.ndarray, geometry: Geometry) -> None:
    """Write a mask as .nii.gz or .nii: uint8, the grid in sform and qform (float32, as the format has it).

    Raises:
        OutputError: the file cannot be written.
    """
    content = encode_nifti(mask, geometry, packed=Path(path).suffix.lower() == ".gz")
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def statistics_csv(measurements: Sequence[Measurement]) -> str:
    """One row a measurement; the columns are its fields in their order, codes as code_scheme, code_value, code_meaning.

    A value that does not exist is an empty cell, an infinite one reads "inf".
    """
    rows = [_flat(m.as_dict()) for m in measurements]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def json_ready(value: Any) -> Any:
    """Plain data that is strictly valid JSON.

    JSON has no infinity: an infinite distance (one of two masks is empty) becomes the string "inf", which ``float()``
    reads back in most languages. NumPy numbers and arrays become plain ones.

    Raises:
        ValueError: NaN, which no measurement may be.
        TypeError: anything that is no plain data.
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [json_ready(item) for item in value]
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise ValueError("NaN cannot be written: a measurement without a value has to say so itself")
        return "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} is no plain data")


def as_json(document: Mapping[str, Any]) -> str:
    """Readable, strictly valid JSON text."""
    return json.dumps(json_ready(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write_map(coefficients: np.ndarray, geometry: Geometry, path: Path) -> None:
    """An attention map (K, J, I) as .nii.gz: 0 to 1 in steps of 1/255, a byte a voxel; readers scale it back."""
    stored = np.rint(coefficients * 255).astype(np.uint8)
    path.write_bytes(encode_nifti(stored, geometry, slope=1 / 255, meaning="attention 0-1"))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            cells.update({f"{key}_{inner}": item for inner, item in value.items()})
        else:
            cells[key] = value
    return cells

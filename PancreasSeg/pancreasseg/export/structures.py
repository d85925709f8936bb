"""The structures beside the pancreas that a result knows, as segments and as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pancreasseg.core import Volume
from pancreasseg.core.results import Segmentation
from pancreasseg.core.structures import structure
from pancreasseg.export.segment import ExportSegment
from pancreasseg.io.atomic import all_or_none, prepare_folder
from pancreasseg.io.nifti import encode_nifti
from pancreasseg.io.seg_nrrd import encode_seg_nrrd

FOLDER = "structures"
TABLE = "structures.csv"


def structures_of(segmentation: Segmentation) -> Iterator[ExportSegment]:
    """The structures that a result has voxels of, one by one, without the pancreas, which stands for itself."""
    if segmentation.labels is None:
        return
    pancreas = structure("pancreas").code
    for value, name in enumerate(segmentation.classes):
        if value == 0 or structure(name).code == pancreas:
            continue
        mask = (segmentation.labels == value).astype(np.uint8)
        if mask.any():
            yield ExportSegment.structure(mask, name)


def write_structures(folder: Path, volume: Volume, segmentation: Segmentation) -> list[Path]:
    """Write every structure beside the pancreas as .seg.nrrd and NIfTI, and a table of volumes (ml) and mean HU.

    Args:
        folder: of the result; they go into ``structures`` in it, all or none.
        volume: what was segmented.
        segmentation: the result.

    Returns:
        The files; none where the model knows the pancreas alone.

    Raises:
        OutputError: a file cannot be written.
    """
    segments = list(structures_of(segmentation))
    if not segments:
        return []
    geometry, algorithm = volume.geometry, f"PancreasSeg {segmentation.provenance.pipeline}"
    contents: dict[str, bytes] = {}
    for segment in segments:
        stem = segment.name.lower().replace(" ", "-")
        contents[f"{stem}.nii.gz"] = encode_nifti(segment.mask, geometry)
        contents[f"{stem}.seg.nrrd"] = encode_seg_nrrd(
            segment.mask,
            geometry,
            algorithm=algorithm,
            name=segment.name,
            colour=segment.colour,
            terminology=segment.terminology,
        )
    contents[TABLE] = _table(segments, volume)
    target = prepare_folder(folder / FOLDER)
    with all_or_none(target, list(contents)) as stage:
        for name, content in contents.items():
            (stage / name).write_bytes(content)
    return [target / name for name in contents]


def _table(segments: list[ExportSegment], volume: Volume) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["structure", "SNOMED CT", "volume ml", "mean HU"])
    for segment in segments:
        inside = volume.array[segment.mask != 0]
        millilitres = inside.size * volume.geometry.voxel_ml
        writer.writerow([segment.name, segment.code.value, f"{millilitres:.2f}", f"{float(inside.mean()):.1f}"])
    return text.getvalue().encode("utf-8")

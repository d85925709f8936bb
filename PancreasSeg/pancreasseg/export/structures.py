"""The structures beside the pancreas that a result knows, as segments and as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pancreasseg.core import Box, Volume
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

    The table says which of them the box has cut off: their volume is not that of the organ.

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
    whole = {segment.name: not cut_by_box(segment.mask, segmentation.box) for segment in segments}
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
    contents[TABLE] = _table(segments, whole, volume)
    target = prepare_folder(folder / FOLDER)
    with all_or_none(target, list(contents)) as stage:
        for name, content in contents.items():
            (stage / name).write_bytes(content)
    return [target / name for name in contents]


def cut_by_box(mask: np.ndarray, box: Box) -> bool:
    """Whether a structure ends at the region that was segmented because nobody looked beyond it.

    Args:
        mask: uint8 (K, J, I) on the volume's grid.
        box: the region.
    """
    inner = mask[box.slices]
    touches = any(inner.take(end, axis).any() for axis in range(3) for end in (0, -1))
    return touches and int(np.count_nonzero(inner)) == int(np.count_nonzero(mask))


def _table(segments: list[ExportSegment], whole: Mapping[str, bool], volume: Volume) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["structure", "SNOMED CT", "volume ml", "mean HU", "extent"])
    for segment in segments:
        inside = volume.array[segment.mask != 0]
        millilitres = inside.size * volume.geometry.voxel_ml
        extent = "whole" if whole[segment.name] else "cut off by the box"
        writer.writerow([segment.name, segment.code.value, f"{millilitres:.2f}", f"{float(inside.mean()):.1f}", extent])
    return text.getvalue().encode("utf-8")

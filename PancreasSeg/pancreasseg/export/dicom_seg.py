"""DICOM Segmentation objects, written with highdicom.

DICOM PS3.3 A.51 (Segmentation IOD), C.8.20; codes from PS3.16 CID 7150 and CID 7151.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from pancreasseg import __version__
from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding
from pancreasseg.export.format import Format, Order
from pancreasseg.export.headers import by_series
from pancreasseg.export.packages import needed
from pancreasseg.export.preflight import Prepared, prepare
from pancreasseg.export.segment import Algorithm, ExportSegment, as_dicom_code
from pancreasseg.export.series import Source
from pancreasseg.io.atomic import atomic_write
from pancreasseg.io.dicom_file import lenient

SERIES_NUMBER = 300


def write_dicom_seg(
    path: str | Path,
    segments: Sequence[ExportSegment],
    geometry: Geometry,
    source: Source,
    *,
    series: int | str | None = None,
    algorithm_name: str = "PancreasSeg",
    algorithm_version: str = __version__,
) -> tuple[Finding, ...]:
    """Write segments as one binary DICOM SEG that refers to the CT series it was drawn on.

    Frames lie on the source slices themselves, whatever their orientation; frames without voxels are left out.
    Segments may overlap.

    Args:
        path: file to write; appears whole or not at all.
        segments: masks with names and codes; see `ExportSegment`.
        geometry: grid of the masks: the series' voxels in any order of axes, or a part of them.
        source: folder or files of the CT series.
        series: which series of a folder that holds several, as for `read_volume`.
        algorithm_name: pipeline and model, at most 64 characters; not written for segments drawn by hand.
        algorithm_version: of that.

    Returns:
        What was repaired or should be known, see `check_dicom_export`.

    Raises:
        InputError: what `check_dicom_export` calls serious.
        RunError: highdicom is not installed.
        OutputError: the file cannot be written.
    """
    highdicom = needed("highdicom", "Writing DICOM SEG")
    prepared = prepare(source, segments, geometry, series=series)
    with lenient():
        dataset = _segmentation(highdicom, prepared, segments, algorithm_name, algorithm_version)
        with atomic_write(path) as partial:
            dataset.save_as(partial)
    return prepared.findings


def rehearse_dicom_seg(prepared: Prepared, segments: Sequence[ExportSegment]) -> None:
    """Do all that `write_dicom_seg` does but write the file; raises what it would."""
    highdicom = needed("highdicom", "Writing DICOM SEG")
    with lenient():
        _segmentation(highdicom, prepared, segments, "PancreasSeg", __version__).save_as(BytesIO())


def _segmentation(
    highdicom: ModuleType, prepared: Prepared, segments: Sequence[ExportSegment], name: str, version: str
) -> Any:
    dataset = highdicom.seg.Segmentation(
        source_images=[_as_highdicom_wants(header, prepared.series.headers[0]) for header in prepared.series.headers],
        pixel_array=np.stack(prepared.masks, axis=-1),
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(highdicom, number, segment, name, version) for number, segment in enumerate(segments, start=1)
        ],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        series_description="PancreasSeg segmentation",
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="PancreasSeg",
        manufacturer_model_name="PancreasSeg",
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Pancreas segmentation",
    )
    dataset.update(prepared.series.identity)
    _refer_to_true_classes(dataset, prepared.series.headers)
    _refer_to_true_series(dataset, prepared.series.headers)
    return dataset


def _as_highdicom_wants(header: Dataset, first: Dataset) -> Dataset:
    """A single frame of one series; both are set right in what it makes.

    Of an enhanced class it expects a file with functional groups, also where it holds one frame only.
    """
    single = Dataset()
    replaced = ("SOPClassUID", "SeriesInstanceUID")
    single.update({element.tag: element for element in header if element.keyword not in replaced})
    single.SOPClassUID, single.SeriesInstanceUID = CTImageStorage, first.SeriesInstanceUID
    return single


def _refer_to_true_classes(dataset: Dataset, headers: Sequence[Dataset]) -> None:
    classes = {header.SOPInstanceUID: header.SOPClassUID for header in headers if header.SOPClassUID != CTImageStorage}

    def correct(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value in classes:
            item.ReferencedSOPClassUID = classes[element.value]

    if classes:
        dataset.walk(correct)


def _refer_to_true_series(dataset: Dataset, headers: Sequence[Dataset]) -> None:
    several = by_series(headers)
    if len(several) == 1:
        return
    (one,) = dataset.ReferencedSeriesSequence
    instances = {str(item.ReferencedSOPInstanceUID): item for item in one.ReferencedInstanceSequence}
    items = []
    for uid, slices in several.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [
            instances[header.SOPInstanceUID] for header in slices if header.SOPInstanceUID in instances
        ]
        if item.ReferencedInstanceSequence:
            items.append(item)
    dataset.ReferencedSeriesSequence = items


def _description(highdicom: ModuleType, number: int, segment: ExportSegment, name: str, version: str) -> Any:
    algorithm = None
    if segment.algorithm is not Algorithm.MANUAL:
        family = highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence")
        algorithm = highdicom.AlgorithmIdentificationSequence(name=name[:64], family=family, version=version[:64])
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64],
        segmented_property_category=as_dicom_code(segment.category),
        segmented_property_type=as_dicom_code(segment.code),
        algorithm_type=segment.algorithm.value,
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.colour),
    )


def _write(path: Path, segments: Sequence[ExportSegment], order: Order) -> tuple[Finding, ...]:
    return write_dicom_seg(
        path,
        segments,
        order.geometry,
        order.source,
        series=order.series,
        algorithm_name=order.algorithm_name,
        algorithm_version=order.algorithm_version,
    )


DECLARATIONS = (
    Format(
        name="dicom-seg",
        title="DICOM SEG",
        file="pancreas.seg.dcm",
        ending=".dcm",
        words="DICOM Segmentation; the CT must be the DICOM folder",
        write=_write,
        rehearse=rehearse_dicom_seg,
        needs_series=True,
        states_origin=True,
        place=10,
    ),
)

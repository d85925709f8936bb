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
from pydicom.uid import CTImageStorage, generate_uid

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
    _refer_to_true_images(dataset, prepared.series.headers)
    _refer_to_true_series(dataset, prepared.series.headers)
    return dataset


def _as_highdicom_wants(header: Dataset, first: Dataset) -> Dataset:
    """An image of its own, of one series; all of it is set right in what it makes.

    Of an enhanced class it expects a file with functional groups, also where it holds one frame only.
    """
    single = Dataset()
    replaced = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ReferencedFrameNumber")
    single.update({element.tag: element for element in header if element.keyword not in replaced})
    single.SOPClassUID, single.SeriesInstanceUID = CTImageStorage, first.SeriesInstanceUID
    single.SOPInstanceUID = _own_uid(header)
    return single


def _own_uid(header: Dataset) -> str:
    """An identifier that no other slice has: frames of one file share theirs."""
    uid = str(header.SOPInstanceUID)
    frame = header.get("ReferencedFrameNumber")
    return uid if frame is None else generate_uid(entropy_srcs=[uid, str(frame)])


def _refer_to_true_images(dataset: Dataset, headers: Sequence[Dataset]) -> None:
    frames = [h for h in headers if h.SOPClassUID != CTImageStorage or "ReferencedFrameNumber" in h]
    true = {_own_uid(header): header for header in frames}

    def correct(item: Dataset, element: DataElement) -> None:
        header = true.get(element.value) if element.keyword == "ReferencedSOPInstanceUID" else None
        if header is not None:
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            if "ReferencedFrameNumber" in header:
                item.ReferencedFrameNumber = header.ReferencedFrameNumber

    if true:
        dataset.walk(correct)


def _refer_to_true_series(dataset: Dataset, headers: Sequence[Dataset]) -> None:
    several = by_series(headers)
    (one,) = dataset.ReferencedSeriesSequence
    instances = {str(item.ReferencedSOPInstanceUID): item for item in one.ReferencedInstanceSequence}
    for item in instances.values():
        if "ReferencedFrameNumber" in item:
            del item.ReferencedFrameNumber  # here the file counts as a whole
    one.ReferencedInstanceSequence = list(instances.values())
    if len(several) == 1:
        return
    items = []
    for uid, slices in several.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [
            instances[uid] for uid in dict.fromkeys(h.SOPInstanceUID for h in slices) if uid in instances
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

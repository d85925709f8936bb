"""RT Structure Sets, for treatment planning.

DICOM PS3.3 A.19 (RT Structure Set IOD), C.8.8.5, C.8.8.6, C.8.8.8.

Written here and not with rt-utils, whose contours (1.2.7) run through the centres of the outermost pixels: on a real
CT the pancreas lost 5.5 % of its volume, pieces of one pixel became contours of one point, and non-square pixels
and uneven slices were misplaced. The tests read these files back with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from pancreasseg import __version__
from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding
from pancreasseg.export.contours import slice_contours
from pancreasseg.export.format import Format, Order
from pancreasseg.export.headers import by_series
from pancreasseg.export.preflight import Prepared, prepare
from pancreasseg.export.segment import PANCREAS, ExportSegment
from pancreasseg.export.series import Source, SourceSeries
from pancreasseg.io.atomic import atomic_write
from pancreasseg.io.dicom_file import lenient

SERIES_NUMBER = 301
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"


def write_rtstruct(
    path: str | Path,
    segments: Sequence[ExportSegment],
    geometry: Geometry,
    source: Source,
    *,
    series: int | str | None = None,
    label: str = "Pancreas",
) -> tuple[Finding, ...]:
    """Write segments as the structures of one RTSTRUCT, with contours on the slices of the CT series.

    Every piece on every slice is one closed contour, holes cut out by keyholes; see `slice_contours`. Points are in
    patient coordinates (LPS mm) in each slice's own plane, rounded to 0.1 micrometre. Series that are not axial are
    exact as well, with a warning, because many planning systems take axial ones only.

    Args:
        path: file to write; appears whole or not at all.
        segments: masks with names.
        geometry: grid of the masks: the series' voxels in any order of axes, or a part of them.
        source: folder or files of the CT series.
        series: which series of a folder that holds several, as for `read_volume`.
        label: structure set label, at most 16 characters.

    Returns:
        What was repaired or should be known, see `check_dicom_export`.

    Raises:
        InputError: what `check_dicom_export` calls serious.
        OutputError: the file cannot be written.
    """
    prepared = prepare(source, segments, geometry, series=series)
    with lenient():
        dataset = _structures(prepared, segments, label)
        with atomic_write(path) as partial:
            dataset.save_as(partial, enforce_file_format=True)
    return prepared.findings


def rehearse_rtstruct(prepared: Prepared, segments: Sequence[ExportSegment]) -> None:
    """Do all that `write_rtstruct` does but write the file; raises what it would."""
    with lenient():
        _structures(prepared, segments, "").save_as(BytesIO(), enforce_file_format=True)


def _structures(prepared: Prepared, segments: Sequence[ExportSegment], label: str) -> FileDataset:
    headers = prepared.series.headers
    dataset = _structure_set(prepared.series, label)
    for number, (segment, mask) in enumerate(zip(segments, prepared.masks, strict=True), start=1):
        dataset.StructureSetROISequence.append(_roi(number, segment, headers[0]))
        dataset.ROIContourSequence.append(_contours(number, segment, mask, headers))
        dataset.RTROIObservationsSequence.append(_observation(number, segment))
    return dataset


def _structure_set(source: SourceSeries, label: str) -> FileDataset:
    headers = source.headers
    meta = FileMetaDataset()
    # Explicit VR limits a contour to 64 KiB of text, which fine outlines exceed.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.update(source.identity)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = headers[0].StudyInstanceUID, headers[0].FrameOfReferenceUID
    now = datetime.now().astimezone()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.StructureSetDate = date
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.StructureSetTime = time
    dataset.Modality = "RTSTRUCT"
    dataset.Manufacturer = dataset.ManufacturerModelName = "PancreasSeg"
    dataset.SoftwareVersions = __version__
    dataset.SeriesInstanceUID, dataset.SeriesNumber = generate_uid(), SERIES_NUMBER
    dataset.SeriesDescription = "PancreasSeg structures"
    dataset.OperatorsName = dataset.PositionReferenceIndicator = ""
    dataset.StructureSetLabel, dataset.InstanceNumber = label[:16], 1
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(headers)]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    return dataset


def _frame_of_reference(headers: Sequence[Dataset]) -> Dataset:
    study = Dataset()
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = headers[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [_series(uid, slices) for uid, slices in by_series(headers).items()]
    frame = Dataset()
    frame.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _series(uid: str, headers: Sequence[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = uid
    series.ContourImageSequence = [_image(header) for header in headers]
    return series


def _image(header: Dataset) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if "ReferencedFrameNumber" in header:
        image.ReferencedFrameNumber = header.ReferencedFrameNumber
    return image


def _roi(number: int, segment: ExportSegment, header: Dataset) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = header.FrameOfReferenceUID
    roi.ROIName = segment.name[:64]
    roi.ROIGenerationAlgorithm = segment.algorithm.value
    return roi


def _observation(number: int, segment: ExportSegment) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = "ORGAN" if segment.code == PANCREAS else ""
    observation.ROIInterpreter = ""
    identification = Dataset()
    identification.CodeValue, identification.CodingSchemeDesignator = segment.code.value, segment.code.scheme
    identification.CodeMeaning = segment.code.meaning
    observation.RTROIIdentificationCodeSequence = [identification]
    return observation


def _contours(number: int, segment: ExportSegment, mask: np.ndarray, headers: Sequence[Dataset]) -> Dataset:
    roi = Dataset()
    roi.ReferencedROINumber = number
    roi.ROIDisplayColor = list(segment.colour)
    roi.ContourSequence = []
    for plane, header in zip(mask, headers, strict=True):
        for polygon in slice_contours(plane):
            contour = Dataset()
            contour.ContourImageSequence = [_image(header)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(polygon)
            contour.ContourData = [f"{value:.4f}" for value in _in_patient(polygon, header).ravel()]
            roi.ContourSequence.append(contour)
    return roi


def _in_patient(polygon: np.ndarray, header: Dataset) -> np.ndarray:
    """LPS mm (points, 3) of pixels (row, column) of one slice, PS3.3 C.7.6.2.1.1."""
    orientation = np.asarray(header.ImageOrientationPatient, dtype=float)
    between_rows, between_columns = (float(v) for v in header.PixelSpacing)
    along_row, along_column = orientation[:3] * between_columns, orientation[3:] * between_rows
    corner = np.asarray(header.ImagePositionPatient, dtype=float)
    return np.asarray(corner + polygon[:, 1:] * along_row + polygon[:, :1] * along_column)


def _write(path: Path, segments: Sequence[ExportSegment], order: Order) -> tuple[Finding, ...]:
    return write_rtstruct(path, segments, order.geometry, order.source, series=order.series)


DECLARATIONS = (
    Format(
        name="rtstruct",
        title="RTSTRUCT",
        file="pancreas.rtstruct.dcm",
        ending=".dcm",
        words="contours for radiotherapy planning; the same",
        write=_write,
        rehearse=rehearse_rtstruct,
        needs_series=True,
        states_origin=True,
        place=20,
    ),
)

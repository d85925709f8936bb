"""The pancreas segment as files for other programs, and its margins as further segments."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import slicer

from pancreasseg.errors import InputError, OutputError
from pancreasseg.volume import Volume
from PancreasSegLib import Segments, VolumeNodes
from PancreasSegLib.Coordinates import geometryOfNode
from PancreasSegLib.Parameters import Parameters

FILES = {
    "DICOM SEG": "pancreas.seg.dcm",
    "RTSTRUCT": "pancreas.rtstruct.dcm",
    "NIfTI": "pancreas.nii.gz",
    "NRRD": "pancreas.seg.nrrd",
    "STL": "pancreas.stl",
}


def dicomFiles(volumeNode) -> list[str] | None:
    """The files of the CT's series, from Slicer's DICOM database or from where the volume was read; None without."""
    database = getattr(slicer, "dicomDatabase", None)
    identifiers = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is not None and identifiers:
        files = [database.fileForInstance(identifier) for identifier in identifiers]
        return files if all(files) else None
    storage = volumeNode.GetStorageNode()
    if storage is None:
        return None
    files = [storage.GetNthFileName(n) for n in range(storage.GetNumberOfFileNames())] or [storage.GetFileName()]
    return files if all(_isDicom(file) for file in files) else None


def preflight(parameters: Parameters) -> list:
    """What stands in the way of DICOM export or should be known before it, as findings."""
    from pancreasseg.export.preflight import check_dicom_export

    return check_dicom_export(
        dicomFiles(parameters.volumeNode), [exportSegment(parameters)], geometryOfNode(parameters.volumeNode)
    )


def exportSegment(parameters: Parameters):
    """The segment as the engine's writers take it, with the tags that say how it was made."""
    from pancreasseg.export.segment import Algorithm, ExportSegment

    node, volumeNode = parameters.segmentationNode, parameters.volumeNode
    segment = node.GetSegmentation().GetSegment(parameters.segmentId)
    edited = Segments.isEdited(node, parameters.segmentId, volumeNode)
    algorithm = Algorithm.SEMIAUTOMATIC if edited else Algorithm.AUTOMATIC
    if Segments.draftOf(node) is None:
        algorithm = Algorithm.MANUAL
    return ExportSegment(
        Segments.readMask(node, parameters.segmentId, volumeNode),
        name=segment.GetName(),
        algorithm=algorithm,
        colour=tuple(round(255 * part) for part in segment.GetColor()),
    )


def write(kind: str, parameters: Parameters, folder: str) -> tuple[Path, tuple]:
    """Write the segment into a folder under a name of its own; earlier exports stay.

    Args:
        kind: a key of `FILES`.
        parameters: of the CT.
        folder: must exist.

    Returns:
        The file and what a person should know about it, as findings.

    Raises:
        InputError: nothing to export, or what DICOM needs is missing.
        OutputError: the folder cannot be written.
    """
    path = _freePath(_writable(Path(folder)), FILES[kind])
    segment = exportSegment(parameters)
    if not segment.mask.any():
        raise InputError("segment-empty", f"The segment '{segment.name}' is empty.", "Segment the pancreas first.")
    geometry = geometryOfNode(parameters.volumeNode)
    findings: tuple = ()
    if kind == "DICOM SEG":
        findings = _writeDicomSeg(path, parameters, segment)
    elif kind == "RTSTRUCT":
        from pancreasseg.export.rtstruct import write_rtstruct

        findings = write_rtstruct(path, [segment], geometry, dicomFiles(parameters.volumeNode))
    elif kind == "NIfTI":
        from pancreasseg.io.write import write_nifti

        write_nifti(path, segment.mask, geometry)
    elif kind == "NRRD":
        from pancreasseg.io.write import write_seg_nrrd

        write_seg_nrrd(path, segment.mask, geometry, automatic=segment.algorithm.value == "AUTOMATIC")
    else:
        from pancreasseg.export.surface import make_surface, write_stl

        write_stl(path, make_surface(segment.mask, geometry))
    return path, findings


def addMargin(parameters: Parameters, millimetres: tuple[float, float, float], *, insideBody: bool) -> str:
    """Add a segment that is the pancreas enlarged by a margin; returns its ID.

    Args:
        parameters: of the CT.
        millimetres: towards right and left, front and back, head and feet.
        insideBody: leave out what lies outside the skin.

    Raises:
        InputError: an empty segment, or margins that cannot be.
    """
    from pancreasseg.export.margins import Margins, body_mask, grow
    from pancreasseg.export.segment import MARGIN_COLOUR

    node, volumeNode = parameters.segmentationNode, parameters.volumeNode
    image = VolumeNodes.readVolumeNode(volumeNode)
    mask = Segments.readMask(node, parameters.segmentId, volumeNode)
    if not mask.any():
        raise InputError("segment-empty", "The segment is empty.", "Segment the pancreas first.")
    x, y, z = millimetres
    margins = x if x == y == z else Margins(x, x, y, y, z, z)
    within = body_mask(Volume(image.array, image.geometry)) if insideBody else None
    grown = grow(mask, image.geometry, margins, within=within)
    segmentation = node.GetSegmentation()
    label = f"{x:g} mm" if x == y == z else f"{x:g}/{y:g}/{z:g} mm"
    colour = [part / 255 for part in MARGIN_COLOUR]
    identifier = segmentation.AddEmptySegment("", f"{Segments.SEGMENT_NAME} + {label}", colour)
    Segments.writeMask(np.asarray(grown), node, identifier, volumeNode)
    Segments.setAlgorithm(segmentation.GetSegment(identifier), "SEMIAUTOMATIC")
    return identifier


def _writeDicomSeg(path: Path, parameters: Parameters, segment) -> tuple:
    """By Slicer's own exporter where it is there and knows the CT, which also puts the file into the database."""
    files = dicomFiles(parameters.volumeNode)
    geometry = geometryOfNode(parameters.volumeNode)
    if getattr(slicer, "dicomDatabase", None) is not None and parameters.volumeNode.GetAttribute("DICOM.instanceUIDs"):
        try:
            import DICOMSegmentationPlugin
        except ImportError:
            pass  # Slicer before 5.12 has it in an extension
        else:
            from pancreasseg.export.preflight import check_dicom_export

            findings = check_dicom_export(files, [segment], geometry)
            if not any(finding.severity.value == "serious" for finding in findings):
                _writeBySlicer(DICOMSegmentationPlugin, path, parameters, segment)
                return tuple(findings)
    from pancreasseg.export.dicom_seg import write_dicom_seg

    return write_dicom_seg(path, [segment], geometry, files)


def _writeBySlicer(plugin, path: Path, parameters: Parameters, segment) -> None:
    node = parameters.segmentationNode
    Segments.setAlgorithmType(node.GetSegmentation().GetSegment(parameters.segmentId), segment.algorithm.value)
    exporter = plugin.DICOMSegmentationExporter(node)
    try:
        exporter.export(str(path.parent), path.name, {"SeriesDescription": segment.name}, [parameters.segmentId])
    except Exception as error:  # the exporter raises whatever dcmqi ended with
        path.unlink(missing_ok=True)
        logging.exception("PancreasSeg: Slicer's DICOM SEG export failed")
        raise OutputError(
            "dicom-seg-failed",
            f"Slicer could not write the DICOM SEG object ({type(error).__name__}).",
            "The Python console has the details; NIfTI and NRRD do not depend on DICOM.",
        ) from error
    finally:
        exporter.cleanup()
    slicer.dicomDatabase.insert(str(path))


def _isDicom(file: str | None) -> bool:
    """True for a DICOM file; told by its content, because they often have no extension."""
    path = Path(file or "")
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        stream.seek(128)
        return stream.read(4) == b"DICM"


def _writable(folder: Path) -> Path:
    if not folder.is_dir():
        raise OutputError("no-folder", "The export folder does not exist.", "Choose another one.")
    if not os.access(folder, os.W_OK):
        raise OutputError("read-only", "The export folder cannot be written.", "Choose another one.")
    return folder


def _freePath(folder: Path, name: str) -> Path:
    stem, dot, suffix = name.partition(".")
    number = 1
    path = folder / name
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{dot}{suffix}"
    return path

"""The pancreas segment and its margins as files for other programs."""

from __future__ import annotations

import logging
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import slicer
import vtk

from pancreasseg.core import Volume
from pancreasseg.core.errors import OutputError
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters

# What the panel calls a format, and what the engine does.
KINDS = {"DICOM SEG": "dicom-seg", "RTSTRUCT": "rtstruct", "NIfTI": "nifti", "NRRD": "nrrd", "STL": "stl"}

# The tag of segments that `addMargin` has made; its value tells which state of the pancreas they were made from.
MARGIN_TAG = "PancreasSeg.Margin"


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

    segments = exportSegments(parameters)
    findings = check_dicom_export(dicomFiles(parameters.volumeNode), segments, geometryOfNode(parameters.volumeNode))
    return [*findings, *outdatedMargins(parameters, segments[0].mask)]


def exportSegments(parameters: Parameters) -> list:
    """The pancreas, then its margins, as the engine's writers take them."""
    return [pancreasSegment(parameters), *(marginSegment(parameters, it) for it in marginIds(parameters))]


def pancreasSegment(parameters: Parameters):
    """The pancreas with the tags that say how it was made: by the network, corrected, or drawn by hand."""
    from pancreasseg.export.segment import Algorithm, ExportSegment

    node, volumeNode = parameters.segmentationNode, parameters.volumeNode
    edited = Segments.isEdited(node, parameters.segmentId, volumeNode)
    algorithm = Algorithm.SEMIAUTOMATIC if edited else Algorithm.AUTOMATIC
    if Segments.draftOf(node) is None:
        algorithm = Algorithm.MANUAL
    return ExportSegment(
        Segments.readMask(node, parameters.segmentId, volumeNode), algorithm=algorithm, **_looks(parameters)
    )


def marginIds(parameters: Parameters) -> list[str]:
    """The segments that `addMargin` has made around the pancreas."""
    segmentation = parameters.segmentationNode.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]
    return [it for it in identifiers if segmentation.GetSegment(it).HasTag(MARGIN_TAG)]


def marginSegment(parameters: Parameters, segmentId: str):
    """A margin as the engine's writers take it."""
    from pancreasseg.export.segment import Algorithm, ExportSegment

    node = parameters.segmentationNode
    kind = vtk.mutable("")
    node.GetSegmentation().GetSegment(segmentId).GetTag("DICOM.SegmentAlgorithmType", kind)
    looks = _looks(parameters, segmentId)
    mask = Segments.readMask(node, segmentId, parameters.volumeNode)
    return replace(ExportSegment.margin(mask, looks["name"], Algorithm(kind.get())), colour=looks["colour"])


def outdatedMargins(parameters: Parameters, pancreas: np.ndarray) -> list:
    """A finding for each margin that was made from another state of the pancreas (its mask, uint8)."""
    from pancreasseg.core.finding import Finding, Severity

    segmentation = parameters.segmentationNode.GetSegmentation()
    findings = []
    for identifier in marginIds(parameters):
        segment, madeFrom = segmentation.GetSegment(identifier), vtk.mutable("")
        segment.GetTag(MARGIN_TAG, madeFrom)
        if madeFrom.get() != _fingerprint(pancreas):
            sentence = (
                f"The margin '{segment.GetName()}' was made before the pancreas was last changed; "
                "remove it and add it again."
            )
            findings.append(Finding("margin-outdated", Severity.WARNING, sentence))
    return findings


def algorithmOf(parameters: Parameters) -> dict:
    """Name and version of what made the present result, as the engine's writers take them."""
    provenance = parameters.result.get("provenance", {})
    models = " ".join(f"{model['name']} {model['version']}" for model in provenance.get("models", ()))
    words = (Segments.ALGORITHM_NAME, provenance.get("pipeline", ""), models)
    named = {"algorithm_name": " ".join(word for word in words if word)}
    return {**named, "algorithm_version": provenance["version"]} if provenance else named


def write(kind: str, parameters: Parameters, folder: str) -> tuple[tuple[Path, ...], tuple]:
    """Write the pancreas and its margins into a folder under names of their own; earlier exports stay.

    Args:
        kind: a key of `KINDS`.
        parameters: of the CT.
        folder: must exist.

    Returns:
        The files, and what a person should know about them, as findings.

    Raises:
        InputError: nothing to export, or what DICOM needs is missing.
        OutputError: the folder cannot be written.
    """
    from pancreasseg.export.formats import FILE_NAMES, export

    path = _freePath(_writable(Path(folder)), FILE_NAMES[KINDS[kind]])
    segments = exportSegments(parameters)
    geometry = geometryOfNode(parameters.volumeNode)
    files = dicomFiles(parameters.volumeNode)
    if kind == "DICOM SEG" and _slicersPlugin(parameters) is not None:
        paths, findings = (path,), _writeBySlicer(path, parameters, segments, files)
    else:
        paths, findings = export(KINDS[kind], path, segments, geometry, files, **algorithmOf(parameters))
    return paths, (*findings, *outdatedMargins(parameters, segments[0].mask))


def addMargin(parameters: Parameters, millimetres: tuple[float, float, float], *, insideBody: bool) -> str:
    """Add a segment that is the pancreas enlarged by a margin; returns its ID.

    Args:
        parameters: of the CT.
        millimetres: towards right and left, front and back, head and feet.
        insideBody: leave out what lies outside the skin.

    Raises:
        InputError: an empty segment, or margins that cannot be.
    """
    from pancreasseg.export.margins import body_mask, margin_segment

    node, volumeNode = parameters.segmentationNode, parameters.volumeNode
    image = VolumeNodes.readVolumeNode(volumeNode)
    pancreas = pancreasSegment(parameters)
    within = body_mask(Volume(image.array, image.geometry)) if insideBody else None
    margin = margin_segment(pancreas, image.geometry, millimetres, within=within)
    segmentation = node.GetSegmentation()
    identifier = segmentation.AddEmptySegment("", margin.name, [part / 255 for part in margin.colour])
    segment = segmentation.GetSegment(identifier)
    segment.SetTerminology(margin.terminology)
    segment.SetTag(MARGIN_TAG, _fingerprint(pancreas.mask))
    Segments.setAlgorithm(segment, margin.algorithm.value, algorithmOf(parameters)["algorithm_name"])
    Segments.writeMask(margin.mask, node, identifier, volumeNode)
    return identifier


def _looks(parameters: Parameters, segmentId: str = "") -> dict:
    """Name and colour of a segment, of the pancreas by default."""
    segment = parameters.segmentationNode.GetSegmentation().GetSegment(segmentId or parameters.segmentId)
    return {"name": segment.GetName(), "colour": tuple(round(255 * part) for part in segment.GetColor())}


def _fingerprint(mask: np.ndarray) -> str:
    """Tells two masks apart."""
    return f"{zlib.crc32(np.packbits(mask != 0)):08x}"


def _slicersPlugin(parameters: Parameters):
    """Slicer's own exporter where it is there and knows the CT; it also puts the file into the database."""
    if getattr(slicer, "dicomDatabase", None) is None or not parameters.volumeNode.GetAttribute("DICOM.instanceUIDs"):
        return None
    try:
        import DICOMSegmentationPlugin
    except ImportError:
        return None  # Slicer before 5.12 has it in an extension
    return DICOMSegmentationPlugin


def _writeBySlicer(path: Path, parameters: Parameters, segments: list, files) -> tuple:
    from pancreasseg.export.preflight import prepare
    from pancreasseg.export.segment import Algorithm

    # Refuses in plain words what the exporter would end in a traceback for.
    findings = prepare(files, segments, geometryOfNode(parameters.volumeNode)).findings
    node = parameters.segmentationNode
    segment = node.GetSegmentation().GetSegment(parameters.segmentId)
    if segments[0].algorithm is Algorithm.MANUAL:
        Segments.setAlgorithmType(segment, Algorithm.MANUAL.value)
    else:
        Segments.setAlgorithm(segment, segments[0].algorithm.value, algorithmOf(parameters)["algorithm_name"])
    exporter = _slicersPlugin(parameters).DICOMSegmentationExporter(node)
    identifiers = [parameters.segmentId, *marginIds(parameters)]
    try:
        exporter.export(str(path.parent), path.name, {"SeriesDescription": segments[0].name}, identifiers)
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
    return findings


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
    """The path, with a number where files of an earlier export begin with that name; several segments add theirs."""
    stem, dot, suffix = name.partition(".")
    free, number = stem, 1
    while any(folder.glob(f"{free}*{dot}{suffix}")):
        number += 1
        free = f"{stem}-{number}"
    return folder / f"{free}{dot}{suffix}"

"""The pancreas segment and its margins as files for other programs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import vtk

from pancreasseg.core import Volume
from pancreasseg.core.errors import OutputError
from pancreasseg.export.formats import export, formats
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Fingerprints import fingerprint
from PancreasSegLib.Work.Structures import structureSegments

if TYPE_CHECKING:
    from pancreasseg.export.segment import ExportSegment

# The tag of segments that `addMargin` has made; its value tells which state of the pancreas they were made from.
MARGIN_TAG = "PancreasSeg.Margin"


def marginRemarks(parameters: Parameters) -> list:
    """`outdatedMargins` of the segment as it is now; looks at voxels only where there are margins."""
    return outdatedMargins(parameters, pancreasSegment(parameters).mask) if marginIds(parameters) else []


def exportSegments(parameters: Parameters) -> list:
    """The pancreas, its margins, then the other structures where they are wanted, as the engine's writers take them."""
    margins = [marginSegment(parameters, it) for it in marginIds(parameters)]
    return [pancreasSegment(parameters), *margins, *structureSegments(parameters)]


def pancreasSegment(parameters: Parameters) -> ExportSegment:
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


def marginSegment(parameters: Parameters, segmentId: str) -> ExportSegment:
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
        if madeFrom.get() != fingerprint(pancreas):
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


@dataclass(frozen=True)
class Written:
    """What an export came to.

    Attributes:
        paths: the files.
        findings: what a person should know about them.
    """

    paths: tuple[Path, ...]
    findings: tuple = ()


def write(form: str, parameters: Parameters, folder: str, stem: str = "pancreas") -> Written:
    """Write the pancreas and its margins in a format that needs no DICOM series into a folder; earlier exports stay.

    Args:
        form: a key of `pancreasseg.export.formats.formats`.
        parameters: of the CT.
        folder: must exist.
        stem: what the files are called.

    Raises:
        InputError: nothing to export.
        OutputError: the folder cannot be written.
    """
    segments = exportSegments(parameters)
    geometry = geometryOfNode(parameters.volumeNode)
    path = freePath(folder, form, stem)
    paths, findings = export(form, path, segments, geometry, **algorithmOf(parameters))
    return Written(paths, (*findings, *outdatedMargins(parameters, segments[0].mask)))


def freePath(folder: str, form: str, stem: str = "pancreas") -> Path:
    """Where to write: with a number where files of an earlier export begin with that name; several segments add theirs.

    Raises:
        OutputError: the folder cannot be written.
    """
    where = _writable(Path(folder))
    suffix = formats()[form].file.partition(".")[2]
    free, number = stem, 1
    while any(path.name.startswith(free) and path.name.endswith(f".{suffix}") for path in where.iterdir()):
        number += 1
        free = f"{stem}-{number}"
    return where / f"{free}.{suffix}"


def addMargin(parameters: Parameters, millimetres: tuple[float, float, float], *, insideBody: bool) -> str:
    """Add a segment that is the pancreas enlarged by a margin; returns its ID.

    Args:
        parameters: of the CT.
        millimetres: towards right and left, front and back, head and feet.
        insideBody: leave out what lies outside the skin.

    Raises:
        InputError: an empty segment, or margins that cannot be.
    """
    from pancreasseg.export.margins import body_of, margin_segment

    node, volumeNode = parameters.segmentationNode, parameters.volumeNode
    image = VolumeNodes.readVolumeNode(volumeNode)
    pancreas = pancreasSegment(parameters)
    within = body_of(Volume(image.array, image.geometry)) if insideBody else None
    margin = margin_segment(pancreas, image.geometry, millimetres, within=within)
    segmentation = node.GetSegmentation()
    identifier = segmentation.AddEmptySegment("", margin.name, [part / 255 for part in margin.colour])
    segment = segmentation.GetSegment(identifier)
    segment.SetTerminology(margin.terminology)
    segment.SetTag(MARGIN_TAG, fingerprint(pancreas.mask))
    Segments.setAlgorithm(segment, margin.algorithm.value, algorithmOf(parameters)["algorithm_name"])
    Segments.writeMask(margin.mask, node, identifier, volumeNode)
    return identifier


def _looks(parameters: Parameters, segmentId: str = "") -> dict:
    """Name and colour of a segment, of the pancreas by default."""
    segment = parameters.segmentationNode.GetSegmentation().GetSegment(segmentId or parameters.segmentId)
    return {"name": segment.GetName(), "colour": tuple(round(255 * part) for part in segment.GetColor())}


def _writable(folder: Path) -> Path:
    if not folder.is_dir():
        raise OutputError("no-folder", "The export folder does not exist.", "Choose another one.")
    if not os.access(folder, os.W_OK):
        raise OutputError("read-only", "The export folder cannot be written.", "Choose another one.")
    return folder

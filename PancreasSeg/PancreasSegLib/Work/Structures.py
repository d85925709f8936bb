"""What else a model knows, as segments of their own: organs, vessels, a tumour. They live apart from the pancreas.

In a segmentation of their own no editing mode of the pancreas can touch them. Whoever corrects one keeps it: the next
run then writes a new segmentation and leaves the old one as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import slicer

from pancreasseg.core.results import Segmentation
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Fingerprints import fingerprint

WRITTEN_TAG = "PancreasSeg.Written"
CLASS_TAG = "PancreasSeg.Structure"


def writeStructures(parameters: Parameters, segmentation: Segmentation) -> Iterator[tuple[str, float, bool]]:
    """Write the structures of a result beside its CT, one with every step, so that Slicer lives on in between.

    Args:
        parameters: of the CT; they lead to the segmentation afterwards.
        segmentation: the engine's result.

    Yields:
        Name and volume in ml of each, and whether it is whole or cut off by the box; nothing where the model knows the
        pancreas alone.
    """
    from pancreasseg.export.structures import cut_by_box, structures_of

    volumeNode = parameters.volumeNode
    algorithm = f"{Segments.ALGORITHM_NAME} {segmentation.provenance.pipeline}"
    voxelMl = geometryOfNode(volumeNode).voxel_ml
    node = None
    for structure in structures_of(segmentation):
        if node is None:
            title = f"{volumeNode.GetName()} other structures"
            node = _emptied(parameters) or Segments.addSegmentationNode(volumeNode, title)
            parameters.structuresNode = node
        identifier = node.GetSegmentation().GenerateUniqueSegmentID(structure.name)
        color = tuple(part / 255 for part in structure.colour)
        node.GetSegmentation().AddEmptySegment(identifier, structure.name, color)
        segment = node.GetSegmentation().GetSegment(identifier)
        segment.SetTerminology(structure.terminology)
        Segments.setAlgorithm(segment, "AUTOMATIC", algorithm)
        Segments.writeMask(structure.mask, node, identifier, volumeNode)
        segment.SetTag(WRITTEN_TAG, fingerprint(structure.mask))
        segment.SetTag(CLASS_TAG, structure.name)
        yield structure.name, float(structure.mask.sum()) * voxelMl, not cut_by_box(structure.mask, segmentation.box)


def structureSegments(parameters: Parameters) -> list:
    """The structures as they are now, as the engine's writers take them; those without voxels are left out."""
    from pancreasseg.export.segment import Algorithm, ExportSegment

    node, volumeNode = parameters.structuresNode, parameters.volumeNode
    if node is None or not parameters.structuresWanted:
        return []
    segments = []
    for identifier in _identifiers(node):
        segment = node.GetSegmentation().GetSegment(identifier)
        mask = Segments.readMask(node, identifier, volumeNode)
        if mask.any():
            edited = Segments.tagOf(segment, WRITTEN_TAG) != fingerprint(mask)
            algorithm = Algorithm.SEMIAUTOMATIC if edited else Algorithm.AUTOMATIC
            name = Segments.tagOf(segment, CLASS_TAG) or segment.GetName()
            segments.append(ExportSegment.structure(mask, name, algorithm, segment.GetName()))
    return segments


def _emptied(parameters: Parameters) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation of the last run without its segments; None when there is none, or a person has edited it."""
    node, volumeNode = parameters.structuresNode, parameters.volumeNode
    if node is None or node.GetTransformNodeID() != volumeNode.GetTransformNodeID():
        return None
    for identifier in _identifiers(node):
        segment = node.GetSegmentation().GetSegment(identifier)
        if Segments.tagOf(segment, WRITTEN_TAG) != fingerprint(Segments.readMask(node, identifier, volumeNode)):
            return None
    node.GetSegmentation().RemoveAllSegments()
    return node


def _identifiers(node: slicer.vtkMRMLNode) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]

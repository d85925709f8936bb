"""What belongs to which content of the segment: Undo brings back the voxels of an earlier run, and this the rest.

Every result is kept with the name of its voxels (`Contents.keyOf`), and so is what a person had made of it when the
next run began. `follow` looks up what belongs to the voxels that are in the segment now: findings, box, and AI draft.
"""

from __future__ import annotations

from PancreasSegLib.Scene import Contents, RoiNodes, Segments
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Parameters import Parameters

# Undo of the Segment Editor goes back ten states.
LIMIT = 10

# What belongs to a result, as it lies in the CT's parameter node.
FIELDS = ("_result", "segmentedBox", "automaticBox")


def keep(parameters: Parameters) -> None:
    """Keep a result that was just written with the voxels that it has brought."""
    content = _contentOf(parameters)
    key = _keyOf(parameters, content)
    parameters.present = key
    if key:
        packed = Contents.pack(content, geometryOfNode(parameters.volumeNode))
        _put(parameters, {"key": key, "segment": parameters.segmentId, "voxels": packed, **_fields(parameters)})


def leave(parameters: Parameters) -> None:
    """Before another result is written: remember of which result the present voxels are the correction."""
    if not parameters.hasSegment():
        return
    key = follow(parameters)
    present = _entry(parameters, parameters.present)
    if present is not None:
        _put(parameters, {**present, **_fields(parameters)})
        if key and key != parameters.present:
            _put(parameters, {"key": key, "segment": parameters.segmentId, "of": parameters.present})


def follow(parameters: Parameters) -> str:
    """Bring findings, box, ROI and draft in line with what the segment holds now, after Undo or Redo of a run.

    The segment itself is not touched: that would forget what can be redone.

    Returns:
        The name of the voxels; empty where there are none.
    """
    if not parameters.hasSegment():
        return ""
    key = _keyOf(parameters, _contentOf(parameters))
    entry = _entry(parameters, key)
    if entry is not None and "of" in entry:
        entry = _entry(parameters, entry["of"])
    if entry is not None and entry["key"] != parameters.present:
        _restore(parameters, entry)
    elif not key and parameters.present:
        _empty(parameters)
    _mendDraft(parameters)
    return key


def isEdited(parameters: Parameters) -> bool:
    """True when the segment holds voxels that no run has written; whoever wants to lose them must say so."""
    node, segmentId, volumeNode = parameters.segmentationNode, parameters.segmentId, parameters.volumeNode
    return bool(follow(parameters)) and Segments.isEdited(node, segmentId, volumeNode)


def tag(parameters: Parameters) -> None:
    """Say on the segment itself, for DICOM and Slicer, whether a person has had a hand in it.

    Only after an edit: any change of a segment makes Slicer forget what could be redone after an Undo.
    """
    if parameters.hasSegment() and Segments.draftOf(parameters.segmentationNode) is not None:
        node, segmentId = parameters.segmentationNode, parameters.segmentId
        edited = Segments.isEdited(node, segmentId, parameters.volumeNode)
        segment = node.GetSegmentation().GetSegment(segmentId)
        Segments.setAlgorithmType(segment, "SEMIAUTOMATIC" if edited else "AUTOMATIC")


def _restore(parameters: Parameters, entry: dict) -> None:
    """Make an earlier result the present one."""
    left, wasAutomatic = parameters.segmentedBox, _roiIsAutomatic(parameters)
    present = _entry(parameters, parameters.present)
    if present is not None:
        _put(parameters, {**present, **_fields(parameters)})
    for name in FIELDS:
        parameters.node.SetParameter(name, entry[name])
    parameters.present = entry["key"]
    if wasAutomatic and left is not None and parameters.automaticBox == parameters.segmentedBox is not None:
        RoiNodes.setBox(parameters.roiNode, parameters.segmentedBox, parameters.volumeNode)
    _draw(parameters, entry)


def _empty(parameters: Parameters) -> None:
    """Nothing is in the segment, and nothing can be said about it; its draft stays to go back to."""
    present = _entry(parameters, parameters.present)
    if present is not None:
        _put(parameters, {**present, **_fields(parameters)})
    parameters.present = ""
    parameters.node.SetParameter("_result", "")
    parameters.segmentedBox = None


def _mendDraft(parameters: Parameters) -> None:
    """Draw the draft anew where a scene came back without its voxels."""
    entry = _entry(parameters, parameters.present)
    draftNode = Segments.draftOf(parameters.segmentationNode)
    held = draftNode is not None and draftNode.GetSegmentation().GetSegment(parameters.segmentId) is not None
    if entry is not None and not held:
        _draw(parameters, entry)


def _draw(parameters: Parameters, entry: dict) -> None:
    geometry = geometryOfNode(parameters.volumeNode)
    content = Contents.unpack(entry["voxels"], geometry)
    Segments.drawDraft(parameters.segmentationNode, parameters.segmentId, content, parameters.volumeNode)


def _roiIsAutomatic(parameters: Parameters) -> bool:
    """True while the ROI is where the present result's run has put it by itself."""
    box = parameters.automaticBox
    there = parameters.roiNode is not None and not parameters.isStale()
    return there and box is not None and box == parameters.segmentedBox


def _contentOf(parameters: Parameters) -> Segments.Content:
    return Segments.contentOf(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)


def _keyOf(parameters: Parameters, content: Segments.Content) -> str:
    return Contents.keyOf(content, geometryOfNode(parameters.volumeNode))


def _fields(parameters: Parameters) -> dict[str, str]:
    return {name: parameters.node.GetParameter(name) or "" for name in FIELDS}


def _entry(parameters: Parameters, key: str) -> dict | None:
    own = (it for it in parameters.kept if it["segment"] == parameters.segmentId and it["key"] == key)
    return next(own, None) if key else None


def _put(parameters: Parameters, entry: dict) -> None:
    """Add an entry, or replace the one of the same voxels; the oldest are forgotten."""
    others = [it for it in parameters.kept if (it["segment"], it["key"]) != (entry["segment"], entry["key"])]
    parameters.kept = [*others, entry][-2 * LIMIT :]

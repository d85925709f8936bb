"""The numbers of the segment as it is now: of itself, and against the AI draft or a reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.measurement import Measurement
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Coordinates import geometryOfNode
from PancreasSegLib.Scene.Nodes import addHiddenNode, nodesOf
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Scene.Placement import placeBeside

# Shown as bars: they all run from 0 to 1.
CHARTED = ("dsc", "iou", "precision", "recall", "nsd_1mm", "nsd_2mm")

# Around the masks, so that surfaces and diameters are measured as in the whole CT.
RIM_VOXELS = 2


@dataclass(frozen=True)
class Statistics:
    """Measurements of the segment.

    Attributes:
        own: volume, HU, shape.
        against: overlap and distances, empty where there is nothing to compare with.
        reference: what it was compared with, in words.
        edited: the segment was changed by hand since the AI wrote it.
    """

    own: tuple[Measurement, ...]
    against: tuple[Measurement, ...]
    reference: str
    edited: bool

    @property
    def all(self) -> tuple[Measurement, ...]:
        """Everything in the order of the table."""
        return (*self.own, *self.against)


@dataclass(frozen=True)
class Question:
    """What is to be measured: the segment as it was in the scene at one moment.

    Attributes:
        mask: the segment, uint8 (K, J, I), on the part of the CT that holds it and what it is compared with.
        hu: the CT there.
        geometry: the grid of both.
        reference: what to compare with there, or None.
        words: what that is called.
        edited: the segment was changed by hand since the AI wrote it.
    """

    mask: np.ndarray
    hu: np.ndarray
    geometry: Geometry
    reference: np.ndarray | None
    words: str
    edited: bool

    def answered(self, own: Iterable[Measurement], against: Iterable[Measurement]) -> Statistics:
        """The statistics that the measurements make."""
        return Statistics(tuple(own), tuple(against), self.words, self.edited)


def statisticsOf(parameters: Parameters) -> Statistics:
    """Measure the CT's pancreas segment as it is in the scene, here and now.

    Raises:
        InputError: the CT, the segment or the reference cannot be read.
    """
    from pancreasseg.measure.measurements import compare, measure

    question = questionOf(parameters)
    own = measure(question.mask, Volume(question.hu, question.geometry))
    if question.reference is None:
        return question.answered(own, ())
    return question.answered(own, compare(question.mask, question.reference, question.geometry))


def overlapOf(parameters: Parameters) -> tuple[Measurement, ...]:
    """Only the overlap with the AI draft or the reference, which is quick; empty where there is none.

    Raises:
        InputError: as for `statisticsOf`.
    """
    from pancreasseg.measure.compare import compare

    question = questionOf(parameters)
    if question.reference is None:
        return ()
    return tuple(compare(question.mask, question.reference, question.geometry, distances=False))


def measureSegment(parameters: Parameters) -> tuple[Measurement, ...]:
    """The measurements of the CT's pancreas segment by itself, here and now.

    Raises:
        InputError: the CT or the segment cannot be read.
    """
    from pancreasseg.measure.measurements import measure

    node, segmentId, volumeNode = parameters.segmentationNode, parameters.segmentId, parameters.volumeNode
    geometry = VolumeNodes.checkedGeometry(volumeNode)
    region = _union([Segments.regionOf(node, segmentId, volumeNode)], geometry)
    mask = Segments.readMask(node, segmentId, volumeNode, region)
    return tuple(measure(mask, Volume(VolumeNodes.readVoxels(volumeNode, region), geometry.crop(region))))


def questionOf(parameters: Parameters) -> Question:
    """What has to be known to measure the CT's pancreas segment, read from the scene.

    Raises:
        InputError: the CT, the segment or the reference cannot be read.
    """
    node, segmentId, volumeNode = parameters.segmentationNode, parameters.segmentId, parameters.volumeNode
    whole = VolumeNodes.checkedGeometry(volumeNode)
    draftNode = _draftNode(parameters)
    other, words = (None, "AI draft") if parameters.referenceNode is None else referenceMask(parameters)
    # Only the part of the CT around the masks is looked at, which is what keeps large CTs quick.
    boxes = [Segments.regionOf(node, segmentId, volumeNode), None if other is None else Box.of_mask(other)]
    if draftNode is not None:
        boxes.append(Segments.regionOf(draftNode, segmentId, volumeNode))
    region = _union(boxes, whole)
    mask = Segments.readMask(node, segmentId, volumeNode, region)
    draft = None if draftNode is None else Segments.readMask(draftNode, segmentId, volumeNode, region)
    reference = draft if other is None else other[region.slices]
    edited = Segments.isEdited(node, segmentId, volumeNode) if draft is None else not np.array_equal(mask, draft)
    hu = VolumeNodes.readVoxels(volumeNode, region)
    return Question(mask, hu, whole.crop(region), reference, words if reference is not None else "", edited)


def draftMask(parameters: Parameters) -> np.ndarray | None:
    """The AI draft on the CT's grid, (K, J, I); None when there is none."""
    draftNode = _draftNode(parameters)
    return None if draftNode is None else Segments.readMask(draftNode, parameters.segmentId, parameters.volumeNode)


def _draftNode(parameters: Parameters) -> slicer.vtkMRMLSegmentationNode | None:
    """The hidden node with the AI draft of the segment; None when there is none."""
    draftNode = Segments.draftOf(parameters.segmentationNode)
    held = draftNode is not None and draftNode.GetSegmentation().GetSegment(parameters.segmentId) is not None
    return draftNode if held else None


def referenceChoices(referenceNode: slicer.vtkMRMLNode | None) -> list[tuple[str, str]]:
    """What can be chosen in a reference: (identifier, name) of every segment, or of every label of a labelmap."""
    if referenceNode is None:
        return []
    if referenceNode.IsA("vtkMRMLSegmentationNode"):
        segmentation = referenceNode.GetSegmentation()
        identifiers = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
        return [(identifier, segmentation.GetSegment(identifier).GetName()) for identifier in identifiers]
    if referenceNode.GetImageData() is None:
        return []
    display = referenceNode.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    labels = [int(n) for n in np.unique(slicer.util.arrayFromVolume(referenceNode)) if n != 0]
    return [(str(n), f"{n} {(colors.GetColorName(n) or '') if colors else ''}".strip()) for n in labels]


def referenceMask(parameters: Parameters) -> tuple[np.ndarray, str]:
    """The chosen reference on the CT's grid, (K, J, I), and what it is called.

    A reference on another grid is brought onto the CT's by nearest neighbour.

    Raises:
        InputError: nothing in it is chosen, or it cannot be read.
    """
    node, volumeNode = parameters.referenceNode, parameters.volumeNode
    names = dict(referenceChoices(node))
    chosen = parameters.referenceSegmentId
    if chosen not in names:
        raise InputError(
            "no-reference", f"Nothing in '{node.GetName()}' is chosen to compare with.", "Select a segment of it."
        )
    words = f"{node.GetName()}: {names[chosen]}"
    if node.IsA("vtkMRMLSegmentationNode"):
        return Segments.readMask(node, chosen, volumeNode), words
    return _labelOnGrid(node, int(chosen), volumeNode), words


def showChart(parameters: Parameters, statistics: Statistics) -> slicer.vtkMRMLPlotChartNode:
    """A bar chart of the overlap measures beside the views; returns the chart node.

    Raises:
        InputError: there is nothing that the segment was compared with.
    """
    if not statistics.against:
        raise InputError("nothing-to-chart", "There is nothing to compare with yet.", "Segment the pancreas first.")
    scene = parameters.volumeNode.GetScene()
    bars = [m for m in statistics.against if m.name in CHARTED]
    table = _node(scene, "vtkMRMLTableNode", f"{parameters.volumeNode.GetName()} overlap")
    table.RemoveAllColumns()
    for name, kind, values in (
        ("Measure", vtk.vtkStringArray, [m.title for m in bars]),
        ("Value", vtk.vtkDoubleArray, [m.value for m in bars]),
    ):
        column = kind()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    series = _node(scene, "vtkMRMLPlotSeriesNode", table.GetName())
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeBar)
    series.SetLabelColumnName("Measure")
    series.SetYColumnName("Value")
    series.SetColor(*Segments.COLOR)
    chart = _node(scene, "vtkMRMLPlotChartNode", table.GetName())
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(f"Against {statistics.reference}")
    # Slicer numbers the bars of a chart; what the numbers stand for is said below them.
    chart.SetXAxisTitle(" · ".join(f"{number} {m.title}" for number, m in enumerate(bars)))
    chart.SetLegendVisibility(False)
    for node in (table, chart):
        placeBeside(node, parameters.volumeNode)
    logic = slicer.modules.plots.logic()
    if slicer.app.layoutManager() is not None:
        logic.ShowChartInLayout(chart)
    return chart


def _node(scene: slicer.vtkMRMLScene, className: str, name: str) -> slicer.vtkMRMLNode:
    """The node of this class and name; a new one where there is none."""
    present = next((node for node in nodesOf(scene, className) if node.GetName() == name), None)
    return present or scene.AddNewNodeByClass(className, name)


def _union(boxes: Iterable[Box | None], geometry: Geometry) -> Box:
    """The smallest box around all, with a rim; some corner of the CT where there are none."""
    present = [box for box in boxes if box is not None]
    if not present:
        return Box.between((0, 0, 0), (min(n, 3) for n in geometry.size))
    union = present[0]
    for box in present[1:]:
        union = union.union(box)
    return union.pad([RIM_VOXELS] * 3, [RIM_VOXELS] * 3).clip(geometry)


def _labelOnGrid(
    labelmapNode: slicer.vtkMRMLLabelMapVolumeNode, label: int, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """One label of a labelmap volume on the CT's grid, through a segmentation that is not added to the scene."""
    VolumeNodes.checkTransform(labelmapNode)
    holder = addHiddenNode(volumeNode.GetScene(), "vtkMRMLSegmentationNode", "Label to compare with")
    try:
        holder.SetAndObserveTransformNodeID(labelmapNode.GetTransformNodeID())
        holder.SetReferenceImageGeometryParameterFromVolumeNode(labelmapNode)
        identifier = holder.GetSegmentation().AddEmptySegment("label")
        mask = (slicer.util.arrayFromVolume(labelmapNode) == label).astype(np.uint8)
        if mask.shape != geometryOfNode(labelmapNode).shape:
            raise InputError("labelmap-shape", f"'{labelmapNode.GetName()}' is no 3D labelmap.", "Select another one.")
        Segments.writeMask(mask, holder, identifier, labelmapNode)
        return Segments.readMask(holder, identifier, volumeNode)
    finally:
        volumeNode.GetScene().RemoveNode(holder)

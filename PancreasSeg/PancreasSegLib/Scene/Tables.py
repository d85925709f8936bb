"""Measurements as a table node."""

from __future__ import annotations

from collections.abc import Iterable

import slicer.util
import vtk

from pancreasseg.core.measurement import Measurement
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Scene.Placement import placeBeside


def showMeasurements(parameters: Parameters, measurements: Iterable[Measurement]) -> None:
    """Put measurements into the CT's table node, in their order; a new node where there is none.

    Values are texts: some are infinite or not there by definition, which a column of numbers could not say.
    """
    volumeNode = parameters.volumeNode
    tableNode = parameters.tableNode
    if tableNode is None:
        tableNode = volumeNode.GetScene().AddNewNodeByClass(
            "vtkMRMLTableNode", f"{volumeNode.GetName()} pancreas statistics"
        )
        placeBeside(tableNode, volumeNode)
        parameters.tableNode = tableNode
    with slicer.util.NodeModify(tableNode):
        tableNode.RemoveAllColumns()
        _addColumn(tableNode, "Measurement", [measurement.title for measurement in measurements])
        _addColumn(tableNode, "Value", [measurement.value_text for measurement in measurements])
        _addColumn(tableNode, "Unit", [measurement.unit_text for measurement in measurements])
        _addColumn(tableNode, "Note", [measurement.note for measurement in measurements])
        tableNode.SetUseColumnTitleAsColumnHeader(True)
        tableNode.SetLocked(True)


def summaryOfMeasurements(measurements: Iterable[Measurement]) -> str:
    """The volume as a line of text."""
    volume = next(measurement for measurement in measurements if measurement.name == "volume")
    return f"{volume.title}: {volume.text}"


def _addColumn(tableNode: slicer.vtkMRMLTableNode, name: str, texts: Iterable[str]) -> None:
    column = vtk.vtkStringArray()
    column.SetName(name)
    for text in texts:
        column.InsertNextValue(text)
    tableNode.AddColumn(column)

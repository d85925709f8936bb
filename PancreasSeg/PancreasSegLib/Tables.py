"""Measurements as a table node."""

from __future__ import annotations

import slicer.util
import vtk

from PancreasSegLib.Parameters import Parameters
from PancreasSegLib.Placement import placeBeside


def showMeasurements(parameters: Parameters, measurements) -> None:
    """Put measurements into the CT's table node, in their order; a new node where there is none."""
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
        _addColumn(tableNode, vtk.vtkStringArray(), "Measurement", [m.name for m in measurements])
        _addColumn(tableNode, vtk.vtkDoubleArray(), "Value", [m.value for m in measurements])
        _addColumn(tableNode, vtk.vtkStringArray(), "Unit", [m.unit for m in measurements])
        tableNode.SetUseColumnTitleAsColumnHeader(True)
        tableNode.SetLocked(True)


def summaryOfMeasurements(measurements) -> str:
    """The first measurement, the volume, as a line of text."""
    first = measurements[0]
    return f"{first.name}: {first.value:.1f} {first.unit}"


def _addColumn(tableNode, column, name: str, values) -> None:
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    tableNode.AddColumn(column)

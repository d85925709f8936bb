"""PancreasSeg's numbers in Slicer's own Segment Statistics module."""

from __future__ import annotations

import logging
from typing import Any

import slicer
from slicer.i18n import tr as _

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.core.measurement import Code
from PancreasSegLib.Scene.Parameters import MODULE, Parameters
from PancreasSegLib.Work.Statistics import overlapOf, statisticsOf

# Quick, and therefore on for everybody who uses the core module.
OVERLAPS = ("dsc", "iou", "precision", "recall", "volume_difference", "volume_difference_percent")

# The core module's plugins give volume and intensities of every segment; these it does not have.
KEYS = ("length", "diameter_long", "diameter_short", *OVERLAPS, "hd", "hd95", "msd", "nsd_1mm", "nsd_2mm")


def register() -> None:
    """Add the plugin to the core module; called when Slicer has started."""
    import SegmentStatistics

    SegmentStatistics.SegmentStatisticsLogic.registerPlugin(pluginClass()())


def pluginClass() -> type:
    """The plugin's class; made on request, because its base is there only once Slicer's modules are."""
    from SegmentStatisticsPlugins import SegmentStatisticsPluginBase

    class PancreasSegStatisticsPlugin(SegmentStatisticsPluginBase):
        """Shape of the pancreas, and its overlap with the AI draft or the reference chosen in the panel."""

        def __init__(self) -> None:
            super().__init__()
            self.name = "PancreasSeg"
            self.title = _("PancreasSeg")
            self.keys = list(KEYS)
            self.defaultKeys = list(OVERLAPS)
            self._measured: dict = {}

        def computeStatistics(self, segmentID: str) -> dict[str, float]:
            """Measurements of the segment by key; nothing for segments that are no result of PancreasSeg."""
            requested = set(self.getRequestedKeys())
            nodeId = self.getParameterNode().GetParameter("Segmentation")
            parameters = _parametersOf(slicer.mrmlScene.GetNodeByID(nodeId), segmentID) if requested else None
            if parameters is None:
                return {}
            quick = requested <= set(OVERLAPS)
            try:
                measurements = overlapOf(parameters) if quick else statisticsOf(parameters).all
            except PancreasSegError:
                return {}  # the panel says why; this module shows an empty cell
            except Exception:  # a package that is missing, for example: the other plugins' numbers must still come
                logging.exception("PancreasSeg: a segment could not be measured")
                return {}
            self._measured.update({m.name: m for m in measurements})
            return {m.name: m.value for m in measurements if m.name in requested and m.value is not None}

        def getMeasurementInfo(self, key: str) -> dict | None:
            """Name, description, unit and DICOM codes of a measurement."""
            if key not in self.keys:
                return None
            measured = self._measured.get(key)
            if measured is None:
                return self.createMeasurementInfo(key, key, key, "")
            return self.createMeasurementInfo(
                key,
                measured.title,
                measured.note or measured.title,
                measured.unit_text,
                self._coded(measured.code),
                self._coded(measured.unit_code),
            )

        def _coded(self, code: Code) -> Any:
            return self.createCodedEntry(code.value, code.scheme, code.meaning, True)

    return PancreasSegStatisticsPlugin


def _parametersOf(segmentationNode: slicer.vtkMRMLSegmentationNode | None, segmentId: str) -> Parameters | None:
    """The parameters of the CT whose pancreas this segment is.

    Under a transform the core module measures a hardened copy; the numbers are those of the segment it was copied from.
    """
    if segmentationNode is None:
        return None
    scene = slicer.mrmlScene
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLScriptedModuleNode")
        if node.GetModuleName() != MODULE:
            continue
        parameters = Parameters(node)
        own = parameters.segmentationNode
        copied = (
            own is not None and segmentationNode.GetName() == f"_tmp_{own.GetName()}_transformedForSegmentStatistics"
        )
        if (own is segmentationNode or copied) and parameters.segmentId == segmentId:
            return parameters
    return None

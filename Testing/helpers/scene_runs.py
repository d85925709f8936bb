"""What a run has left in the scene, and a person who edits it."""

from __future__ import annotations

import numpy as np
import slicer.util
from Testing.helpers.builders import aGeometry
from Testing.helpers.fakes import THRESHOLD_HU

from pancreasseg.core import Box
from PancreasSegLib.Scene import Segments
from PancreasSegLib.Scene.Parameters import Parameters


def expected_mask(volumeNode, box: Box) -> np.ndarray:
    """The fake's pancreas, taken from the node's own voxels."""
    mask = np.zeros(aGeometry().shape, np.uint8)
    mask[box.slices] = slicer.util.arrayFromVolume(volumeNode)[box.slices] > THRESHOLD_HU
    return mask


def present_mask(parameters: Parameters) -> np.ndarray:
    return Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)


def nodes_of(scene, className) -> list:
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]


def visible_segmentations(scene) -> list:
    return [node for node in nodes_of(scene, "vtkMRMLSegmentationNode") if not node.GetHideFromEditors()]


def edit(parameters: Parameters) -> np.ndarray:
    """A person paints a corner of the volume."""
    mask = present_mask(parameters)
    mask[:2, :2, :2] = 1
    Segments.writeMask(mask, parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    return mask

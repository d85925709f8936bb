"""Keeping a corrected segment for training: CT, mask and box in a folder of the person's choice, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import slicer

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import RoiNodes, Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters

if TYPE_CHECKING:
    from pancreasseg.io.corrections import Correction

# What the engine reads as it lies on disk; a CT from DICOM is kept as voxels.
_FILES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def keep(parameters: Parameters, folder: str) -> Correction:
    """Keep the segment as it is now; a `pancreasseg.io.corrections.Correction`.

    Raises:
        InputError: there is no segment, it is empty, or the CT cannot be used.
        OutputError: the folder cannot be written to.
    """
    from pancreasseg.io.corrections import keep_correction

    volumeNode = parameters.volumeNode
    image = VolumeNodes.readVolumeNode(volumeNode)
    mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, volumeNode)
    return keep_correction(
        folder, Volume(image.array, image.geometry), mask, ct=_file(volumeNode), box=_box(parameters)
    )


def _file(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Path | None:
    """The file that a CT was loaded from and is unchanged since; None when it is none of its own."""
    storage = volumeNode.GetStorageNode()
    name = storage.GetFileName() if storage is not None else ""
    unchanged = storage is not None and not volumeNode.GetModifiedSinceRead()
    path = Path(name) if name else None
    return path if path is not None and unchanged and name.lower().endswith(_FILES) and path.is_file() else None


def _box(parameters: Parameters) -> Box | None:
    if parameters.roiNode is None:
        return None
    try:
        return RoiNodes.boxOfRoi(parameters.roiNode, parameters.volumeNode)
    except InputError:
        return None  # turned, or elsewhere by now: it is no part of what was corrected

"""How long the scene takes for a 512 x 512 x 240 CT: writing a result, reading it back, refreshing the statistics.

python -m Testing.scene_timings
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from Testing.slicer_boot import boot

from pancreasseg.core import Box, Geometry, Volume
from PancreasSegLib.Scene import RoiNodes, Segments, Tables, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work.Statistics import measureSegment

GEOMETRY = Geometry((512, 512, 240), (0.75, 0.75, 1.25))
ROOT = Path(__file__).resolve().parents[1]

# What Slicer pays for the module when it starts, beside what it has imported anyway.
IMPORT = """
import time, numpy, slicer, slicer.util, vtk
began = time.perf_counter()
import PancreasSegLib.Work.Workflow, pancreasseg.worker.client
print(time.perf_counter() - began)
"""


def timings(repeats: int) -> dict[str, list[float]]:
    """Seconds of every repeat, by what was timed."""
    figures: dict[str, list[float]] = {}

    def timed(row: str, work, *arguments):
        began = time.perf_counter()
        result = work(*arguments)
        figures.setdefault(row, []).append(time.perf_counter() - began)
        return result

    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=True)
        figures.setdefault("importing the Slicer side", []).append(float(done.stdout))
    scene = boot().scene
    box, mask = an_organ()
    for _ in range(repeats):
        scene.Clear(False)
        volumeNode = timed("making the volume node", VolumeNodes.addVolumeNode, scene, a_ct(), "CT")
        parameters = Parameters.forVolume(volumeNode)
        timed("reading the volume node", VolumeNodes.readVolumeNode, volumeNode)
        parameters.roiNode = RoiNodes.addRoiNode(scene, "ROI")
        timed("placing the ROI", RoiNodes.setBox, parameters.roiNode, box, volumeNode)
        parameters.segmentationNode = Segments.addSegmentationNode(volumeNode, "Pancreas")
        parameters.segmentId = Segments.addPancreasSegment(parameters.segmentationNode)
        target = (parameters.segmentationNode, parameters.segmentId)
        timed("writing the result", Segments.writeMask, mask, *target, volumeNode)
        timed("keeping the draft", Segments.keepDraft, *target)
        timed("asking whether it was edited", Segments.isEdited, *target, volumeNode)
        timed("reading the segment back", Segments.readMask, *target, volumeNode)
        measurements = timed("measuring", measureSegment, parameters)
        timed("showing the table", Tables.showMeasurements, parameters, measurements)
    return figures


def a_ct() -> Volume:
    return Volume(np.random.default_rng(1).integers(-100, 200, GEOMETRY.shape, dtype=np.int16), GEOMETRY)


def an_organ() -> tuple[Box, np.ndarray]:
    """A bent tube of about 80 ml and the box around it."""
    mask = np.zeros(GEOMETRY.shape, np.uint8)
    k, j, i = np.ogrid[: mask.shape[0], : mask.shape[1], : mask.shape[2]]
    for step in np.linspace(-1, 1, 40):
        middle = (150 + 20 * step**2, 240 + 40 * step * step, 250 + 95 * step)
        ball = ((k - middle[0]) * 1.25) ** 2 + ((j - middle[1]) * 0.75) ** 2 + ((i - middle[2]) * 0.75) ** 2 < 12**2
        mask |= ball
    box = Box.of_mask(mask)
    return box.grow(10, GEOMETRY), mask


def main() -> None:
    """Print the medians."""
    for row, seconds in timings(5).items():
        print(f"{1000 * median(seconds):8.1f} ms  {row}")


if __name__ == "__main__":
    main()

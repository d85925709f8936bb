"""How the panel feels: refreshing statistics after an edit, and how long Slicer stands still while a run is going on.

    python -m Testing.panel_timings [CT]

Off screen, with the real panel, worker and bundled model.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from Testing.scene_timings import GEOMETRY, a_ct, an_organ
from Testing.standins import install

from pancreasseg.core import Volume
from pancreasseg.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[1]

# What Slicer pays at start-up: the module's own file, beside what it has imported anyway.
IMPORT = """
from Testing.standins import install
install()
import numpy, qt, slicer.util, time, vtk, slicer.ScriptedLoadableModule, logging, tempfile
began = time.perf_counter()
import PancreasSeg
print(time.perf_counter() - began)
"""
MODEL = "pancreas-ct"
SLICES = 500


def timings(repeats: int, volume: Volume | None) -> dict[str, list[float]]:
    """Seconds of every repeat, by what was timed; the runs are on ``volume`` and on a large phantom."""
    # Slicer's process holds no torch: what this one has imported for other timings must not cost the collector time.
    gc.collect()
    gc.freeze()
    figures: dict[str, list[float]] = {}
    for _ in range(repeats):
        path = os.pathsep.join([str(ROOT), str(ROOT / "PancreasSeg")])
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", IMPORT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        figures.setdefault("loading the module at start-up", []).append(float(done.stdout))
    phantom = make_phantom(1, size=GEOMETRY.size, spacing=GEOMETRY.spacing).volume
    rows = [*_statistics(repeats), *_preflight(repeats), *_runs(repeats, phantom, "phantom")]
    if volume is not None:
        rows += _runs(repeats, volume, "CT")
    for row, seconds in rows:
        figures.setdefault(row, []).append(seconds)
    return figures


class _Panel:
    """The real panel with its worker, and a clock that counts for how long no event could be handled."""

    def __init__(self) -> None:
        install()
        import slicer
        from PySide6 import QtWidgets
        from Testing.standins.scripted import loadModule

        sys.path.insert(0, str(ROOT / "PancreasSeg"))
        import PancreasSeg

        slicer.mrmlScene.Clear(False)
        module = loadModule(PancreasSeg.PancreasSeg, ROOT / "PancreasSeg" / "PancreasSeg.py")
        self.widget = module.widgetRepresentation().self()
        self.widget.enter()
        self.panel, self.ui = self.widget.panel, self.widget.ui
        self.turn = QtWidgets.QApplication.processEvents
        self.session = self.panel.session
        while self.session.workflow.describing:
            self.turn()
        time.sleep(3)  # a person reads the panel before clicking

    def select(self, volume: Volume):
        """Load a CT and select it."""
        import slicer

        from PancreasSegLib.Scene import VolumeNodes
        from PancreasSegLib.Scene.Parameters import Parameters

        node = VolumeNodes.addVolumeNode(slicer.mrmlScene, volume, "CT")
        self.ui.volumeSelector.setCurrentNode(node)
        Parameters.forVolume(node).model = MODEL
        return node

    def standstills(self, work, until) -> tuple[float, float, float]:
        """Do something, and let events be handled until something holds.

        Returns:
            The longest standstill in seconds, the most processor time of one, and the seconds until the end.
        """
        began = time.perf_counter()
        gaps = [_timed(work)]
        while not until():
            gaps.append(_timed(self.turn))
            time.sleep(0.001)
        walls, processors = zip(*gaps, strict=True)
        return max(walls), max(processors), time.perf_counter() - began


def _timed(work) -> tuple[float, float]:
    """Wall and processor time of some work in this thread, in seconds."""
    wall, processor = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - wall, time.thread_time() - processor


def _statistics(repeats: int) -> list[tuple[str, float]]:
    """From an edit to new numbers, without the pause that waits for the edit to end."""
    from PancreasSegLib.Scene import Segments

    there = _Panel()
    rows = []
    try:
        ct = there.select(a_ct())
        parameters = there.session.parameters
        parameters.segmentationNode = Segments.addSegmentationNode(ct, "Pancreas")
        parameters.segmentId = Segments.addPancreasSegment(parameters.segmentationNode)
        target = (parameters.segmentationNode, parameters.segmentId)
        _, mask = an_organ()
        Segments.writeMask(mask, *target, ct)
        Segments.keepDraft(*target)
        size = " x ".join(map(str, GEOMETRY.size))
        for step in range(repeats + 1):
            mask[: 150 + step] = 0
            Segments.writeMask(mask, *target, ct)
            stood, _busy, seconds = there.standstills(there.panel.statistics.update, lambda: there.panel.settled)
            if step > 0:  # the first waits for the worker's imports
                rows.append((f"statistics after an edit, {size}", seconds))
                rows.append((f"statistics after an edit, {size}: longest standstill", stood))
    finally:
        there.widget.cleanup()
    return rows


def _preflight(repeats: int) -> list[tuple[str, float]]:
    """Opening Export for a CT of many slices, each with a header that has to be read: what Slicer stands still for."""
    import tempfile

    import numpy as np
    import slicer
    from Testing.helpers.ct_files import a_series, write_slices

    from pancreasseg.io.read import read_volume
    from PancreasSegLib.Scene import Segments

    there = _Panel()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        array = np.full((SLICES, 32, 32), -1000, dtype=np.int16)
        array[:, 8:24, 8:24] = 40
        written = write_slices(Path(folder) / "series", a_series(array))
        try:
            ct = there.select(read_volume(written))
            storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
            for file in sorted(written.iterdir()):
                storage.AddFileName(str(file))
            ct.SetAndObserveStorageNodeID(storage.GetID())
            parameters = there.session.parameters
            parameters.segmentationNode = Segments.addSegmentationNode(ct, "Pancreas")
            parameters.segmentId = Segments.addPancreasSegment(parameters.segmentationNode)
            Segments.writeMask(array > 0, parameters.segmentationNode, parameters.segmentId, ct)
            for repeat in range(repeats + 1):
                there.ui.exportSection.collapsed = True
                stood, _busy, seconds = there.standstills(
                    lambda: setattr(there.ui.exportSection, "collapsed", False), lambda: not there.panel.export.busy
                )
                name = f"opening Export, {SLICES} slices, {'first time' if repeat == 0 else 'again'}"
                rows += [(f"{name}: longest standstill", stood), (f"{name}: until the buttons are right", seconds)]
        finally:
            there.widget.cleanup()
    return rows


def _runs(repeats: int, volume: Volume, name: str) -> list[tuple[str, float]]:
    """From the click to the result with its numbers: the longest time in which no event could be handled."""
    there = _Panel()
    rows = []
    try:
        there.select(volume)
        for run in range(repeats + 1):
            size = " x ".join(map(str, volume.geometry.size))
            kind = f"{name} {size}, {'first' if run == 0 else 'warm'} run"
            stood, busy, seconds = there.standstills(there.ui.segmentButton.click, lambda: there.panel.settled)
            rows.append((f"{kind}: longest standstill, click to numbers", stood))
            rows.append((f"{kind}: longest standstill, processor time", busy))
            rows.append((f"{kind}: from click to numbers", seconds))
    finally:
        there.widget.cleanup()
    return rows


def main() -> None:
    """Print medians and largest values."""
    from pancreasseg.io.read import read_volume

    volume = read_volume(Path(sys.argv[1])) if len(sys.argv) > 1 else None
    for row, seconds in timings(5, volume).items():
        print(f"{1000 * median(seconds):8.1f} ms, at most {1000 * max(seconds):8.1f} ms  {row}")


if __name__ == "__main__":
    main()

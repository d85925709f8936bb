"""How the panel feels: refreshing statistics after an edit, and how long Slicer stands still while a run is going on.

    python -m Testing.panel_timings [CT]

Off screen, with the real panel, worker and bundled model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from Testing.scene_timings import GEOMETRY, _ct, _organ
from Testing.standins import install

from pancreasseg.volume import Volume

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
MODEL = "phantom-two-stage"


def timings(repeats: int, volume: Volume) -> dict[str, list[float]]:
    """Seconds of every repeat, by what was timed; the runs are on ``volume``."""
    figures: dict[str, list[float]] = {}
    for _ in range(repeats):
        path = os.pathsep.join([str(ROOT), str(ROOT / "PancreasSeg")])
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", IMPORT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        figures.setdefault("loading the module at start-up", []).append(float(done.stdout))
    for row, seconds in (*_statistics(repeats), *_runs(repeats, volume)):
        figures.setdefault(row, []).append(seconds)
    return figures


def _statistics(repeats: int) -> list[tuple[str, float]]:
    """From an edit to new numbers, without the pause that waits for the edit to end."""
    import slicer

    from PancreasSegLib import Segments, VolumeNodes
    from PancreasSegLib.Parameters import Parameters
    from PancreasSegLib.Statistics import statisticsOf

    install()
    slicer.mrmlScene.Clear(False)
    ct = VolumeNodes.addVolumeNode(slicer.mrmlScene, _ct(), "CT")
    parameters = Parameters.forVolume(ct)
    parameters.segmentationNode = Segments.addSegmentationNode(ct, "Pancreas")
    parameters.segmentId = Segments.addPancreasSegment(parameters.segmentationNode)
    target = (parameters.segmentationNode, parameters.segmentId)
    _, mask = _organ()
    Segments.writeMask(mask, *target, ct)
    Segments.keepDraft(*target)
    rows = []
    statisticsOf(parameters)  # imports
    for step in range(repeats):
        mask[: 150 + step] = 0
        Segments.writeMask(mask, *target, ct)
        began = time.perf_counter()
        statisticsOf(parameters)
        rows.append((f"statistics after an edit, {' x '.join(map(str, GEOMETRY.size))}", time.perf_counter() - began))
    return rows


def _runs(repeats: int, volume: Volume) -> list[tuple[str, float]]:
    """The longest time without an event, while runs are going on and when their results come."""
    install()
    import slicer
    from PySide6 import QtCore, QtWidgets
    from Testing.standins.scripted import loadModule

    sys.path.insert(0, str(ROOT / "PancreasSeg"))
    import PancreasSeg
    from PancreasSegLib import VolumeNodes
    from PancreasSegLib.Parameters import Parameters

    slicer.mrmlScene.Clear(False)
    module = loadModule(PancreasSeg.PancreasSeg, ROOT / "PancreasSeg" / "PancreasSeg.py")
    widget = module.widgetRepresentation().self()
    widget.enter()
    session, ui = widget.panel.session, widget.ui
    loop = QtWidgets.QApplication.processEvents
    rows = []
    try:
        while session.workflow.describing:
            loop()
        time.sleep(3)  # a person reads the panel before clicking
        ct = VolumeNodes.addVolumeNode(slicer.mrmlScene, volume, "CT")
        ui.volumeSelector.setCurrentNode(ct)
        Parameters.forVolume(ct).model = MODEL
        for run in range(repeats + 1):
            kind = "first run" if run == 0 else "warm run"
            clock = QtCore.QElapsedTimer()
            clock.start()
            ui.segmentButton.click()
            rows.append((f"{kind}: the click itself", clock.nsecsElapsed() / 1e9))
            gaps, began = [0.0], time.perf_counter()
            clock.restart()
            while session.busy:
                loop()
                gaps.append(clock.nsecsElapsed() / 1e9)
                clock.restart()
                time.sleep(0.001)
            rows.append((f"{kind}: longest standstill until the result", sorted(gaps)[-2] if len(gaps) > 1 else 0.0))
            rows.append((f"{kind}: putting the result into the scene", gaps[-1]))
            rows.append((f"{kind}: from click to result", time.perf_counter() - began))
    finally:
        widget.cleanup()
    return rows


def main() -> None:
    """Print the medians."""
    from pancreasseg.io.read import read_volume
    from pancreasseg.phantom import make_phantom

    volume = read_volume(Path(sys.argv[1])) if len(sys.argv) > 1 else make_phantom(1).volume
    for row, seconds in timings(3, volume).items():
        print(f"{1000 * median(seconds):8.1f} ms  {row}")


if __name__ == "__main__":
    main()

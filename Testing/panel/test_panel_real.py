"""The whole path with the real worker and the bundled model, on a phantom whose pancreas is known."""

import os
import signal
import sys
import time

import numpy as np
import pytest
import slicer
from PySide6 import QtCore, QtWidgets
from Testing.helpers.actions import mask
from Testing.helpers.panel import MODULE, aWidget, remove, wait

from pancreasseg.measure.compare import dice
from pancreasseg.phantom import PANCREAS, make_phantom
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Panel.Panel import Panel
from PancreasSegLib.Scene import RoiNodes, VolumeNodes
from PancreasSegLib.Work.Workflow import Workflow

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(1, spacing=(2.0, 2.0, 4.0), step=2.0)


@pytest.fixture
def real(module, dialogs, monkeypatch):
    """The panel with the real worker."""
    monkeypatch.setattr("PancreasSegLib.Panel.Runner.DOUBLE_CLICK_SECONDS", 0.0)
    widget = aWidget()
    panel = Panel(slicer.util.childWidgetVariables(widget), Workflow(WorkerClient()), sys.executable, dialogs)
    yield panel
    panel.close()
    remove(widget)


@pytest.fixture
def ct(real, scene, phantom):
    node = VolumeNodes.addVolumeNode(scene, phantom.volume, "Phantom CT")
    real.ui.volumeSelector.setCurrentNode(node)
    real.session.parameters.precision = "f32"  # the tests' kernels have no fast half precision
    return node


def run(panel) -> None:
    panel.ui.segmentButton.click()
    wait(lambda: panel.settled, 300)
    assert panel.ui.segmentMessage.text == ""


def test_one_click_finds_the_phantoms_pancreas_and_a_moved_box_runs_warm(real, ct, phantom) -> None:
    ui = real.ui
    real.enter()
    wait(lambda: "GB free" in ui.statusLabel.text, 60)
    shown = []
    real.runner.onProgress.subscribe(shown.append)
    run(real)
    parameters = real.session.parameters
    found = mask(parameters)
    assert dice(found, phantom.labels == PANCREAS) > 0.6
    assert {update.stage for update in shown} >= {"coarse", "fine"}
    assert [u.fraction for u in shown] == sorted(u.fraction for u in shown)

    box = RoiNodes.boxOfRoi(parameters.roiNode, ct)
    RoiNodes.setBox(parameters.roiNode, box.grow(4, phantom.volume.geometry), ct)
    wait(lambda: not ui.staleLabel.isHidden())
    run(real)
    assert ui.staleLabel.isHidden()
    assert dice(mask(parameters), phantom.labels == PANCREAS) > 0.6


def test_cancel_and_a_killed_worker_leave_the_scene_alone_and_the_next_click_works(real, ct) -> None:
    ui = real.ui
    ui.segmentButton.click()
    wait(lambda: ui.progressBar.value > 0, 60)
    started = time.monotonic()
    ui.segmentButton.click()
    wait(lambda: not real.session.busy)
    assert time.monotonic() - started < 0.6
    assert ui.segmentMessage.text == "Cancelled; nothing was changed."

    ui.segmentButton.click()
    # Held first: a warm run could be done before it is killed.
    os.kill(real.session.workflow.client.pid, signal.SIGSTOP)
    asked = time.monotonic()
    wait(lambda: time.monotonic() - asked > 0.5)
    os.kill(real.session.workflow.client.pid, signal.SIGKILL)
    wait(lambda: not real.session.busy)
    assert "ended unexpectedly" in ui.segmentMessage.text
    assert real.session.parameters.segmentationNode is None

    run(real)
    assert mask(real.session.parameters).any()


def test_the_panel_stays_responsive_while_a_run_is_going_on(real, ct) -> None:
    """No more than a coarse guard here; the bench measures it."""
    gaps, clock = [], QtCore.QElapsedTimer()
    clock.start()
    real.ui.segmentButton.click()
    while real.session.busy:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 5)
        gaps.append(clock.restart())
        QtCore.QThread.msleep(1)
    assert np.median(gaps) < 50


def test_the_module_builds_its_panel_as_slicer_does(module, headless) -> None:
    import PancreasSeg

    widget = PancreasSeg.PancreasSegWidget()
    widget.setup()
    assert widget.panel.ui.segmentButton.text == "Segment pancreas"
    assert widget.resourcePath("UI/PancreasSeg.ui") == str(MODULE.parent / "Resources/UI/PancreasSeg.ui")
    widget.cleanup()
    remove(widget.parent)


def test_the_self_test_passes(module, headless) -> None:
    """What people run inside Slicer."""
    import PancreasSeg

    test = PancreasSeg.PancreasSegTest()
    try:
        test.runTest()
    finally:
        widget = module.widgetRepresentation().self()
        widget.cleanup()
        remove(widget.parent)

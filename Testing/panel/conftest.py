"""Fixtures for the panel: the real .ui file and the module's own code, off screen, on the real scene."""

import logging
import sys

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer
from PySide6 import QtCore
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.fakes import FakeClient
from Testing.helpers.panel import MODULE, FakeDialogs, aWidget, remove
from Testing.slicer_boot import boot
from Testing.standins.scripted import loadModule


def pytest_collection_modifyitems(items):
    for item in items:
        if "panel" in item.path.parts:
            item.add_marker(pytest.mark.panel)


class Mistakes(logging.Handler):
    """Keeps the exceptions that the log was told of."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and str(record.msg).startswith("PancreasSeg: a mistake"):
            self.found.append(record.exc_info[1])


@pytest.fixture
def mistakes():
    """What the panel's slots raised that is no error of PancreasSeg's own: a sentence and a traceback in the log.

    A test that makes the program do so on purpose clears the list.
    """
    watch = Mistakes()
    logging.getLogger().addHandler(watch)
    yield watch.found
    logging.getLogger().removeHandler(watch)


@pytest.fixture
def headless(monkeypatch, tmp_path, mistakes):
    """The closed scene; errors that VTK, observers and slots only print or log fail the test."""
    application = boot()
    application.clear()
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    yield application
    application.scene.Clear(False)
    assert not raised, f"an observer or slot raised {raised[0]!r}"
    assert not mistakes, f"the program made a mistake: {mistakes[0]!r}"
    assert application.messages.text() == ""


@pytest.fixture
def scene(headless):
    return headless.scene


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def dialogs() -> FakeDialogs:
    return FakeDialogs()


@pytest.fixture
def module(headless):
    """The module as Slicer's factory loads it."""
    import PancreasSeg

    return loadModule(PancreasSeg.PancreasSeg, MODULE)


@pytest.fixture
def panel(module, client, dialogs, monkeypatch):
    """The panel with a worker that answers at once."""
    from PancreasSegLib.Panel.Panel import Panel
    from PancreasSegLib.Work.Workflow import Workflow

    monkeypatch.setattr("PancreasSegLib.Panel.Runner.DOUBLE_CLICK_SECONDS", 0.0)
    # A person's pauses, shortened; nothing here may depend on how long they are.
    monkeypatch.setattr("PancreasSegLib.Panel.Runner.POLL_MILLISECONDS", 5)
    monkeypatch.setattr("PancreasSegLib.Panel.StatisticsSection.DEBOUNCE_MILLISECONDS", 5)
    monkeypatch.setattr("PancreasSegLib.Panel.Panel.ROI_MILLISECONDS", 5)
    monkeypatch.setattr("PancreasSegLib.Panel.Installer.POLL_MILLISECONDS", 5)
    monkeypatch.setattr("PancreasSegLib.Panel.ModelSection.TYPING_MILLISECONDS", 5)
    monkeypatch.setattr("PancreasSegLib.Panel.InputSection.POLL_MILLISECONDS", 5)
    widget = aWidget()
    built = Panel(slicer.util.childWidgetVariables(widget), Workflow(client), sys.executable, dialogs)
    built.widget = widget
    built.wake()
    yield built
    built.close()
    remove(widget)


@pytest.fixture
def ui(panel):
    return panel.ui


@pytest.fixture
def aVolumeNode(scene):
    from PancreasSegLib.Scene import VolumeNodes

    return VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "CT")


@pytest.fixture
def selected(panel, aVolumeNode):
    """A CT that is selected in the panel."""
    panel.ui.volumeSelector.setCurrentNode(aVolumeNode)
    return aVolumeNode

"""The Qt side of ``slicer.app``: qSlicerApplication as far as scripted modules use it."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from Testing.slicer_boot.application import ApplicationStandIn
from Testing.standins import qt


class ModuleManager(qt.QObject):
    """Says when a module is about to go."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)


class Signals(qt.QObject):
    """The application's own signals."""

    startupCompleted = QtCore.Signal()


class LayoutManager(qt.QObject):
    """Remembers what the views were asked to show, and announces the layout whenever the scene was closed."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, scene: Any) -> None:
        super().__init__()
        self._layout = 4
        self._resets = 0
        # Set up with the application, so before any panel: the panel hears of the closed scene after this.
        scene.AddObserver(scene.EndCloseEvent, self._onSceneClosed)

    def _onSceneClosed(self, *_: Any) -> None:
        self.layoutChanged.emit(self._layout)

    def resetThreeDViews(self) -> None:
        self._resets += 1

    @property
    def resetsOf3D(self) -> int:
        """How often the cameras were sent to what there is to see; not of the real one."""
        return self._resets

    def setLayout(self, layout: int) -> None:
        self._layout = layout
        self.layoutChanged.emit(layout)

    layout = QtCore.Property(int, lambda self: self._layout, setLayout)

    def mrmlSliceLogics(self) -> Any:
        """The logics of the slice views: those of the application."""
        return slicer.app.applicationLogic().GetSliceLogics()


class PanelApplication(ApplicationStandIn):
    """``slicer.app`` with Qt.

    Attributes:
        window: the main window; None as with --no-main-window.
        manager: the layout manager; None leaves the application without views, as on the command line.
    """

    def __init__(self, application: ApplicationStandIn) -> None:
        super().__init__(application.applicationLogic(), application.temporaryPath)
        self.manager: LayoutManager | None = LayoutManager(application.mrmlScene())
        self.window = qt.QMainWindow()
        self.window.name = "qSlicerMainWindow"
        self._modules = ModuleManager()
        self._signals = Signals()

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def connect(self, signature: str, receiver: Any) -> bool:
        return self._signals.connect(signature, receiver)

    def start(self) -> None:
        """What Slicer does when all modules are loaded."""
        self._signals.startupCompleted.emit()

    def layoutManager(self) -> LayoutManager | None:
        return self.manager

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return [] if self.window is None else [self.window]

    def processEvents(self, *_: Any) -> None:
        QtWidgets.QApplication.processEvents()

    def translate(self, context: str, text: str) -> str:
        return text

    def settings(self) -> QtCore.QSettings:
        return qt.QSettings()

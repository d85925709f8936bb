"""Stand-in for `slicer.ScriptedLoadableModule`: the four base classes of every scripted module."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from Testing.standins import qt


class ScriptedLoadableModule:
    """Tells Slicer what a module is called and where it belongs."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""

    def resourcePath(self, name: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / name)

    def getDefaultModuleDocumentationLink(self, page: str | None = None) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None: ...

    def enter(self) -> None: ...

    def exit(self) -> None: ...

    def cleanup(self) -> None: ...


class ScriptedLoadableModuleLogic:
    """A module's work."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self-test."""

    messageDelay = 0

    def delayDisplay(self, message: str, milliseconds: int | None = None) -> None: ...


class WidgetRepresentation:
    """What ``slicer.modules.<name>.widgetRepresentation()`` gives: the panel, built when it is first asked for."""

    def __init__(self, widgetClass: type) -> None:
        self._class = widgetClass
        self._widget: Any = None
        self.isEntered = False

    def self(self) -> Any:
        if self._widget is None:
            self._widget = self._class()
            self._widget.setup()
        return self._widget


def loadModule(moduleClass: type, path: Path) -> Any:
    """Register a module the way Slicer's factory does, and return its ``slicer.modules.<name>``."""
    name = moduleClass.__name__
    parent = SimpleNamespace(path=str(path), icon=None)
    moduleClass(parent)
    representation = WidgetRepresentation(getattr(sys.modules[moduleClass.__module__], f"{name}Widget"))
    module = SimpleNamespace(path=str(path), parent=parent, widgetRepresentation=lambda: representation)
    setattr(slicer.modules, name.lower(), module)
    return module

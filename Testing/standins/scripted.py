"""Stand-in for `slicer.ScriptedLoadableModule`: the four base classes of every scripted module."""

from __future__ import annotations

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


def loadModule(moduleClass: type, path: Path) -> Any:
    """Register a module the way Slicer's factory does: ``slicer.modules.<name>`` knows its file."""
    parent = SimpleNamespace(path=str(path), icon=None)
    module = moduleClass(parent)
    setattr(slicer.modules, moduleClass.__name__.lower(), SimpleNamespace(path=str(path), parent=parent))
    return module

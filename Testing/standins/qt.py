"""Stand-in for `qt`, PythonQt's flat module with all of Qt, as far as the panel uses it."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from Testing.standins.pythonqt import Habits, wrap


def _namespace() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if name.startswith("Q"):
                it = getattr(module, name)
                names[name] = wrap(it) if _wrapped(it) else it
    return names


def _wrapped(it: Any) -> bool:
    return inspect.isclass(it) and issubclass(it, QtCore.QObject) and not issubclass(it, QtCore.QCoreApplication)


globals().update(_namespace())


def _first(choose: Any) -> Any:
    """PySide6 answers (what was chosen, filter); PythonQt what was chosen alone."""

    def chosen(*arguments: Any) -> Any:
        return choose(*arguments)[0]

    return staticmethod(chosen)


for _name in ("getOpenFileNames", "getSaveFileName"):
    setattr(sys.modules[__name__].QFileDialog, _name, _first(getattr(QtWidgets.QFileDialog, _name)))

__all__ = ["Habits"]

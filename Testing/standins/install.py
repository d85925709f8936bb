"""Puts the stand-ins where the panel's imports look for them."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from types import ModuleType


@functools.cache
def install() -> None:
    """Make ``qt``, ``ctk``, the qMRML widgets and the Qt side of ``slicer`` importable, off screen by default.

    The scene behind them is `Testing.slicer_boot`'s.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    _makeSingletonsImmortal()
    import slicer
    import slicer.util
    from PySide6 import QtWidgets
    from Testing.slicer_boot import boot

    if QtWidgets.QApplication.instance() is None:
        _keep.append(QtWidgets.QApplication(["Slicer"]))
    boot()

    from Testing.standins import application, ctk, qmrml, qt, scripted, uiloader

    qt.QUiLoader = uiloader.QUiLoader
    sys.modules["qt"] = qt
    sys.modules["ctk"] = ctk
    for name in dir(qmrml):
        if name.startswith("qMRML"):
            setattr(slicer, name, getattr(qmrml, name))
    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = scripted
    sys.modules["slicer.i18n"] = slicer.i18n = _i18n()
    slicer.app = application.PanelApplication(slicer.app)


_keep: list[object] = []


def _makeSingletonsImmortal() -> None:
    """Before Python 3.12, PySide6 6.12 gives back a reference to None with every call that returns nothing.

    It was built for Pythons in which None, True and False are immortal; so they are made here, lest the interpreter end
    when the last reference is gone.
    """
    if sys.version_info < (3, 12):
        for it in (None, True, False):
            ctypes.c_ssize_t.from_address(id(it)).value += 1 << 40


def _i18n() -> ModuleType:
    """`slicer.i18n` in English."""
    module = ModuleType("slicer.i18n")
    module.tr = lambda text: text
    module.translate = lambda context, text: text
    return module

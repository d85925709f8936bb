"""Sections stay folded or open as a person left them, also when Slicer is started again."""

from __future__ import annotations

import ctk
import qt

from PancreasSegLib.Panel.Widgets import Ui

KEY = "PancreasSeg/Folded/{name}"
SECTIONS = (
    "inputSection",
    "locateSection",
    "segmentSection",
    "correctSection",
    "statisticsSection",
    "exportSection",
    "patientsSection",
    "sequenceSection",
    "advancedSection",
)


def rememberFolding(ui: Ui) -> None:
    """Fold the sections as they were left, and remember from now on; call before anything listens to them."""
    for name in SECTIONS:
        section = getattr(ui, name)
        stored = qt.QSettings().value(KEY.format(name=name))
        if stored in ("yes", "no"):
            section.collapsed = stored == "yes"
        _remember(section, KEY.format(name=name))


def _remember(section: ctk.ctkCollapsibleButton, key: str) -> None:
    def onCollapsed(collapsed: bool) -> None:
        qt.QSettings().setValue(key, "yes" if collapsed else "no")

    section.connect("contentsCollapsed(bool)", onCollapsed)

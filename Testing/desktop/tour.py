"""One sitting at the window: a CT, Segment pancreas, a dragged box, again; on request everything the pictures show.

    python -m Testing.desktop.tour --record FILE --pictures FOLDER [--ct FILE] [--pull MM] [--all]

runs on the display that the environment names, and writes down what the scene held at each point. The desktop run
starts it as a process of its own, with a display of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from PySide6 import QtCore, QtWidgets
from Testing.standins import install

install()  # before anything imports qt

from Testing.desktop.person import Person  # noqa: E402
from Testing.desktop.sections import showSections  # noqa: E402
from Testing.desktop.sitting import Tour  # noqa: E402
from Testing.desktop.window import Window  # noqa: E402
from Testing.slicer_boot import boot  # noqa: E402


def main() -> int:
    """Run the tour on the display of the environment."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", type=Path, required=True, help="file for what the scene held, JSON")
    parser.add_argument("--pictures", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--ct", type=Path, help="a CT file; the panel's phantom without it")
    parser.add_argument("--pull", type=float, default=12.0, help="how far the box is dragged, in mm; negative: inward")
    parser.add_argument("--all", action="store_true", help="go on with correction, statistics, export and models")
    options = parser.parse_args()
    raised = []
    sys.excepthook = lambda kind, error, trace: (raised.append(repr(error)), sys.__excepthook__(kind, error, trace))

    with tempfile.TemporaryDirectory(prefix="pancreasseg-desktop-") as folder:
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, folder)
        headless = boot()
        headless.messages.clear()
        window = Window(headless)
        tour = Tour(Person(window, os.environ["DISPLAY"], options.pictures))
        tour.open()
        if options.ct is None:
            tour.makePhantom()
        else:
            tour.openCt(options.ct)
        tour.person.look("ct", tour.ui.segmentButton)
        tour.segment("first")
        tour.drag(options.pull)
        tour.segment("again")
        if options.all:
            showSections(tour, Path(folder))
        tour.record["raised"] = raised
        tour.record["VTK messages"] = headless.messages.text()
        window.closeAll()
        options.record.write_text(json.dumps(tour.record, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    QtWidgets.QApplication.processEvents()
    os._exit(code)  # render windows that outlive Qt would end the process in a crash

"""Sample CTs in Slicer's Sample Data module."""

from __future__ import annotations

import sys

import slicer
from slicer.i18n import tr as _

from pancreasseg.core import Geometry, Volume

CATEGORY = "PancreasSeg"
SAMPLE = "PancreasSegPhantom"
SEED = "1"


def register() -> None:
    """Offer the phantom CT among Slicer's sample data; called when Slicer has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        uris="",  # nothing is downloaded
        fileNames="",
        nodeNames="Phantom CT",
        customDownloader=makePhantom,
    )


def makePhantom(source=None):  # noqa: ARG001 - the signature of Slicer's downloaders
    """Make the phantom CT on this computer, without any download; waits, while the views stay alive.

    Raises:
        PancreasSegError: it could not be made.
    """
    import shutil
    import tempfile
    import time
    from pathlib import Path

    import numpy as np

    from pancreasseg.worker.task import Task
    from PancreasSegLib.Scene import VolumeNodes

    python = shutil.which("PythonSlicer") or sys.executable
    with tempfile.TemporaryDirectory(prefix="pancreasseg-") as folder:
        file = Path(folder) / "phantom.npy"
        task = Task(["phantom", SEED, str(file)], python)
        result = None
        while result is None:
            result = next((it for it in task.poll() if isinstance(it, dict)), None)
            slicer.app.processEvents()
            time.sleep(0.02)
        volume = Volume(np.load(file), Geometry.from_dict(result["geometry"]))
    node = VolumeNodes.addVolumeNode(slicer.mrmlScene, volume, _("Phantom CT"))
    return [node]

"""Sample CTs: from Slicer's Sample Data module, and the phantom that is offered there."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable

import slicer
import slicer.util
from slicer.i18n import tr as _

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import RunError

ABDOMEN = "CTAAbdomenPanoramix"
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


def downloadAbdomen(tell: Callable[[str], None]) -> slicer.vtkMRMLScalarVolumeNode:
    """Slicer's sample CT of an abdomen, by Slicer's own module, which checks what it downloads; returns its node.

    Args:
        tell: called with what is going on, also while it waits for the network.

    Raises:
        RunError: it could not be had.
    """
    try:
        import SampleData
    except ImportError as error:
        raise RunError("no-sample-data", _("The module Sample Data of Slicer is not available here.")) from error

    def onMessage(message: object, *_level: object) -> None:
        tell(re.sub(r"<[^>]*>", "", str(message)).strip())  # it speaks HTML

    try:
        nodes = SampleData.SampleDataLogic(logMessage=onMessage).downloadSamples(ABDOMEN)
    except Exception:  # whatever the network made of it
        logging.exception("PancreasSeg: the sample CT could not be downloaded")
        nodes = []
    if not nodes:  # the module only logs what went wrong
        raise RunError(
            "sample-not-downloaded",
            _("The sample CT could not be downloaded."),
            _("Check the network connection, or make a phantom CT, which needs none."),
        )
    return nodes[0]


def makePhantom(source: object = None) -> list:  # noqa: ARG001 - the signature of Slicer's downloaders
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
    node = VolumeNodes.addPhantomNode(slicer.mrmlScene, volume, _("Phantom CT"))
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return [node]

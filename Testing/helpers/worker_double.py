"""A worker process with a pipeline that needs no torch; behaves as the first argument says.

The pipeline is a real one in all that the worker sees: it reports progress patch by patch, is cancelled there, and
returns results on the volume's grid. Bright voxels are pancreas.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from pancreasseg.core import Box, Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization, Provenance, Segmentation
from pancreasseg.core.setup import Setup
from pancreasseg.worker.memory import WorkerMemory
from pancreasseg.worker.server import serve

THRESHOLD_HU = 100


class Double:
    """Segments bright voxels. ``patches`` and ``pause`` say how long a run takes."""

    models = ()
    stages = ()
    localizing = (("coarse", 1.0),)
    segmenting = (("fine", 3.0),)

    def __init__(self, setup: Setup) -> None:
        self.name = setup.pipeline or "double"
        self.patches = int(setup.options.get("patches", 3))
        self.pause = float(setup.options.get("pause", 0.0))
        self.behaviour = setup.options.get("behaviour", "")
        self.localized = 0

    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        self.localized += 1
        progress = progress or Progress()
        with progress.stage("coarse"):
            box = Box.of_mask(volume.array > THRESHOLD_HU)
            progress.advance()
        assert box is not None
        return Localization(box, 0.5, (box, box), timings={"localized": float(self.localized)})

    def segment(self, volume: Volume, region: Localization | Box, progress: Progress | None = None) -> Segmentation:
        progress = progress or Progress()
        with progress.stage("fine", self.patches):
            for patch in range(self.patches):
                if self.behaviour == "die" and patch == 1:
                    os.kill(os.getpid(), 9)
                if self.behaviour == "hang" and patch == 1:
                    time.sleep(60)
                if self.behaviour == "print":
                    print("a library that prints")
                    os.write(1, b"and one that does so without asking Python\n")
                if self.behaviour == "memory" and patch == 1:
                    progress.notice(Finding("out-of-memory", Severity.WARNING, "Memory ran out; smaller tiles now."))
                if self.behaviour == "bug":
                    raise ValueError(f"{'doe'.title()} is in this text")
                time.sleep(self.pause)
                progress.advance()
        box = region if isinstance(region, Box) else region.box
        inside = volume.array[box.slices] > THRESHOLD_HU
        mask = np.zeros(volume.geometry.shape, dtype=np.uint8)
        mask[box.slices] = inside
        provenance = Provenance(
            self.name, ({"name": "double", "version": "1", "sha256": "0"},), "cpu", "f32", box.bounds(), "0"
        )
        timings = {} if isinstance(region, Box) else dict(region.timings)
        return Segmentation(
            mask,
            box,
            inside.astype(np.float32),
            np.ones(box.shape, np.float32),
            tuple(progress.notices),
            timings,
            provenance,
        )


def facts() -> dict[str, Any]:
    named = {"name": "Double", "precision": "f32", "memory": "1 GB free"} if sys.argv[1:] == ["named"] else {}
    return {"device": {"device": "cpu", **named}, "versions": {}, "models": []}


if __name__ == "__main__":
    if sys.argv[1:] == ["missing"]:
        import a_package_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401
    if sys.argv[1:] == ["exit"]:
        sys.exit(7)
    nothing = lambda: None  # noqa: E731  (no torch here)
    # Called like a `Pipeline` (a test compares them), but not derived from it: that would bring torch.
    serve(WorkerMemory(Double, lambda setup: [str(asdict(setup)["model"])]), facts, prepare=nothing)  # type: ignore[arg-type]

"""A small network of nnU-Net that knows the pancreas of phantoms, for tests beside nnU-Net and TotalSegmentator.

    python -m Testing.helpers.phantom_network

trains it anew, in a quarter of an hour, and writes `WEIGHTS`; nnU-Net's own code builds it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from Testing.helpers import nnunet_folders as folders

from pancreasseg.core import Volume
from pancreasseg.phantom import make_phantom

WEIGHTS = Path(__file__).with_name("phantom_network.npz")
STEPS = 2400
#: Phantoms that it is shown.
SHOWN = range(1, 25)
CONFIGURATION = "3d_fullres"
#: Brighter than any patient's pancreas: its border can be beyond doubt after minutes of training, as it is for public
#: networks after days. What is left between two ways to ask the network is not its hesitation.
ENHANCED_HU = 180
#: The number that TotalSegmentator gives it; the organs before it are not learned.
PANCREAS = 7
#: As much in mm as public networks see at once: 144 x 168 x 216.
PLANS = folders.plans((48, 56, 72), (3.0, 3.0, 3.0), channels=(16, 32, 48), reader="NibabelIOWithReorient")
PLANS["foreground_intensity_properties_per_channel"]["0"]["percentile_99_5"] = 400.0
DATASET: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, **{f"organ {n}": n for n in range(1, PANCREAS)}, "pancreas": PANCREAS},
    "file_ending": ".nii.gz",
}
FACTS = {"plans": PLANS, "dataset": DATASET, "configuration": CONFIGURATION}


@cache
def case(seed: int = 1) -> tuple[Volume, np.ndarray]:
    """A phantom and its labels (K, J, I), in LPS."""
    phantom = make_phantom(seed, spacing=(3.2, 3.2, 4.0), size=(110, 84, 50))
    labels = (phantom.pancreas * PANCREAS).astype(np.uint8)
    array = phantom.volume.array.copy()
    array[labels == PANCREAS] += ENHANCED_HU
    return Volume(array, phantom.volume.geometry), labels


def save(path: Path, seed: int = 1) -> None:
    """A case as nnU-Net's reader gives it: from left to right, from back to front."""
    volume, labels = case(seed)
    spacing = volume.geometry.spacing[::-1]
    np.savez(path, array=volume.array[:, ::-1, ::-1], label=labels[:, ::-1, ::-1], spacing=spacing)


def main() -> int:
    """Train it."""
    from Testing.originals import environment

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        jobs: list[dict[str, Any]] = []
        for seed in SHOWN:
            save(work / f"ct{seed}.npz", seed)
            jobs.append({"job": "preprocess", **FACTS, "ct": f"ct{seed}.npz", "output": f"case{seed}.npz"})
        cases = [job["output"] for job in jobs]
        jobs.append({"job": "train", **FACTS, "cases": cases, "output": str(WEIGHTS), "steps": STEPS})
        (work / "jobs.json").write_text(json.dumps(jobs))
        environment.run("nnunet", work, timeout=7200)
    return 0


if __name__ == "__main__":
    sys.exit(main())

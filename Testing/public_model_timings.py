"""Networks of full size, with random weights, in the pancreas's box of the real CT, beside the originals on the whole.

    python -m Testing.public_model_timings [--plan NAME] [--precision f32|bf16] [--originals]

The real CT is that of PANCREASSEG_TEST_DATA; the box is the pancreas of its reference, 10 mm around. Each measurement
is a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from Testing.helpers import nnunet_folders as folders

from pancreasseg.cli import console
from pancreasseg.core import Box
from pancreasseg.core.progress import Progress
from pancreasseg.io.read import read_volume

ROOT = Path(__file__).resolve().parents[1]
REAL = Path("data") / "ircadb17"
MARGIN_MM = 10.0
WIDTHS = (32, 64, 128, 256, 320, 320)
_HALVED = [[1, 1, 1], *[[2, 2, 2]] * 5]
_TASK07 = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
#: By name: patch, spacing, strides, kernels, classes, name of the data set.
PLANS: dict[str, tuple[Any, ...]] = {
    "1.5 mm": ((128, 128, 128), (1.5,) * 3, _HALVED, None, 25, "Dataset291_TotalSegmentator_part1_organs_1559subj"),
    "3 mm": ((112, 112, 128), (3.0,) * 3, _HALVED[:5], None, 118, "Dataset297_TotalSegmentator_total_3mm_1559subj"),
    "Task07": (
        (40, 224, 224), (2.5, 0.8, 0.8), _TASK07, [[1, 3, 3], *[[3, 3, 3]] * 5], 3, "Dataset007_Pancreas",
    ),
}  # fmt: skip


def write(folder: Path, name: str) -> Path:
    """The result folder of a plan, with random weights."""
    patch, spacing, strides, kernels, classes, data = PLANS[name]
    given = folders.plans(patch, spacing, channels=WIDTHS[: len(strides)], strides=strides, kernels=kernels)
    arguments = given["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["n_conv_per_stage_decoder"] = [2] * (len(strides) - 1)
    labels = {"background": 0, **{f"organ {n}": n for n in range(1, classes)}}
    index = min(7, classes - 1)
    labels = {("pancreas" if value == index else key): value for key, value in labels.items()}
    return folders.write_result(folder, given, {**folders.DATASET, "labels": labels}, data=data, outputs=classes)


def ours(folder: Path, precision: str) -> dict[str, float]:
    """Seconds from CT and box to probabilities on the CT's grid: the first time, and the box moved (warm)."""
    import torch

    from pancreasseg.inference.hardware import Hardware, use_cores
    from pancreasseg.models.nnunet.choices import Choices
    from pancreasseg.models.nnunet.package import write_result
    from pancreasseg.pipelines.trained_stage import TrainedStage

    use_cores()
    volume = read_volume(_data() / "ct.nii.gz")
    box = _box(volume.geometry)
    package = write_result(folder, folder.parent / "package", Choices(name="timed", role="segmenter"))
    started = time.perf_counter()
    stage = TrainedStage(package, package.card.networks[0], Hardware("cpu", precision))
    loaded = time.perf_counter()
    stage.pancreas_on_box(volume, box, Progress())
    first = time.perf_counter()
    moved = Box(tuple(a + 5 for a in box.start), tuple(b + 5 for b in box.stop)).clip(volume.geometry)  # type: ignore[arg-type]
    stage.pancreas_on_box(volume, moved, Progress())
    end = time.perf_counter()
    return {
        "loading": loaded - started,
        "box": first - loaded,
        "moved box": end - first,
        "peak MB": _peak(),
        "threads": torch.get_num_threads(),
    }


def originals(folder: Path, work: Path) -> dict[str, float]:
    """Seconds and memory that nnU-Net's predictor takes for the whole CT, file reading left out."""
    volume = read_volume(_data() / "ct.nii.gz")
    np.savez(work / "ct.npz", array=volume.array, spacing=volume.geometry.spacing[::-1])
    step = 0.8 if "TotalSegmentator" in str(folder) else 0.5
    job = {"job": "predict", "folder": str(folder), "ct": "ct.npz", "output": "out.npz", "step": step}
    (work / "jobs.json").write_text(json.dumps([job]))
    started = time.perf_counter()
    process = subprocess.Popen(
        [ROOT / ".venv-originals" / "bin" / "python", "-m", "Testing.originals.nnunet", str(work)],
        cwd=ROOT,
        env={**os.environ, "TORCH_COMPILE_DISABLE": "1", "PYTHONPATH": str(ROOT / "PancreasSeg")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the original ended with {process.returncode}")
    return {"whole CT": time.perf_counter() - started, "peak MB": used.ru_maxrss / 1000}


def main() -> int:
    """One table; or, in a process of its own, one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plan", choices=tuple(PLANS), action="append", help="which (default: all)")
    parser.add_argument("--precision", choices=("f32", "bf16"), action="append", help="which (default: both)")
    parser.add_argument("--originals", action="store_true", help="also nnU-Net on the whole CT: minutes and gigabytes")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(ours(options.one, options.precision[0])))
        return 0
    rows = []
    for name in options.plan or PLANS:
        with tempfile.TemporaryDirectory() as work:
            folder = write(Path(work), name)
            for precision in options.precision or ("f32", "bf16"):
                command = [
                    sys.executable,
                    "-m",
                    "Testing.public_model_timings",
                    "--one",
                    folder,
                    "--precision",
                    precision,
                ]
                done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=True)
                rows += _rows(f"{name}, ours, {precision}", json.loads(done.stdout))
            if options.originals:
                rows += _rows(f"{name}, nnU-Net's predictor", originals(folder, Path(work)))
    console.show_table("Networks of full size", ("", "", "value"), rows)
    return 0


def _rows(what: str, figures: dict[str, float]) -> list[tuple[str, str, str]]:
    return [(what, name, f"{value:.2f}" if value < 100 else f"{value:.0f}") for name, value in figures.items()]


def _data() -> Path:
    return Path(os.environ.get("PANCREASSEG_TEST_DATA") or ROOT.parent / "shared") / REAL


def _box(geometry: Any) -> Box:
    """The pancreas of the reference, with a margin."""
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(_data() / "obelisk_reference.nii.gz")))
    found = Box.of_mask(labels == 2)
    assert found is not None
    return found.grow(MARGIN_MM, geometry)


def _peak() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    sys.exit(main())

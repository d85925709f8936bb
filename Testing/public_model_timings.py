"""Networks of full size, with random weights, in the pancreas's box of the real CT, beside the originals.

    python -m Testing.public_model_timings [--plan NAME] [--precision f32|bf16] [--threads N] [--originals]

The real CT is that of PANCREASSEG_TEST_DATA; the box is the pancreas of its reference, 10 mm around. Each measurement
is a process of its own, so that its peak of memory is its own. The originals get the same file: nnU-Net's predictor the
whole CT, TotalSegmentator what its users ask of it. On a machine that has other things to do, compare the processor's
seconds, and with one thread, which waits for no other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from Testing.helpers import nnunet_folders as folders
from Testing.originals import environment

from pancreasseg.cli import console
from pancreasseg.core import Box, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.io.read import read_volume

ROOT = Path(__file__).resolve().parents[1]
REAL = Path("data") / "ircadb17"
MARGIN_MM = 10.0
MOVED = 5
PANCREAS = 7
WIDTHS = (32, 64, 128, 256, 320, 320)
_HALVED = ((1, 1, 1), *((2, 2, 2),) * 5)


@dataclass(frozen=True)
class Full:
    """A network as people use it.

    Attributes:
        data: name of the data set; of TotalSegmentator's also the folder in which its own code looks.
        patch, spacing: along z, y, x.
        strides, kernels: of every stage.
        classes: background included.
        trainer: of the result folder.
    """

    data: str
    patch: tuple[int, int, int]
    spacing: tuple[float, float, float]
    strides: tuple[tuple[int, int, int], ...]
    classes: int
    kernels: tuple[tuple[int, int, int], ...] = ()
    trainer: str = "nnUNetTrainer_4000epochs_NoMirroring"


PLANS = {
    "1.5 mm": Full(
        "Dataset291_TotalSegmentator_part1_organs_1559subj", (128, 128, 128), (1.5,) * 3, _HALVED, 25,
        trainer="nnUNetTrainerNoMirroring",
    ),
    "3 mm": Full("Dataset297_TotalSegmentator_total_3mm_1559subj", (112, 112, 128), (3.0,) * 3, _HALVED[:5], 118),
    "6 mm": Full("Dataset298_TotalSegmentator_total_6mm_1559subj", (96, 96, 96), (6.0,) * 3, _HALVED[:5], 118),
    "Task07": Full(
        "Dataset007_Pancreas", (40, 224, 224), (2.5, 0.8, 0.8),
        ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)), 3,
        kernels=((1, 3, 3), *((3, 3, 3),) * 5), trainer="nnUNetTrainer",
    ),
}  # fmt: skip
PRECISIONS = ("f32", "bf16")
PEAK = "peak MB"
REMARK = f"Public networks: random weights, in the box of the pancreas and {MARGIN_MM:.0f} mm around; one run each."
NO_CT = "Public networks were not timed: the real CT is not here, see PANCREASSEG_TEST_DATA."
#: What is timed unless asked otherwise; the 6 mm network is only TotalSegmentator's own localizer.
TIMED = ("1.5 mm", "3 mm", "Task07")

Figures = dict[str, float]


def described(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """plans.json and dataset.json of a network."""
    full = PLANS[name]
    given = folders.plans(
        full.patch, full.spacing, channels=WIDTHS[: len(full.strides)], strides=full.strides,
        kernels=full.kernels or None, reader="NibabelIOWithReorient",
    )  # fmt: skip
    arguments = given["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["n_conv_per_stage_decoder"] = [2] * (len(full.strides) - 1)
    labels = {"background": 0, **{f"organ {n}": n for n in range(1, full.classes)}}
    index = min(PANCREAS, full.classes - 1)
    labels = {("pancreas" if value == index else key): value for key, value in labels.items()}
    return given, {**folders.DATASET, "labels": labels}


def write(root: Path, name: str) -> Path:
    """The result folder of a network of ours, with random weights."""
    given, dataset = described(name)
    full = PLANS[name]
    folder = folders.write_result(root, given, dataset, data=full.data, outputs=full.classes)
    return folder.rename(folder.with_name(f"{full.trainer}__nnUNetPlans__3d_fullres"))


def ours(folder: Path, precision: str) -> Figures:
    """From CT and box to probabilities on the CT's grid: the first time, and the box moved (warm)."""
    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.models.nnunet.choices import Choices
    from pancreasseg.models.nnunet.package import write_result
    from pancreasseg.pipelines.trained_stage import TrainedStage

    volume = read_volume(_data() / "ct.nii.gz")
    box = _box(volume)
    package = write_result(folder, folder.parent / "package", Choices(name="timed", role="segmenter"))
    figures: Figures = {}
    with _timed(figures, "loading"):
        stage = TrainedStage(package, package.card.networks[0], Hardware("cpu", precision))
    with _timed(figures, "box"):
        stage.pancreas_on_box(volume, box, Progress())
    moved = Box(*(tuple(n + MOVED for n in corner) for corner in (box.start, box.stop)))  # type: ignore[arg-type]
    with _timed(figures, "moved box"):
        stage.pancreas_on_box(volume, moved.clip(volume.geometry), Progress())
    return {**figures, PEAK: _peak()}


def localizer(_folder: Path, precision: str) -> Figures:
    """The bundled model's way to the box, on the same CT: the second time, when it is loaded."""
    from pancreasseg.core.setup import Setup
    from pancreasseg.pipelines import create

    volume = read_volume(_data() / "ct.nii.gz")
    pipeline = create(Setup(model="pancreas-ct", device="cpu", precision=precision))
    pipeline.localize(volume)
    figures: Figures = {}
    with _timed(figures, "localizing"):
        pipeline.localize(volume)
    return {**figures, PEAK: _peak()}


def original(job: dict[str, Any], threads: int, work: Path) -> Figures:
    """What an original takes; see `Testing.originals.timed`."""
    (work / "timed.json").write_text(json.dumps(job))
    program = [ROOT / ".venv-originals" / "bin" / "python", "-m", "Testing.originals.timed", work, str(threads)]
    settings = {"TORCH_COMPILE_DISABLE": "1", "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT / "PancreasSeg")}
    done = subprocess.run(
        [*map(str, program)], cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"the original ended with {done.returncode}: {done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def beside(name: str, threads: int, work: Path) -> Iterator[tuple[str, Figures]]:
    """The originals of a plan, each with what it was asked for; the networks are those that nnU-Net builds."""
    full = PLANS[name]
    _make(work, [name, "6 mm"] if name == "1.5 mm" else [name])
    ct = str((_data() / "ct.nii.gz").resolve())
    if name == "1.5 mm":
        mask = sitk.ReadImage(str(_data() / "obelisk_reference.nii.gz")) == 2
        sitk.WriteImage(mask, str(work / "pancreas.nii.gz"))
        job = {"job": "totalsegmentator", "weights": "weights", "ct": ct, "pancreas": "pancreas.nii.gz"}
        yield 'TotalSegmentator, roi_subset=["pancreas"]', original(job, threads, work)
    if name == "3 mm":  # nnU-Net's predictor would resample 118 maps of the whole CT: 16 GB
        job = {"job": "totalsegmentator", "weights": "weights", "ct": ct, "fast": True}
        yield "TotalSegmentator, fast", original(job, threads, work)
        return
    volume = read_volume(_data() / "ct.nii.gz")
    np.savez(work / "ct.npz", array=volume.array, spacing=volume.geometry.spacing[::-1])
    step = 0.8 if "TotalSegmentator" in full.data else 0.5
    job = {"job": "nnunet", "folder": _place(name), "ct": "ct.npz", "step": step}
    yield "nnU-Net's predictor, whole CT", original(job, threads, work)


def _make(work: Path, names: list[str]) -> None:
    """Result folders of networks that nnU-Net built."""
    jobs = []
    for name in names:
        plans, dataset = described(name)
        facts = {"plans": plans, "dataset": dataset, "configuration": "3d_fullres", "folds": [0]}
        jobs.append({"job": "make", "folder": _place(name), **facts})
    (work / "jobs.json").write_text(json.dumps(jobs))
    environment.run("nnunet", work, timeout=3600)


def _place(name: str) -> str:
    full = PLANS[name]
    return f"weights/{full.data}/{full.trainer}__nnUNetPlans__3d_fullres"


def available() -> bool:
    """Whether the real CT is here."""
    return (_data() / "ct.nii.gz").is_file()


def measure(
    plans: Sequence[str] = TIMED,
    precisions: Sequence[str] = PRECISIONS,
    threads: int | None = None,
    *,
    originals: bool,
    show: Callable[[str, Figures], None],
) -> None:
    """Time everything that is asked for, and show each as it comes.

    Args:
        plans: names in `PLANS`.
        precisions: of ours; the originals compute in f32.
        threads: one a core by default.
        originals: time them too.
        show: gets what was timed, and seconds and megabytes by name.
    """
    threads = threads or len(os.sched_getaffinity(0))
    for name in plans:
        with tempfile.TemporaryDirectory(prefix="pancreasseg-models-") as work:
            folder = write(Path(work) / "ours", name)
            for precision in precisions:
                show(f"{name}, ours in the box, {precision}", _apart("ours", folder, precision, threads))
            if originals:
                for what, figures in beside(name, threads, Path(work)):
                    show(f"{name}, {what}, f32", figures)
    for precision in precisions:
        show(f"the bundled localizer, {precision}", _apart("localizer", Path(), precision, threads))


def main() -> int:
    """One table; or, in a process of its own, one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plan", choices=TIMED, action="append", help="which (default: all)")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="which (default: both)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument("--originals", action="store_true", help="also the originals: minutes and gigabytes")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        import torch

        torch.set_num_threads(options.threads)
        what = {"ours": ours, "localizer": localizer}[options.one[0]]
        print(json.dumps(what(Path(options.one[1]), options.precision[0])))
        return 0
    rows: list[tuple[str, str, str]] = []

    def show(what: str, figures: Figures) -> None:
        rows.extend((what, name, f"{value:.2f}" if value < 100 else f"{value:.0f}") for name, value in figures.items())
        console.say(f"{what}: {figures}")

    if not available():
        raise SystemExit(NO_CT)
    chosen = options.plan or TIMED, options.precision or PRECISIONS
    measure(*chosen, options.threads, originals=options.originals, show=show)
    console.show_table(f"Networks of full size, {options.threads} threads", ("", "seconds", "value"), rows)
    return 0


def _apart(what: str, folder: Path, precision: str, threads: int) -> Figures:
    """One measurement in a process of its own."""
    program = [sys.executable, "-m", "Testing.public_model_timings", "--one", what, folder]
    options = ["--precision", precision, "--threads", threads]
    settings = {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [*map(str, [*program, *options])], cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    figures: Figures = json.loads(done.stdout)
    return figures


@contextmanager
def _timed(figures: Figures, what: str) -> Iterator[None]:
    """Seconds on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    figures[what] = time.perf_counter() - clock
    figures[f"{what}, of the processor"] = time.process_time() - processor


def _data() -> Path:
    return Path(os.environ.get("PANCREASSEG_TEST_DATA") or ROOT.parent / "shared") / REAL


def _box(volume: Volume) -> Box:
    """The pancreas of the reference, with a margin."""
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(_data() / "obelisk_reference.nii.gz")))
    found = Box.of_mask(labels == 2)
    assert found is not None
    return found.grow(MARGIN_MM, volume.geometry)


def _peak() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    sys.exit(main())

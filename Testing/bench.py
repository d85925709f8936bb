"""How fast and how large: a table of medians, cold and warm, on a 512 x 512 x 119 CT.

    python -m Testing.bench [--ct FILE_OR_FOLDER] [--model NAME] [--repeats N] [--only PART] [--originals] [--json]

The CT is the real one of PANCREASSEG_TEST_DATA (or ../shared) where it is there, else a phantom of the same size. How
fast the recipes train is measured too, see `Testing.training_timings`, and a cohort of 1,000 small CTs on two workers
of which three are killed, see `Testing.cohort_timings`. Networks of full size as people fetch them run in a box of the
real CT, and with ``--originals`` beside those who made them, see `Testing.public_model_timings`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import SimpleITK as sitk
from Testing import cohort_timings, panel_timings, public_model_timings, scene_timings, training_timings

from pancreasseg.cli import console
from pancreasseg.core import Box, Volume
from pancreasseg.core.results import Segmentation
from pancreasseg.core.setup import Setup
from pancreasseg.grids.resample import to_image
from pancreasseg.io.read import read_volume
from pancreasseg.phantom import make_phantom
from pancreasseg.worker.client import WorkerClient

ROOT = Path(__file__).resolve().parents[1]
MODEL = "pancreas-ct"
REAL = Path("data") / "ircadb17"
PHANTOM_SIZE, PHANTOM_SPACING = (512, 512, 119), (0.743, 0.743, 1.6)
#: The moved box: the localizer's, shifted by so many voxels.
SHIFT = (6, -4, 2)
PARTS = ("run", "models", "training", "cohort")
SECONDS, MEGABYTES, SHARE, RATE, PERCENT = "s", "MB", "", "/ s", "%"


@dataclass
class Table:
    """Rows of repeated figures."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def add(self, row: str, value: float, unit: str = SECONDS) -> None:
        """One more figure of a row."""
        self.figures.setdefault(row, []).append(value)
        self.units[row] = unit

    @contextmanager
    def timed(self, row: str) -> Iterator[None]:
        """Add the seconds that the block takes."""
        started = time.perf_counter()
        yield
        self.add(row, time.perf_counter() - started)

    def rows(self) -> list[dict[str, Any]]:
        """Median, smallest and largest of every row."""
        return [
            {"row": row, "median": median(v), "min": min(v), "max": max(v), "runs": len(v), "unit": self.units[row]}
            for row, v in self.figures.items()
        ]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ct", type=Path, help="a CT file or DICOM folder instead of the usual one")
    parser.add_argument("--model", default=MODEL, help=f"an installed model (default: {MODEL})")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each measurement (default: 5)")
    parser.add_argument("--only", choices=PARTS, help="leave out the other parts")
    parser.add_argument("--originals", action="store_true", help="nnU-Net and TotalSegmentator too: half an hour")
    parser.add_argument("--cts", type=int, default=1000, help="CTs of the cohort (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    table = Table()
    facts: dict[str, Any] = {"machine": _machine()}
    remarks: list[str] = []
    if options.only in (None, "run"):
        size, remarks = _running(table, options)
        facts |= {"ct": f"{size} voxels", "model": options.model}
    if options.only in (None, "models"):
        remarks += _models(table, originals=options.originals)
    if options.only in (None, "training"):
        remarks += _training(table)
    if options.only in (None, "cohort"):
        for row, (value, unit) in cohort_timings.timings(options.cts).items():
            table.add(row, value, unit)
    _print(table, facts, options, remarks)
    return 0


def _running(table: Table, options: argparse.Namespace) -> tuple[str, list[str]]:
    """Reading, segmenting, the scene and the panel. Returns the CT's size and remarks for below the table."""
    with tempfile.TemporaryDirectory(prefix="pancreasseg-bench-") as name:
        inputs = _inputs(options.ct, Path(name))
        ct = next(iter(inputs.values()))
        for what, path in inputs.items():
            for _ in range(options.repeats):
                with table.timed(f"reading, {what}"):
                    volume = read_volume(path)
        _cold(table, ct, options, Path(name) / "out")
        remarks = _warm(table, volume, options)
    for row, seconds in scene_timings.timings(options.repeats).items():
        for value in seconds:
            table.add(f"scene, 512 x 512 x 240: {row}", value)
    for row, seconds in panel_timings.timings(options.repeats, volume).items():
        for value in seconds:
            table.add(f"panel: {row}", value)
    return " x ".join(str(n) for n in volume.geometry.size), remarks


def _models(table: Table, *, originals: bool) -> list[str]:
    """Networks of full size in a box of the real CT. Returns remarks for below the table."""
    if not public_model_timings.available():
        return [public_model_timings.NO_CT]

    def show(what: str, figures: public_model_timings.Figures) -> None:
        for name, value in figures.items():
            unit = MEGABYTES if name == public_model_timings.PEAK else SECONDS
            table.add(f"{what}: {name}", value, unit)

    public_model_timings.measure(originals=originals, show=show)
    return [public_model_timings.REMARK]


def _training(table: Table) -> list[str]:
    """Every recipe for a few steps. Returns remarks for below the table."""
    measured, estimate = training_timings.timings()
    for timing in measured:
        name = f"training {timing.recipe}, {timing.role}, {timing.precision}"
        table.add(f"{name}: samples", timing.samples_per_second, RATE)
        table.add(f"{name}: waiting for data", 100 * timing.waiting, PERCENT)
    return [training_timings.REMARK, estimate]


def _inputs(chosen: Path | None, folder: Path) -> dict[str, Path]:
    """What to read, by the name of its format; the first is what is segmented."""
    if chosen is not None:
        return {chosen.name: chosen}
    data = Path(os.environ.get("PANCREASSEG_TEST_DATA") or ROOT.parent / "shared") / REAL
    if data.is_dir():
        zipfile.ZipFile(data / "dicom.zip").extractall(folder / "dicom")
        return {"NIfTI (real CT)": data / "ct.nii.gz", "DICOM folder (real CT)": folder / "dicom"}
    console.say("No real CT: making a phantom of its size ...")
    phantom = make_phantom(1, size=PHANTOM_SIZE, spacing=PHANTOM_SPACING)
    sitk.WriteImage(to_image(phantom.volume.array, phantom.volume.geometry), str(folder / "phantom.nii.gz"))
    return {"NIfTI (phantom)": folder / "phantom.nii.gz"}


def _cold(table: Table, ct: Path, options: argparse.Namespace, out: Path) -> None:
    """The command line as a new process: from file to all results."""
    command = [sys.executable, "-m", "pancreasseg", "segment", str(ct), "--output", str(out), "--model", options.model]
    for _ in range(options.repeats):
        started = time.perf_counter()
        with (out.parent / "told").open("wb") as told:
            process = subprocess.Popen([*command, "--json"], stdout=told)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            raise SystemExit(process.returncode)
        table.add("cold: pancreasseg segment, new process", seconds)
        table.add("cold: peak memory", used.ru_maxrss / 1000, MEGABYTES)
        stages = json.loads((out / "result.json").read_text(encoding="utf-8"))["timings"]
        for stage, share in stages.items():
            table.add(f"cold: of which {stage}", share)
        table.add("cold: of which starting and writing", seconds - sum(stages.values()))


def _warm(table: Table, volume: Volume, options: argparse.Namespace) -> list[str]:
    """The worker: started, loaded, then one click after the other. Returns remarks for below the table."""
    masks: dict[str, np.ndarray] = {}
    with WorkerClient() as client:
        with table.timed("worker: start until ready"):
            facts = client.wait(client.hello())
        auto = facts["device"]["precision"]
        for precision in dict.fromkeys([auto, "f32", "bf16"] if facts["device"]["device"] == "cpu" else [auto, "f32"]):
            masks[precision] = _clicks(table, client, volume, options, precision, first=precision == auto).mask
        table.add("worker: peak memory", _peak_mb(client.pid or 0), MEGABYTES)
        result = client.wait(client.segment(setup=Setup(model=options.model)))
        _agreement(table, client, list(masks))
    for precision in masks:
        if precision != "f32":
            table.add(f"DSC of {precision} against f32", _dsc(masks[precision], masks["f32"]), SHARE)
    remarks = [f"{facts['device']['name']}; 'auto' is {auto}; torch {facts['versions']['torch']}"]
    return remarks + [f"{finding.severity.value}: {finding.sentence}" for finding in result.findings]


def _agreement(table: Table, client: WorkerClient, precisions: list[str]) -> None:
    """The bundled model in every precision on a phantom, which it knows; on a real CT it only guesses."""
    _load(client, make_phantom(1).volume)
    masks = {p: client.wait(client.segment(setup=Setup(model=MODEL, precision=p))).mask for p in precisions}
    for precision in precisions:
        if precision != "f32":
            table.add(
                f"DSC of {precision} against f32, {MODEL} on a phantom", _dsc(masks[precision], masks["f32"]), SHARE
            )


def _clicks(
    table: Table, client: WorkerClient, volume: Volume, options: argparse.Namespace, precision: str, *, first: bool
) -> Segmentation:
    """What a person does with one CT, in one precision."""
    setup = Setup(model=options.model, precision=precision)
    _load(client, volume)
    with table.timed(f"worker: first click, {precision}"):
        client.wait(client.segment(setup=setup))
    for _ in range(options.repeats):
        loading = time.perf_counter()
        _load(client, volume)
        if first:
            table.add("worker: loading a CT", time.perf_counter() - loading)
        with table.timed(f"warm run: localize and segment, {precision}"):
            result: Segmentation = client.wait(client.segment(setup=setup))
        for stage, seconds in result.timings.items():
            table.add(f"warm run: of which {stage}, {precision}", seconds)
        box = client.wait(client.localize(setup=setup)).box
        moved = Box(
            tuple(a + s for a, s in zip(box.start, SHIFT, strict=True)),  # type: ignore[arg-type]
            tuple(b + s for b, s in zip(box.stop, SHIFT, strict=True)),  # type: ignore[arg-type]
        )
        with table.timed(f"moved box, {precision}"):
            client.wait(client.segment(moved, setup=setup))
    return result


def _load(client: WorkerClient, volume: Volume) -> None:
    client.wait(client.load(volume.array, volume.geometry))


def _dsc(one: np.ndarray, other: np.ndarray) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int(np.logical_and(one, other).sum()) / total if total else 1.0


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def _machine() -> str:
    """Processor, cores and memory of this computer."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB, {platform.system()} {platform.release()}"


def _print(table: Table, facts: dict[str, Any], options: argparse.Namespace, remarks: list[str]) -> None:
    if options.json:
        console.show_json({**facts, "remarks": remarks, "figures": table.rows()})
        return
    rows = [
        (r["row"], *(_text(r[key]) for key in ("median", "min", "max")), r["unit"], r["runs"]) for r in table.rows()
    ]
    title = ", ".join(facts[key] for key in ("ct", "model") if key in facts) or options.only
    console.show_table(title, ("", "median", "min", "max", "unit", "runs"), rows)
    console.show(facts["machine"])
    for remark in remarks:
        console.show(remark)


def _text(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())

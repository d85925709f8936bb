"""A cohort on workers of which some are killed: is every case there once, does memory stay flat, how fast is it?

    python -m Testing.cohort_timings [--cts N] [--plain N] [--workers N] [--kills N]

CTs are a few small phantoms over and over. The model is the tests' own, which calls every bright voxel pancreas: most
of a case's time goes into reading, writing and drawing, which is where a cohort's own costs would show. The pace is
counted from the first result to the last, so that neither side's start counts.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import SimpleITK as sitk
from Testing.helpers.bright_model import write_bright_model

from pancreasseg.batch.record import RECORD
from pancreasseg.batch.table import TABLE
from pancreasseg.core import Geometry
from pancreasseg.grids.resample import to_image

KINDS = 8  # different phantoms
_GRID = Geometry((40, 36, 24), (4.0, 4.0, 7.0))
_LOOK_EVERY_SECONDS = 0.5
_CHANCE = np.random.default_rng()
_WARM = 0.2  # of a process's life, before its memory counts


@dataclass
class Watched:
    """What was seen while a command ran.

    Attributes:
        memory: MB by process, as it went; the command's own first.
        killed: how many workers were.
    """

    memory: dict[int, list[float]] = field(default_factory=dict)
    killed: int = 0

    def growth(self, pid: int) -> float:
        """MB between the middle of the warm time of a process and its end."""
        seen = self.memory[pid]
        warm = seen[int(_WARM * len(seen)) :]
        quarter = max(1, len(warm) // 4)
        return median(warm[-quarter:]) - median(warm[:quarter])


def timings(cts: int = 1000, plain: int = 100, workers: int = 2, kills: int = 3) -> Mapping[str, tuple[float, str]]:
    """Run both ways.

    Returns:
        Figures by their words, with their units.

    Raises:
        RuntimeError: a case was lost, came twice or failed.
    """
    with tempfile.TemporaryDirectory(prefix="pancreasseg-cohort-") as name:
        folder = Path(name)
        write_bright_model(folder / "home")
        inputs = make_cts(folder / "cts", cts)
        few = folder / "few.csv"
        few.write_text("path\n" + "\n".join(str(path) for path in inputs[:plain]) + "\n")
        many, seen = _run(folder, "many", [folder / "cts", "--workers", workers], cts, kills)
        one, _ = _run(folder, "one", [few], plain, 0)
        page = (folder / "many" / "report.html").stat().st_size
    own, *others = seen.memory
    longest = max(others, key=lambda pid: len(seen.memory[pid]))
    return {
        f"cohort of {cts}: cases a minute on {workers} workers": (many, "/ min"),
        "cohort: cases a minute one after the other": (one, "/ min"),
        f"cohort: {workers} workers against one after the other": (many / one, "x"),
        "cohort: workers killed": (seen.killed, ""),
        "cohort: memory of the longest worker": (max(seen.memory[longest]), "MB"),
        "cohort: its growth once warm": (seen.growth(longest), "MB"),
        "cohort: memory of the command": (max(seen.memory[own]), "MB"),
        "cohort: its growth once warm, the command": (seen.growth(own), "MB"),
        "cohort: page": (page / 1e6, "MB"),
    }


def make_cts(folder: Path, count: int) -> list[Path]:
    """So many CTs: `KINDS` phantoms, linked under new names."""
    folder.mkdir(parents=True)
    paths = [folder / f"ct-{number:04d}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        if number < KINDS:
            sitk.WriteImage(to_image(_phantom(number), _GRID), str(path))
        else:
            os.link(paths[number % KINDS], path)
    return paths


def _phantom(number: int) -> np.ndarray:
    k, j, i = np.ogrid[:24, :36, :40]
    body = ((i - 20) / 18) ** 2 + ((j - 17) / 15) ** 2 < 1
    organ = ((i - 21) / (5 + 0.4 * number)) ** 2 + ((j - 15) / 4) ** 2 + ((k - 12) / (2 + 0.2 * number)) ** 2 < 1
    hu = np.where(body & (k >= 0), 40, -1000) + np.where(organ, 140, 0)
    return (hu + np.random.default_rng(number).normal(0, 6, hu.shape)).astype(np.int16)


def _run(folder: Path, name: str, words: list[object], count: int, kills: int) -> tuple[float, Watched]:
    """Cases a minute of one command, and what was seen."""
    output = folder / name
    command = [sys.executable, "-m", "pancreasseg", "batch", *map(str, words), "--output", str(output), "--json"]
    environment = {**os.environ, "PANCREASSEG_HOME": str(folder / "home")}
    with (folder / f"{name}.json").open("wb") as answer, (folder / f"{name}.txt").open("wb") as said:
        process = subprocess.Popen(command, stdout=answer, stderr=said, env=environment)
        seen = _watch(process, output, sorted(_CHANCE.uniform(0.05, 0.95, kills) * count))
    if (output / TABLE).exists():
        _check(output, count)
    if process.returncode:
        raise RuntimeError((folder / f"{name}.txt").read_text(errors="replace")[-2000:])
    times = sorted(path.stat().st_mtime for path in output.glob(f"*/{RECORD}"))
    return 60 * (len(times) - 1) / (times[-1] - times[0]), seen


def _watch(process: subprocess.Popen[bytes], output: Path, moments: list[float]) -> Watched:
    seen = Watched()
    own = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(_LOOK_EVERY_SECONDS)
        with suppress(psutil.Error):
            workers = list(_workers(own))
            for one in (own, *workers):
                seen.memory.setdefault(one.pid, []).append(one.memory_info().rss / 1e6)
            done = sum(1 for _ in output.glob(f"*/{RECORD}"))
            if moments and done >= moments[0] and workers:
                workers[_CHANCE.integers(len(workers))].kill()
                moments.pop(0)
                seen.killed += 1
    return seen


def _workers(own: psutil.Process) -> Iterator[psutil.Process]:
    """The processes that work for a command: spawned by multiprocessing, and not its bookkeeper."""
    for child in own.children():
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                yield child


def _check(output: Path, count: int) -> None:
    with (output / TABLE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = Counter(row["ct"] for row in rows)
    failed = [f"{row['ct']}: {row['message']}" for row in rows if row["state"] != "done"]
    whole = sum(1 for _ in output.glob(f"*/{RECORD}"))
    if len(names) != count or max(names.values()) > 1 or failed or whole != count:
        raise RuntimeError(f"{count} cases, {len(rows)} rows, {len(names)} names, {whole} results, failed: {failed}")


def main(arguments: list[str] | None = None) -> int:
    """Run it alone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, number in (("cts", 1000), ("plain", 100), ("workers", 2), ("kills", 3)):
        parser.add_argument(f"--{name}", type=int, default=number, help=f"default: {number}")
    options = parser.parse_args(arguments)
    for words, (value, unit) in timings(options.cts, options.plain, options.workers, options.kills).items():
        print(f"{words:<55} {value:10.2f} {unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

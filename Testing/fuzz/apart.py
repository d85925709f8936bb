"""Runs a fuzz target on one seed after the other in a child process, with limits, and tells what became of each.

A target is a function ``(random, folder) -> str`` in the ``TARGETS`` of a module of this room. It makes one input from
the seeded generator, in an empty folder, and returns what became of it: "read" or "accepted", or the code of a clean
refusal. Whatever it raises instead is a crash, and so is a child that dies, hangs or takes too much memory.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

Target = Callable[[np.random.Generator, Path], str]
ACCEPTED = ("read", "accepted")
SECONDS_AN_INPUT = 20.0
BYTES_AN_INPUT = 3 << 30
_SECONDS_TO_START = 120.0
_HERE = Path(__file__).parent
_REFUSAL = re.compile(r"[a-z0-9][a-z0-9-]*|clean refusal")


@dataclass(frozen=True)
class Crash:
    """An input that was neither accepted nor cleanly refused."""

    seed: int
    what: str


@dataclass
class Tally:
    """What became of the inputs of one target."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashes: list[Crash] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.accepted + self.refused.total() + len(self.crashes)

    def add(self, seed: int, outcome: str, crash: str) -> None:
        if crash:
            self.crashes.append(Crash(seed, crash))
        elif outcome in ACCEPTED:
            self.accepted += 1
        else:
            self.refused[outcome] += 1


def targets() -> dict[str, str]:
    """All targets by name, as "module:name"; names are those of the ``TARGETS`` of the modules beside this one."""
    found = {}
    for file in sorted(_HERE.glob("*.py")):
        if "TARGETS" in file.read_text(encoding="utf-8") and file.stem not in ("apart", "__main__"):
            module = importlib.import_module(f"Testing.fuzz.{file.stem}")
            found.update({name: f"{module.__name__}:{name}" for name in module.TARGETS})
    return found


def fuzz(
    target: str,
    *,
    seed: int = 0,
    inputs: int | None = None,
    seconds: float = float("inf"),
    limit: float = SECONDS_AN_INPUT,
) -> Tally:
    """Try a target on the seeds from ``seed`` on, until ``inputs`` or ``seconds`` are used up.

    Args:
        target: "module:name".
        seed: the first one.
        inputs: how many at most.
        seconds: of the whole, starting the child apart.
        limit: seconds for one input.
    """
    tally, last = Tally(), sys.maxsize if inputs is None else seed + inputs
    stop = None
    while seed < last and (stop is None or time.monotonic() < stop):
        for outcome, crash in _in_child(target, seed, last, limit):
            stop = stop or time.monotonic() + seconds
            if outcome or crash:
                tally.add(seed, outcome, crash)
                seed += 1
            if time.monotonic() >= stop:
                break
    return tally


def run_one(target: Target, seed: int) -> tuple[str, str]:
    """The outcome of one seed, or what it crashed with."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            outcome = target(np.random.default_rng(seed), Path(folder))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "", f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
    if not isinstance(outcome, str) or not _REFUSAL.fullmatch(outcome):
        return "", "neither accepted nor the code of a refusal"
    return outcome, ""


def _in_child(target: str, first: int, end: int, limit: float) -> Iterator[tuple[str, str]]:
    """(outcome, crash) of each seed, both empty once the child is ready; ends with a seed that takes it along."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_serve, args=(theirs, target, first, end), daemon=True)
    child.start()
    theirs.close()
    patience = _SECONDS_TO_START
    try:
        for _ in range(first, end + 1):
            if not wait([ours], patience):
                yield "", f"no answer in {patience:g} s"
                return
            try:
                yield ours.recv()
            except (EOFError, OSError):
                child.join()
                yield "", f"process ended ({child.exitcode})"
                return
            patience = limit
    finally:
        child.kill()
        child.join()
        ours.close()


def _serve(pipe: Connection, target: str, first: int, end: int) -> None:
    module, _, name = target.partition(":")
    function: Target = importlib.import_module(module).TARGETS[name]
    _limit_memory()
    with open(os.devnull, "w") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 2)  # libraries that complain
    pipe.send(("", ""))
    for seed in range(first, end):
        pipe.send(run_one(function, seed))


def _limit_memory() -> None:
    """Let more than `BYTES_AN_INPUT` on top of what the libraries take be a MemoryError, and a crash no core file."""
    if sys.platform == "win32":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * resource.getpagesize() + BYTES_AN_INPUT
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

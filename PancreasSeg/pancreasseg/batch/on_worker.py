"""What a Dask worker does with a case: its pipeline stays in memory from one to the next.

Functions of this module are sent to workers by name, so the workers need the same PancreasSeg.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker

from pancreasseg.batch.apart import ModelsNotLoaded, too_late
from pancreasseg.batch.case import Case, Settings, run_case
from pancreasseg.batch.loop import row_of
from pancreasseg.batch.table import Row
from pancreasseg.core.errors import ModelError, PancreasSegError, RunError, explain
from pancreasseg.core.progress import Progress

if TYPE_CHECKING:
    from distributed import Worker

    from pancreasseg.pipelines.base import Pipeline


@dataclass(frozen=True)
class Job:
    """What every case of a cohort shares.

    Attributes:
        settings: as the person asked.
        identity: what they stand for where the command was given.
        threads: that a case may use; None for those of the worker.
        debug: print tracebacks where the worker's output goes.
        time_limit: seconds that one case may take, beside the loading of the models; None for any time.
    """

    settings: Settings
    identity: Mapping[str, Any]
    threads: int | None = None
    debug: bool = False
    time_limit: float | None = None


@dataclass(frozen=True)
class CaseOutcome:
    """What became of a case.

    Attributes:
        row: of the table; None when no case can be run.
        end: why not: kind, code, sentence and hint of the error.
    """

    row: Row | None = None
    end: tuple[type[PancreasSegError], str, str, str] | None = None


class WorkerLimits(WorkerPlugin):
    """Prepares a worker process of ours: numerical libraries get their threads, Ctrl-C is the parent's to handle.

    Args:
        threads: for each case.
    """

    name = "pancreasseg-limits"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's signature
        """Called in the process before it gets its first case."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
            os.environ[name] = str(self.threads)


def run_on_worker(case: Case, job: Job) -> CaseOutcome:
    """Run one case, or keep its earlier result; raises nothing, as Dask would log it with names in it."""
    try:
        return CaseOutcome(row_of(case, job.settings, job.identity, lambda it: _segment(it, job)))
    except Exception as error:
        if job.debug:
            traceback.print_exception(error)
        told = explain(error)
        return CaseOutcome(end=(type(told), told.code, told.message, told.hint))


_SECONDS_TO_TELL = 2.0
_HANDS = ThreadPoolExecutor(1, "case")
_ONE_AT_A_TIME = threading.Lock()  # a pipeline is no place for two threads
_WARM: dict[str, Pipeline] = {}


def _segment(case: Case, job: Job) -> dict[str, Any]:
    with _ONE_AT_A_TIME:
        pipeline = _pipeline(job)
        threads = job.threads or get_worker().state.nthreads

        def work() -> dict[str, Any]:
            _use_threads(threads)
            return run_case(case, job.settings, pipeline, Progress())

        return in_time(work, job.time_limit)


def in_time(work: Callable[[], dict[str, Any]], seconds: float | None) -> dict[str, Any]:
    """What ``work`` returns, done in a thread of its own.

    Native code that hangs cannot be stopped: when the time is over, the case is given up, and soon after, when that
    has been told, the process ends, which Dask replaces by a new one.

    Raises:
        RunError: the time is over.
    """
    done = _HANDS.submit(work)
    if wait([done], seconds).done:
        return done.result()
    threading.Timer(_SECONDS_TO_TELL, os._exit, (1,)).start()
    raise too_late(seconds or 0.0)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)  # each time, as OpenMP's count belongs to the calling thread


def _pipeline(job: Job) -> Pipeline:
    key = repr((job.settings, sorted(job.identity.items())))
    if key not in _WARM:
        _WARM.clear()
        try:
            _WARM[key] = _load(job)
        except Exception as error:
            raise ModelsNotLoaded(explain(error)) from error
    return _WARM[key]


def _load(job: Job) -> Pipeline:
    from pancreasseg import pipelines

    if job.settings.identity() != job.identity:
        raise ModelError(
            "models-differ",
            "A worker has another version of PancreasSeg, or other models, than the computer that gave the command.",
            "Install the same on all of them.",
        )
    return pipelines.create(job.settings.setup)


def error_of(end: tuple[type[PancreasSegError], str, str, str]) -> PancreasSegError:
    """The error that `CaseOutcome.end` tells."""
    kind, *words = end
    return kind(*words)


def killed(attempts: int) -> RunError:
    """The error of a case that ended its worker each time."""
    return RunError(
        "process-ended",
        f"The process that worked on this CT ended unexpectedly, {attempts} times.",
        "If memory ran out, use fewer workers; else the CT may be damaged: copy it again.",
    )

"""The Dask clusters that a cohort can run on: worker processes here, a scheduler that is there already, SLURM jobs.

Whoever reaches a Dask scheduler or worker can run code there, as Dask sends pickled functions. So processes here listen
on 127.0.0.1 alone; a scheduler of the user's own and SLURM jobs are as safe as the network between them.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pancreasseg.core.errors import InputError, RunError

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

LOOPBACK = "127.0.0.1"
SECONDS_TO_CONNECT = 10
_LEAST_MEMORY = 100_000_000
#: Of a worker's memory: at this share the nanny ends it, and its case is tried again.
_END_AT = 0.95
_SETTINGS = {
    # A worker keeps no data between cases: nothing can be spilled, and waiting for memory would wait for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": _END_AT,
    "distributed.scheduler.worker-saturation": 1.0,  # a case waits at the scheduler, not behind one that may crash
    "distributed.scheduler.allowed-failures": 1,
    # A worker that does not come back in this time is given up, and started anew from the beginning (`watch`).
    "distributed.deploy.lost-worker-timeout": "60s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.comm.timeouts.connect": f"{SECONDS_TO_CONNECT}s",
}
#: What SLURM options are called here, and in dask-jobqueue.
SLURM_OPTIONS = {
    "queue": "queue",
    "account": "account",
    "walltime": "walltime",
    "memory": "memory",
    "cores": "cores",
    "interface": "interface",
    "directive": "job_extra_directives",
    "prologue": "job_script_prologue",
}
_SLURM_SEVERAL = ("directive", "prologue")


@dataclass(frozen=True)
class Wanted:
    """Where a cohort is to run.

    Attributes:
        workers: how many processes or jobs; None for those that the scheduler has.
        scheduler: address of one that is there already.
        memory: of each worker here, such as "4GB"; None shares out what there is.
        slurm: options of the jobs by the names of `SLURM_OPTIONS`; None for no SLURM.
    """

    workers: int | None = None
    scheduler: str | None = None
    memory: str | None = None
    slurm: Mapping[str, Sequence[str]] | None = field(default=None)

    @property
    def threads(self) -> int | None:
        """That each case may use; None where only the worker knows."""
        if self.scheduler is not None or self.slurm is not None:
            return None
        return max(1, _cores() // (self.workers or 1))

    @property
    def here(self) -> bool:
        """Whether the workers are processes of this computer that the run starts and ends."""
        return self.scheduler is None and self.slurm is None


@contextmanager
def connected(wanted: Wanted) -> Iterator[Client]:
    """A client of the cluster; what the run started ends with it.

    Raises:
        RunError: Dask or dask-jobqueue is not installed, nothing answers at the address, or SLURM cannot be used.
        InputError: memory or SLURM options that make no sense.
    """
    try:
        import dask
        import distributed
    except ModuleNotFoundError as error:
        raise _not_installed("distributed") from error
    _silence()
    with dask.config.set(_SETTINGS):
        if wanted.scheduler is not None:
            with _at(wanted.scheduler) as client:
                yield client
            return
        with _started(wanted) as cluster, distributed.Client(cluster) as client:
            yield client


def _silence() -> None:
    """Dask's tracebacks are nothing for people; what matters of them becomes a row or a sentence."""
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _started(wanted: Wanted) -> Any:
    """The cluster of worker processes here, or of SLURM jobs."""
    if wanted.slurm is None:
        return _local(wanted)
    if shutil.which("sbatch") is None:
        raise RunError(
            "no-slurm", "There is no SLURM on this computer.", "Run the command where 'sbatch' works: on a login node."
        )
    cluster = slurm_cluster(wanted.slurm)
    cluster.scale(jobs=wanted.workers or 1)
    return cluster


def _local(wanted: Wanted) -> Any:
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    from pancreasseg.batch.on_worker import WorkerLimits

    threads = wanted.threads or 1
    if wanted.memory is not None:
        _check_memory(wanted.memory)
    return LocalCluster(
        n_workers=wanted.workers or 1,
        threads_per_worker=1,  # Dask's: a case at a time
        processes=True,
        host=LOOPBACK,
        dashboard_address=f"{LOOPBACK}:0",
        worker_dashboard_address=f"{LOOPBACK}:0",
        memory_limit=wanted.memory or MEMORY_LIMIT // (wanted.workers or 1),  # Dask's own share is by threads
        silence_logs=logging.CRITICAL,
        plugins=(WorkerLimits(threads),),
        env={"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
    )


def _check_memory(text: str) -> None:
    from dask.utils import parse_bytes

    try:
        enough = parse_bytes(text) >= _LEAST_MEMORY
    except ValueError:
        enough = False
    if not enough:
        raise InputError("bad-memory", f"{text!r} is not enough memory, or no amount of it.", "Write it like 4GB.")


@contextmanager
def _at(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        _knock(address)  # a client that reaches nobody says so for half a minute, and again when it is dropped
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(
            "no-scheduler",
            f"No Dask scheduler answers at {address}.",
            "Start one with 'dask scheduler', or check address and network.",
        ) from error
    with client:
        yield client


def _knock(address: str) -> None:
    """Wait until something takes connections at an address of Dask.

    Raises:
        OSError: nothing does within `SECONDS_TO_CONNECT`, or there is no such machine.
        ValueError, OverflowError: not an address of a form that Dask knows; no such port.
    """
    from distributed.comm.addressing import get_address_host_port

    host, port = get_address_host_port(address)
    ending = time.monotonic() + SECONDS_TO_CONNECT
    while True:
        try:
            socket.create_connection((host, port), SECONDS_TO_CONNECT).close()
        except ConnectionRefusedError:
            if time.monotonic() > ending:
                raise
            time.sleep(0.2)  # it may be starting
        else:
            return


def slurm_cluster(options: Mapping[str, Sequence[str]]) -> SLURMCluster:
    """A cluster without jobs yet; its ``job_script()`` is what each job runs.

    Args:
        options: values by the names of `SLURM_OPTIONS`; "directive" and "prologue" may have several.

    Raises:
        RunError: dask-jobqueue is not installed.
        InputError: an option that is unknown or makes no sense.
    """
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ModuleNotFoundError as error:
        raise _not_installed("dask-jobqueue") from error
    return SLURMCluster(
        processes=1,  # a case at a time, with all cores of the job
        nanny=True,
        scheduler_options={"dashboard_address": f"{LOOPBACK}:0"},
        silence_logs=logging.CRITICAL,
        **_slurm_arguments(options),
    )


def _slurm_arguments(options: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    unknown = next((name for name in options if name not in SLURM_OPTIONS), None)
    if unknown is not None:
        raise InputError(
            "bad-slurm-option", f"There is no SLURM option {unknown!r} here.", f"Choose {', '.join(SLURM_OPTIONS)}."
        )
    given: dict[str, Any] = {"cores": "4", "memory": "16GB", "walltime": "04:00:00"}
    for name, values in options.items():
        given[name] = list(values) if name in _SLURM_SEVERAL else values[-1]
    if not str(given["cores"]).isdecimal() or int(given["cores"]) < 1:
        raise InputError("bad-slurm-option", "The number of cores is no number.", "Write it like cores=4.")
    _check_memory(given["memory"])
    given["cores"] = int(given["cores"])
    threads = [f"export {name}={given['cores']}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    given["prologue"] = [*threads, *given.get("prologue", [])]
    return {SLURM_OPTIONS[name]: value for name, value in given.items()}


def _not_installed(package: str) -> RunError:
    return RunError(
        "package-missing",
        f"The Python package {package} is not installed, which runs cohorts on several workers.",
        "Install it with: pip install 'pancreasseg[cohort]'",
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)

"""Whether a cluster is still there, and its workers with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from distributed import Client

from pancreasseg.core.errors import RunError

TICK_SECONDS = 1.0
#: Without a worker, where workers are ours to start.
PATIENCE_SECONDS = 120.0


class Watch:
    """Looks after the workers, once a second.

    Args:
        client: of the cluster.
        waiting: told how many workers there are.
        patience: seconds to wait for a worker while there is none; None for ever.
    """

    def __init__(self, client: Client, waiting: Callable[[int], object], patience: float | None) -> None:
        self._client = client
        self._waiting = waiting
        self._patience = patience
        self._cluster = client.cluster  # ours, or None
        self._wanted = 0 if self._cluster is None else len(self._cluster.worker_spec)
        self._looked = -math.inf
        self._last_seen = time.monotonic()

    def look(self) -> None:
        """Start what is missing; raise a RunError when the scheduler has gone, or no worker has come for too long."""
        now = time.monotonic()
        if now - self._looked < TICK_SECONDS:
            return
        self._looked = now
        try:
            workers = len(self._client.nthreads())
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise scheduler_lost() from error
        self._waiting(workers)
        if workers < self._wanted:
            self._cluster.scale(self._wanted)  # a nanny restarts its worker, but may itself have been given up
        if workers:
            self._last_seen = now
        elif self._patience is not None and now - self._last_seen > self._patience:
            raise RunError(
                "no-workers",
                "No worker process comes up.",
                "Free some memory, or use fewer workers; the same command then continues.",
            )


def scheduler_lost() -> RunError:
    """The error of a run whose scheduler is no more."""
    return RunError(
        "scheduler-lost",
        "The Dask scheduler does not answer any more.",
        "Start it again; the same command then continues where it was.",
    )

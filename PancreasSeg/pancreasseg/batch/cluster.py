"""All CTs on a Dask cluster; whatever happens to a worker, every case gets its row once."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

from distributed import Client, Future, KilledWorker

from pancreasseg.batch.case import Case
from pancreasseg.batch.inputs import printable
from pancreasseg.batch.loop import stale_words
from pancreasseg.batch.on_worker import CaseOutcome, Job, error_of, killed, run_on_worker
from pancreasseg.batch.table import LiveTable, Row, failed_row, write_table
from pancreasseg.batch.watch import PATIENCE_SECONDS, TICK_SECONDS, Watch, scheduler_lost
from pancreasseg.core.errors import RunError

#: What may have had nothing to do with the CT, but with what else ran at the time: tried again, by itself.
_PASSING = frozenset({"process-ended", "out-of-memory", "unexpected", "file-unreadable"})

Task = Callable[[Case, Job], CaseOutcome]


def run_on_cluster(
    cases: Sequence[Case],
    job: Job,
    client: Client,
    table: Path,
    *,
    retries: int = 1,
    task: Task = run_on_worker,
    waiting: Callable[[int], object] = str,
    patience: float | None = PATIENCE_SECONDS,
) -> Iterator[Row]:
    """Rows of the cases as they come, each once; the table, in the order of the cases, is written while they do.

    A case that ends its worker is tried again on another, by Dask itself; one that does so repeatedly, or failed for
    a reason that may pass, is tried again at the end, alone, so that it harms no other and no other harms it.

    Args:
        cases: in the order of the table.
        job: what they share.
        client: of the cluster.
        table: where the rows are written, as `loop.run_all` does.
        retries: how often a case is tried again at the end.
        task: what a worker does with a case.
        waiting: told once a second how many workers there are.
        patience: seconds to wait for a worker while there is none; None for ever.

    Raises:
        ModelError: the models cannot be loaded, so no case can be run.
        OutputError: the disk is full, or the table could not be written at the end.
        RunError: the scheduler has gone, or no worker comes up.
    """
    written = LiveTable(table, [case.name for case in cases], write_table)
    again: dict[str, Row] = {}
    watch = Watch(client, waiting, patience)
    try:
        for case, row in _once(cases, job, client, task, watch):
            if retries and row["code"] in _PASSING:
                again[case.name] = row
                continue
            written.add(row)
            yield row
        for case in cases:
            if case.name in again:
                row = _alone(case, again.pop(case.name), retries, lambda it: _once([it], job, client, task, watch))
                written.add(row)
                yield row
    except BaseException:
        for row in again.values():
            written.add(row)
        written.save()
        raise
    written.finish()


def _alone(case: Case, row: Row, retries: int, run: Callable[[Case], Iterator[tuple[Case, Row]]]) -> Row:
    for _ in range(retries):
        for _, now in run(case):
            row = now
        if row["code"] not in _PASSING:
            break
    return row


def _once(cases: Sequence[Case], job: Job, client: Client, task: Task, watch: Watch) -> Iterator[tuple[Case, Row]]:
    """Each case with its row, as they come."""
    come: queue.SimpleQueue[Future] = queue.SimpleQueue()
    # Keys show in logs and on the dashboard: they name no CT.
    futures = client.map(task, cases, job=job, pure=False, key="ct", retries=0)
    known = {future.key: case for future, case in zip(futures, cases, strict=True)}
    for future in futures:
        future.add_done_callback(come.put)
    del futures, future  # so that a case's future goes with its row
    try:
        while known:
            ended = _next(come, watch)
            yield known[ended.key], _row(known.pop(ended.key), ended)
    finally:
        if known:
            client.cancel([Future(key, client) for key in known], force=True)


def _next(come: queue.SimpleQueue[Future], watch: Watch) -> Future:
    while True:
        watch.look()
        with suppress(queue.Empty):
            return come.get(timeout=TICK_SECONDS)


def _row(case: Case, ended: Future) -> Row:
    try:
        outcome: CaseOutcome = ended.result()
    except KilledWorker as error:
        attempts = error.allowed_failures + 1
        return failed_row(case.name, printable(case.path), killed(attempts), stale_words(case))
    except (CancelledError, OSError) as error:
        raise scheduler_lost() from error
    except Exception as error:  # the worker could not even begin: another PancreasSeg, or none
        raise _cannot_run(error) from error
    if outcome.end is not None:
        raise error_of(outcome.end)
    assert outcome.row is not None  # noqa: S101 - it is one or the other
    return outcome.row


def _cannot_run(error: BaseException) -> RunError:
    return RunError(
        "worker-cannot-run",
        f"A worker could not run a case ({type(error).__name__}).",
        "Install the same PancreasSeg, with the same models, on all workers.",
    )

"""What a Dask worker does with a case, with no model in it: what becomes of a CT is told by its name."""

import os
import time

from Testing.helpers import batch_double

from pancreasseg.batch.case import Case
from pancreasseg.batch.loop import row_of
from pancreasseg.batch.on_worker import CaseOutcome, Job, in_time
from pancreasseg.core.errors import ModelError, OutputError
from pancreasseg.core.progress import Progress

END = (ModelError, "models-differ", "A worker has other models.", "Install the same.")


def task(case: Case, job: Job) -> CaseOutcome:
    if "no model" in case.name:
        return CaseOutcome(end=END)
    if "slow" in case.name:
        time.sleep(0.3)
    try:
        return CaseOutcome(row_of(case, job.settings, job.identity, lambda it: _run(it, job)))
    except OutputError as error:
        return CaseOutcome(end=(OutputError, error.code, error.message, error.hint))


def unpicklable(case: Case, job: Job) -> CaseOutcome:
    raise RuntimeError("Doe^Jane")


def _run(case: Case, job: Job) -> dict[str, object]:
    document = in_time(lambda: batch_double.run_case(case, job.settings, None, Progress()), job.time_limit)
    with (case.output / "log").open("a", encoding="utf-8") as log:  # one write a line, from any process
        log.write(f"{case.name}\t{os.getpid()}\n")
    return document

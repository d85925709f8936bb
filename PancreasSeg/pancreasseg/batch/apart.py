"""CTs in a process of their own: whatever ends it, native code too, ends one CT and not the run."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pancreasseg.batch.case import Case, Settings, run_case
from pancreasseg.core.errors import PancreasSegError, RunError, explain
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Progress, Update

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline

ATTEMPTS = 2  # what ended the process may have had nothing to do with the CT
_SECONDS_TO_END = 5.0


class Apart:
    """Runs cases in a child process that keeps the model in memory; started when needed, and anew after it died.

    Args:
        settings: of all cases.
        debug: let the child print tracebacks.
        time_limit: seconds that one case may take, beside the loading of the models; None for any time.
    """

    def __init__(self, settings: Settings, *, debug: bool = False, time_limit: float | None = None) -> None:
        self._settings = settings
        self._debug = debug
        self._time_limit = time_limit
        self._child: _Child | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        case: Case,
        report: Callable[[Update], None] | None = None,
        notify: Callable[[Finding], None] | None = None,
    ) -> dict[str, Any]:
        """What result.json holds.

        Raises:
            PancreasSegError: as for `run_case`; or the process ended each time, or took too long.
            ModelsNotLoaded: the child could not load its models, so no case can be run.
        """
        attempt = 1
        while True:
            try:
                return self._warm().run(case, report, notify, self._time_limit)
            except _TooLong as late:
                self.close()
                raise too_late(self._time_limit or 0.0) from late
            except _Ended as ended:
                self.close()
                if attempt == ATTEMPTS:
                    raise RunError(
                        "process-ended",
                        f"The process that worked on this CT ended unexpectedly, {attempt} times ({ended}).",
                        "If memory ran out, close other programs; else the CT may be damaged: copy it again.",
                    ) from ended
                attempt += 1

    def close(self) -> None:
        """End the child; what it was writing is then not there, see `pancreasseg.io.atomic`."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _warm(self) -> _Child:
        if self._child is None:
            self._child = _Child(self._settings, debug=self._debug)
            refusal = self._child.refusal()
            if refusal is not None:
                self.close()
                raise ModelsNotLoaded(refusal)
        return self._child


class _Child:
    def __init__(self, settings: Settings, *, debug: bool) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads, which do not survive it
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, settings, debug), daemon=True)
        self._process.start()
        theirs.close()

    def refusal(self) -> PancreasSegError | None:
        """Why the models could not be loaded; None once they are."""
        what, value = self._next()
        return _error_from(value) if what == "refused" else None

    def run(
        self,
        case: Case,
        report: Callable[[Update], None] | None,
        notify: Callable[[Finding], None] | None,
        time_limit: float | None,
    ) -> dict[str, Any]:
        deadline = None if time_limit is None else time.monotonic() + time_limit
        with suppress(OSError):  # it ended meanwhile: the next line says so
            self._pipe.send(case)
        while True:
            what, value = self._next(deadline)
            if what == "update" and report is not None:
                report(value)
            elif what == "notice" and notify is not None:
                notify(value)
            elif what == "failed":
                raise _error_from(value)
            elif what == "done":
                document: dict[str, Any] = value
                return document

    def close(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _next(self, deadline: float | None = None) -> tuple[str, Any]:
        """What the child says next, until a moment of `time.monotonic`."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not wait([self._pipe, self._process.sentinel], left):
            raise _TooLong
        with suppress(EOFError, OSError):
            if self._pipe.poll():
                said: tuple[str, Any] = self._pipe.recv()
                return said
        self._process.join()
        code = self._process.exitcode or 0
        raise _Ended(f"signal {-code}" if code < 0 else f"exit code {code}")


def too_late(seconds: float) -> RunError:
    """The error of a case that was not done in time."""
    return RunError(
        "time-limit",
        f"This CT was not done after {seconds / 60:.3g} minutes and was given up.",
        "Allow more time with --time-limit, or look at the CT: it may be damaged or very large.",
    )


class ModelsNotLoaded(Exception):
    """No case can be run; ``error`` says why."""

    def __init__(self, error: PancreasSegError) -> None:
        super().__init__(str(error))
        self.error = error


class _TooLong(Exception):
    """The child has not done its case in time."""


class _Ended(Exception):
    """The child is no more."""


def serve(pipe: Connection, settings: Settings, debug: bool) -> None:
    """The child: load the models, then a case after the other until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the parent ends the child
    try:
        pipeline = load_pipeline(settings)
    except Exception as error:
        pipe.send(("refused", _as_fields(error, debug)))
        return
    pipe.send(("ready", None))
    with suppress(EOFError, OSError):  # the parent has gone
        while True:
            case = pipe.recv()
            progress = Progress(
                report=lambda update: pipe.send(("update", update)), notify=lambda it: pipe.send(("notice", it))
            )
            try:
                document = run_case(case, settings, pipeline, progress)
            except Exception as error:
                pipe.send(("failed", _as_fields(error, debug)))
            else:
                pipe.send(("done", document))


def load_pipeline(settings: Settings) -> Pipeline:
    """The pipeline that the settings name, in this process."""
    from pancreasseg import pipelines
    from pancreasseg.inference.hardware import use_cores

    pipeline = pipelines.create(settings.setup)
    use_cores()
    return pipeline


def _as_fields(error: Exception, debug: bool) -> tuple[Any, ...]:
    if debug:
        traceback.print_exception(error)
    told = explain(error)
    return type(told), told.code, told.message, told.hint


def _error_from(fields: tuple[Any, ...]) -> PancreasSegError:
    kind, *words = fields
    error: PancreasSegError = kind(*words)
    return error

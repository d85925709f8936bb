"""The client's side of the pipe: starts the worker, keeps it, and survives its death.

Slicer calls `WorkerClient.poll` from a timer; headless programs call `WorkerClient.wait`. The only threads read the
process's output into queues; they touch no Qt, no MRML and no array.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pancreasseg.errors import Cancelled, PancreasSegError, RunError
from pancreasseg.progress import Update
from pancreasseg.volume import Box, Geometry
from pancreasseg.worker.codec import files_in, finding_from, localization_from, segmentation_from
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.process import END_SECONDS, WorkerProcess
from pancreasseg.worker.protocol import FINAL, PROTOCOL, Message, Request

#: A cancelled request is over for the person after this time, even if the worker is still deep in a patch.
CANCEL_SECONDS = 0.4
#: A worker that has not come back from a cancelled request after this time is replaced at the next one.
STUCK_SECONDS = 10.0


@dataclass(frozen=True)
class Event:
    """What happened to a request.

    Attributes:
        request: its id, as the call returned it.
        name: "progress", "notice", "ready", "result" or "error"; the last three end the request.
        value: an `Update`, a `Finding`, or the request's result: a dict (hello), the findings (load), a
            `Localization` (without its coarse map) or a `Segmentation`; a `PancreasSegError` for "error".
        fields: the event as it came over the pipe.
    """

    request: int
    name: str
    value: Any = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """True when the request has ended."""
        return self.name in FINAL


@dataclass
class _Pending:
    """A request without an answer yet."""

    name: str
    geometry: Geometry | None
    silent: bool = False  # sent by the client itself while starting
    replaces: str | None = None  # the file of the CT before, for load
    cancelled_at: float | None = None


class _Held:
    """What must be given back however the client ends."""

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None
        self.folder: ExchangeFolder | None = None

    def release(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None
        if self.folder is not None:
            self.folder.remove()
            self.folder = None


class WorkerClient:
    """A worker process, started on the first request and again after it died.

    Requests return an id at once; what happens to them comes as events. All calls belong to one thread.

    Args:
        command: starts the worker; by default this Python with ``-m pancreasseg.worker``.
        environment: variables added to this process's environment.
    """

    def __init__(self, command: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._environment = dict(environment or {})
        self._held = _Held()
        self._finalizer = weakref.finalize(self, self._held.release)
        self._next = 1
        self._pending: dict[int, _Pending] = {}
        self._events: list[Event] = []  # made here, not by the worker
        self._volume: dict[str, Any] | None = None  # the load request, to repeat after a restart
        self._geometry: Geometry | None = None
        self._abandoned: dict[int, float] = {}  # cancelled requests that the worker has not come back from, since when

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    @property
    def running(self) -> bool:
        """True while there is a worker process."""
        return self._held.process is not None and self._held.process.alive

    @property
    def pid(self) -> int | None:
        """The worker's process id, if there is one."""
        return None if self._held.process is None else self._held.process.pid

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the worker's log."""
        return () if self._held.process is None else self._held.process.log

    def hello(self) -> int:
        """Ask for device, precision, memory, versions and installed models; starts the worker."""
        return self._send("hello", {"protocol": PROTOCOL, "folder": str(self._exchange().path)})

    def load(
        self,
        array: np.ndarray,
        geometry: Geometry | Mapping[str, Any],
        *,
        source: Mapping[str, str] | None = None,
        allow: Collection[str] = (),
    ) -> int:
        """Hand over a CT; it stays loaded, also across a restart of the worker, until the next one.

        Args:
            array: HU in any numeric type, shape (K, J, I).
            geometry: its grid in LPS mm, or the dict of one.
            source: facts for the provenance that identify no patient.
            allow: plausibility refusals to turn into findings, see `pancreasseg.io.checks.check_ct`.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        grid = geometry if isinstance(geometry, Geometry) else Geometry.from_dict(dict(geometry))
        folder = self._exchange()
        file = folder.write(f"volume-{self._next}", np.ascontiguousarray(array))
        replaced = None if self._volume is None else str(self._volume["file"])
        self._geometry = grid
        self._volume = None  # a worker that starts now must not load the old one first
        parameters = {"file": file, "geometry": grid.as_dict(), "source": dict(source or {}), "allow": list(allow)}
        request = self._send("load", parameters)
        self._volume = parameters
        if request in self._pending:
            self._pending[request].replaces = replaced  # deleted when the worker has let go of it
        return request

    def localize(
        self,
        *,
        pipeline: str | None = None,
        model: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> int:
        """Find the box in the loaded CT; the arguments are those of `pancreasseg.pipelines.create`."""
        return self._send("localize", self._run(pipeline, model, device, precision, options))

    def segment(
        self,
        box: Box | None = None,
        *,
        pipeline: str | None = None,
        model: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> int:
        """Segment the loaded CT.

        Args:
            box: a box that a person placed; None takes the localizer's with all its candidates, localizing first
                where that was not done yet.
            pipeline: with ``model``, ``device``, ``precision`` and ``options`` the arguments of
                `pancreasseg.pipelines.create`.
            model: see ``pipeline``.
            device: see ``pipeline``.
            precision: see ``pipeline``.
            options: see ``pipeline``.
        """
        parameters = self._run(pipeline, model, device, precision, options)
        return self._send("segment", {**parameters, "box": None if box is None else box.bounds()})

    def cancel(self, request: int | None = None) -> None:
        """End one request, or all of them, with a `Cancelled` error within half a second."""
        now = time.monotonic()
        chosen = [i for i, p in self._pending.items() if (request is None or i == request) and p.name != "cancel"]
        for number in chosen:
            if self._pending[number].cancelled_at is None:
                self._pending[number].cancelled_at = now
        if chosen and self._held.process is not None:
            self._held.process.write(Request(self._take_id(), "cancel", {"target": request}))

    def poll(self) -> list[Event]:
        """What has happened since the last call; never waits."""
        return self._collect(0.0)

    def wait(self, request: int, on_progress: Callable[[Event], None] | None = None) -> Any:
        """Wait for a request to end and return its value.

        Args:
            request: an id that has not ended yet.
            on_progress: called with its progress and notice events.

        Raises:
            PancreasSegError: what the request failed with; `Cancelled` when it was cancelled.
            ValueError: the id is unknown, or its end was reported before.
        """
        if request not in self._pending and not any(event.request == request for event in self._events):
            raise ValueError(f"request {request} is not going on")
        others: list[Event] = []
        try:
            while True:
                mine: list[Event] = []
                for event in self._collect(0.1):
                    (mine if event.request == request else others).append(event)
                for event in mine:
                    if event.name == "error":
                        raise event.value
                    if event.final:
                        return event.value
                    if on_progress is not None:
                        on_progress(event)
        except KeyboardInterrupt:
            self.cancel(request)
            raise
        finally:
            self._events = others + self._events

    def shutdown(self) -> None:
        """End the worker and remove the temporary folder; the next request would start a new worker."""
        self._held.release()
        self._pending.clear()
        self._events.clear()
        self._volume = None
        self._abandoned.clear()

    # How requests go out -------------------------------------------------------------------------------------------

    def _take_id(self) -> int:
        self._next += 1
        return self._next - 1

    def _exchange(self) -> ExchangeFolder:
        if self._held.folder is None:
            self._held.folder = ExchangeFolder.create()
        return self._held.folder

    def _run(
        self, pipeline: str | None, model: str | None, device: str, precision: str, options: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "volume": None if self._volume is None else self._volume["file"],
            "pipeline": pipeline,
            "model": model,
            "device": device,
            "precision": precision,
            "options": dict(options or {}),
        }

    def _send(self, name: str, parameters: dict[str, Any], *, silent: bool = False) -> int:
        number = self._take_id()
        if not silent:
            try:
                self._ensure_process()
            except PancreasSegError as error:
                self._events.append(_failure(number, error))
                return number
        self._pending[number] = _Pending(name, self._geometry, silent)
        assert self._held.process is not None  # noqa: S101  (made above)
        self._held.process.write(Request(number, name, parameters))
        return number

    def _ensure_process(self) -> None:
        process = self._held.process
        now = time.monotonic()
        stuck = any(now - since > STUCK_SECONDS for since in self._abandoned.values())
        if process is not None and (stuck or not process.alive):
            last_words = self._collect(0.0)
            self._events = last_words + self._bury()
        if self._held.process is None:
            self._held.process = WorkerProcess(self._command, self._environment)
            self._send("hello", {"protocol": PROTOCOL, "folder": str(self._exchange().path)}, silent=True)
            if self._volume is not None:
                self._send("load", self._volume, silent=True)

    # How events come in --------------------------------------------------------------------------------------------

    def _collect(self, seconds: float) -> list[Event]:
        events, self._events = self._events, []
        process = self._held.process
        if process is not None:
            for message in process.messages(0.0 if events else seconds):
                events += self._receive(message)
            if process.ended and self._held.process is process:
                events += self._bury()
        return events + self._overdue()

    def _receive(self, message: Message) -> list[Event]:
        pending = None if message.id is None else self._pending.get(message.id)
        if message.id is None or pending is None:
            self._discard(message)
            return []
        if message.name in FINAL:
            del self._pending[message.id]
            if pending.replaces is not None:
                self._exchange().delete(pending.replaces)
        if pending.silent:
            return []
        try:
            return [Event(message.id, message.name, self._value(message, pending), message.fields)]
        except PancreasSegError as error:
            self._pending.pop(message.id, None)
            return [_failure(message.id, error)]

    def _discard(self, message: Message) -> None:
        """An answer that nobody waits for any more; its arrays must not stay behind."""
        if message.name in FINAL and message.id is not None:
            self._abandoned.pop(message.id, None)
        if self._held.folder is not None:
            for file in files_in(message.fields):
                self._held.folder.delete(file)

    def _value(self, message: Message, pending: _Pending) -> Any:
        fields = message.fields
        if message.name == "error":
            return _error(fields)
        if message.name == "progress":
            return Update(**fields)
        if message.name == "notice":
            return finding_from(fields)
        if pending.name == "load":
            return tuple(finding_from(entry) for entry in fields["findings"])
        if pending.name == "localize":
            return localization_from(fields)
        if pending.name == "segment":
            assert pending.geometry is not None  # noqa: S101  (the worker segments only what was loaded)
            return segmentation_from(fields, pending.geometry, self._exchange())
        return fields

    def _overdue(self) -> list[Event]:
        """Cancelled requests whose worker is still deep in a patch: over, as far as the person is concerned."""
        now = time.monotonic()
        late = [n for n, p in self._pending.items() if p.cancelled_at and now - p.cancelled_at > CANCEL_SECONDS]
        for number in late:
            del self._pending[number]
            self._abandoned[number] = now
        return [_failure(number, Cancelled()) for number in late]

    def _bury(self) -> list[Event]:
        """The worker is gone: say so to everyone who waited, and leave no array of its behind."""
        process, self._held.process = self._held.process, None
        stuck, self._abandoned = bool(self._abandoned), {}
        if process is None:
            return []
        process.end(0.0 if stuck else END_SECONDS)
        error = process.obituary()
        lost = [
            _failure(number, Cancelled() if pending.cancelled_at else error)
            for number, pending in self._pending.items()
            if not pending.silent
        ]
        self._pending.clear()
        if self._held.folder is not None:
            self._held.folder.clear(keep=None if self._volume is None else self._volume["file"])
        return lost


def _failure(request: int, error: PancreasSegError) -> Event:
    return Event(request, "error", error, {"code": error.code, "message": error.message, "hint": error.hint})


def _error(fields: Mapping[str, Any]) -> PancreasSegError:
    if fields["code"] == Cancelled().code:
        return Cancelled()
    return RunError(fields["code"], fields["message"], fields["hint"])

"""The client's side of the pipe: starts the worker, keeps it, and survives its death.

Slicer calls `WorkerClient.poll` from a timer; headless programs call `WorkerClient.wait`. The only threads read the
process's output into queues; they touch no Qt, no MRML and no array.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import Cancelled, PancreasSegError
from pancreasseg.core.setup import AUTOMATIC, Setup
from pancreasseg.worker.answers import Event, Pending, failure, garbled, value_of
from pancreasseg.worker.codec import READERS, files_in
from pancreasseg.worker.contract import Transfer
from pancreasseg.worker.folder import ExchangeFolder, Upload
from pancreasseg.worker.process import END_SECONDS, Belongings, WorkerProcess
from pancreasseg.worker.protocol import FINAL, PROTOCOL, Message, Request

#: A cancelled request is over for the person after this time, even if the worker is still deep in a patch.
CANCEL_SECONDS = 0.4
#: Reading a result into memory goes on at the next poll after this time.
READ_SECONDS = 0.01
#: A worker that has not come back from a cancelled request after this time is replaced at the next one.
STUCK_SECONDS = 10.0


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
        self._belongings = Belongings()
        self._finalizer = weakref.finalize(self, self._belongings.release)
        self._next = 1
        self._pending: dict[int, Pending] = {}
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
        return self._belongings.process is not None and self._belongings.process.alive

    @property
    def pid(self) -> int | None:
        """The worker's process id, if there is one."""
        return None if self._belongings.process is None else self._belongings.process.pid

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the worker's log."""
        return () if self._belongings.process is None else self._belongings.process.log

    @property
    def holds_volume(self) -> bool:
        """True while the CT of the last `load` is there for the next run, also for one in a new worker."""
        folder, volume = self._belongings.folder, self._volume
        return folder is not None and volume is not None and folder.holds(volume["file"])

    @property
    def reading(self) -> bool:
        """True while a result is being read into memory: the next `poll` goes on with it."""
        return any(pending.reader is not None for pending in self._pending.values())

    def hello(self) -> int:
        """Ask for device, precision, memory, versions and installed models; starts the worker."""
        return self._send("hello", {"protocol": PROTOCOL, "folder": str(self._exchange().path)})

    def load(
        self,
        array: np.ndarray | Transfer,
        geometry: Geometry | Mapping[str, Any],
        *,
        source: Mapping[str, str] | None = None,
        allow: Collection[str] = (),
    ) -> int:
        """Hand over a CT; it stays loaded, also across a restart of the worker, until the next one.

        Args:
            array: HU in any numeric type, shape (K, J, I), or an `upload` of it that is complete.
            geometry: its grid in LPS mm, or the dict of one.
            source: facts for the provenance that identify no patient.
            allow: plausibility refusals to turn into findings, see `pancreasseg.io.checks.check_ct`.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        replaced = None if self._volume is None else str(self._volume["file"])
        self._volume = None  # a worker that starts now must not load the old one first
        unable = self._unable()  # before writing: a new worker finds an empty folder
        if unable is not None:
            return self._refuse(unable)
        if isinstance(array, np.ndarray):
            file = self._exchange().write(f"volume-{self._next}", np.ascontiguousarray(array))
        else:
            file = array.finish()
        self._geometry = geometry if isinstance(geometry, Geometry) else Geometry.from_dict(dict(geometry))
        parameters = {
            "file": file,
            "geometry": self._geometry.as_dict(),
            "source": dict(source or {}),
            "allow": list(allow),
        }
        request = self._send("load", parameters)
        self._volume = parameters
        if request in self._pending:
            self._pending[request].replaces = replaced  # deleted when the worker has let go of it
        return request

    def upload(self, shape: tuple[int, int, int], dtype: np.dtype) -> Upload:
        """Begin to hand over a large CT block by block along its first axis; `load` completes it.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        return self._exchange().upload(f"volume-{self._take_id()}", shape, dtype)

    def measure(self, mask: np.ndarray, hu: np.ndarray, geometry: Geometry, reference: np.ndarray | None = None) -> int:
        """Measure a mask, as `pancreasseg.measure` does, beside whatever the worker is doing.

        Args:
            mask: non-zero is the organ; the part of the CT around it is enough.
            hu: the CT there, of the same shape (K, J, I).
            geometry: the grid of both.
            reference: a mask to compare with, of the same shape.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        unable = self._unable()
        if unable is not None:
            return self._refuse(unable)
        folder, number = self._exchange(), self._next
        files = {
            name: None if array is None else folder.write(f"{name}-{number}", array)
            for name, array in (("mask", mask), ("hu", hu), ("reference", reference))
        }
        return self._send("measure", {**files, "geometry": geometry.as_dict()})

    def localize(self, setup: Setup = AUTOMATIC) -> int:
        """Find the box in the loaded CT."""
        return self._send("localize", self._run(setup))

    def segment(self, box: Box | None = None, setup: Setup = AUTOMATIC) -> int:
        """Segment the loaded CT.

        Args:
            box: a box that a person placed; None takes the localizer's with all its candidates, localizing first
                where that was not done yet.
            setup: with what.
        """
        return self._send("segment", {**self._run(setup), "box": None if box is None else box.bounds()})

    def attention(self, box: Box, maps: Collection[str] | None = None, setup: Setup = AUTOMATIC) -> int:
        """Ask where a network with attention gates looks in the loaded CT.

        Args:
            box: the region.
            maps: which of `pancreasseg.pipelines.attention.map_names`; all by default.
            setup: with what.
        """
        wanted = None if maps is None else list(maps)
        return self._send("attention", {**self._run(setup), "box": box.bounds(), "maps": wanted})

    def cancel(self, request: int | None = None) -> None:
        """End one request, or all of them, with a `Cancelled` error within half a second."""
        now = time.monotonic()
        chosen = [i for i, p in self._pending.items() if (request is None or i == request) and p.name != "cancel"]
        for number in chosen:
            if self._pending[number].cancelled_at is None:
                self._pending[number].cancelled_at = now
        if chosen and self._belongings.process is not None:
            self._belongings.process.write(Request(self._take_id(), "cancel", {"target": request}))

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
        self._belongings.release()
        self._pending.clear()
        self._events.clear()
        self._volume = None
        self._abandoned.clear()

    # How requests go out -------------------------------------------------------------------------------------------

    def _take_id(self) -> int:
        self._next += 1
        return self._next - 1

    def _exchange(self) -> ExchangeFolder:
        if self._belongings.folder is not None and not self._belongings.folder.is_there():
            self._events += self._bury()  # the worker knows no other folder
            self._belongings.folder.remove()
            self._belongings.folder = self._volume = None
        if self._belongings.folder is None:
            self._belongings.folder = ExchangeFolder.create()
        return self._belongings.folder

    def _run(self, setup: Setup) -> dict[str, Any]:
        return {"volume": None if self._volume is None else self._volume["file"], **setup.as_dict()}

    def _send(self, name: str, parameters: dict[str, Any], *, silent: bool = False) -> int:
        unable = None if silent else self._unable()
        if unable is not None:
            return self._refuse(unable)
        number = self._take_id()
        self._pending[number] = Pending(name, self._geometry, silent)
        assert self._belongings.process is not None  # noqa: S101  (made above)
        self._belongings.process.write(Request(number, name, parameters))
        return number

    def _unable(self) -> PancreasSegError | None:
        """Why nothing can be asked of a worker; None when there is one now."""
        try:
            self._ensure_process()
        except PancreasSegError as error:
            return error
        return None

    def _refuse(self, error: PancreasSegError) -> int:
        """A request that fails at once."""
        number = self._take_id()
        self._events.append(failure(number, error))
        return number

    def _ensure_process(self) -> None:
        folder = self._exchange()
        process = self._belongings.process
        now = time.monotonic()
        stuck = any(now - since > STUCK_SECONDS for since in self._abandoned.values())
        if process is not None and (stuck or not process.alive):
            last_words = self._collect(0.0)
            self._events = last_words + self._bury()
        if self._belongings.process is None:
            self._belongings.process = WorkerProcess(self._command, self._environment)
            self._send("hello", {"protocol": PROTOCOL, "folder": str(folder.path)}, silent=True)
            if self._volume is not None and folder.holds(self._volume["file"]):
                self._send("load", self._volume, silent=True)
            else:
                self._volume = None

    # How events come in --------------------------------------------------------------------------------------------

    def _collect(self, seconds: float) -> list[Event]:
        events, self._events = self._events, []
        process = self._belongings.process
        if process is not None:
            for message in process.messages(0.0 if events or self.reading else seconds):
                events += self._receive(message)
            if process.ended and self._belongings.process is process:
                events += self._bury()
        return events + self._read() + self._overdue()

    def _receive(self, message: Message) -> list[Event]:
        pending = None if message.id is None else self._pending.get(message.id)
        if message.id is None or pending is None or self._belongings.folder is None:
            self._discard(message)
            return []
        try:
            if message.name == "result" and pending.name in READERS:
                assert pending.geometry is not None  # noqa: S101  (the worker runs only on what was loaded)
                pending.reader = READERS[pending.name](message.fields, pending.geometry, self._belongings.folder)
                pending.fields = message.fields
                return []
            event = Event(message.id, message.name, value_of(message, pending.name), message.fields)
        except Exception:  # whatever is wrong with it
            if message.name not in FINAL:
                return []
            event = failure(message.id, garbled())
        if message.name in FINAL:
            del self._pending[message.id]
            if pending.replaces is not None:
                self._belongings.folder.delete(pending.replaces)
        return [] if pending.silent else [event]

    def _read(self) -> list[Event]:
        """Go on reading results; an event for each that is complete."""
        events = []
        for number, pending in list(self._pending.items()):
            if pending.reader is None:
                continue
            try:
                if not pending.reader.advance(READ_SECONDS):
                    continue
                event = Event(number, "result", pending.reader.result(), pending.fields)
            except Exception as error:  # whatever is wrong with what the worker left there
                event = failure(number, error if isinstance(error, PancreasSegError) else garbled())
            del self._pending[number]
            events.append(event)
        return events

    def _discard(self, message: Message) -> None:
        """An answer that nobody waits for any more; its arrays must not stay behind."""
        if message.name in FINAL and message.id is not None:
            self._abandoned.pop(message.id, None)
        if self._belongings.folder is not None:
            for file in files_in(message.fields):
                self._belongings.folder.delete(file)

    def _overdue(self) -> list[Event]:
        """Cancelled requests whose worker is still deep in a patch: over, as far as the person is concerned."""
        now = time.monotonic()
        late = [
            number
            for number, pending in self._pending.items()
            if pending.cancelled_at and now - pending.cancelled_at > CANCEL_SECONDS and pending.reader is None
        ]
        for number in late:
            del self._pending[number]
            self._abandoned[number] = now
        return [failure(number, Cancelled()) for number in late]

    def _bury(self) -> list[Event]:
        """The worker is gone: say so to everyone who waited, and leave no array of its behind."""
        process, self._belongings.process = self._belongings.process, None
        stuck, self._abandoned = bool(self._abandoned), {}
        if process is None:
            return []
        process.end(0.0 if stuck else END_SECONDS)
        error = process.obituary()
        lost = [
            failure(number, Cancelled() if pending.cancelled_at else error)
            for number, pending in self._pending.items()
            if not pending.silent
        ]
        self._pending.clear()
        if self._belongings.folder is not None:
            self._belongings.folder.clear(keep=None if self._volume is None else self._volume["file"])
        return lost

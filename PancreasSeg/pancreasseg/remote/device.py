"""The one worker process that all sessions share: what they ask is done in turn, a request of each at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pancreasseg.core.errors import Cancelled, PancreasSegError
from pancreasseg.core.progress import Update
from pancreasseg.remote.limits import Limits
from pancreasseg.remote.refusals import too_long
from pancreasseg.remote.session import ClientSession
from pancreasseg.remote.wire import FILES
from pancreasseg.worker.codec import error_fields, files_in
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.process import WorkerProcess
from pancreasseg.worker.protocol import FINAL, PROTOCOL, Message, Request

#: What needs no network and does not wait for runs.
_ASIDE = ("hello", "measure")
#: The worker is listened to so long at a time while it works, and looked after so often while it does not.
_WORKING_SECONDS, _IDLE_SECONDS = 0.01, 0.5
#: A run whose client has gone may finish its patch within this time.
_GRACE_SECONDS = 2.0


@dataclass(eq=False)
class _Job:
    """A request of a session on its way through the worker.

    Attributes:
        session: whose.
        request: as the client numbered it, with the files' names here.
        spent: files with arrays of the client that nobody needs when it has ended.
        number: as the worker knows it; 0 while it waits.
        loading: the worker is being given the session's CT back first.
        began, stopped: when it went to the worker, and when it was told to stop.
        told: the worker knows that it is to stop.
        why: it was stopped.
    """

    session: ClientSession
    request: Request
    spent: list[str] = field(default_factory=list)
    number: int = 0
    loading: bool = False
    began: float = 0.0
    stopped: float | None = None
    told: bool = False
    why: PancreasSegError | None = None

    def stop(self, why: PancreasSegError) -> None:
        """It is not wanted any more."""
        if self.stopped is None:
            self.stopped, self.why = time.monotonic(), why

    def say(self, name: str, fields: Mapping[str, Any]) -> None:
        """Tell its client."""
        self.session.put(Message(self.request.id, name, dict(fields)))

    def end(self, name: str, fields: Mapping[str, Any]) -> None:
        """Tell its client how it ended."""
        if name == "error" and self.why is not None:
            fields = error_fields(self.why)
        self.session.forget(self.spent)
        self.say(name, fields)

    def fail(self, error: PancreasSegError) -> None:
        """It ended with an error."""
        self.end("error", error_fields(error))


class Device:
    """Runs requests of many sessions in one worker process, which is started on the first and again after it died.

    Args:
        folder: where arrays lie.
        limits: of the server.
        command: starts the worker; as for `pancreasseg.worker.client.WorkerClient`.
        environment: the same.
    """

    def __init__(
        self,
        folder: ExchangeFolder,
        limits: Limits,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._command = command
        self._environment = dict(environment or {})
        self._changed = threading.Condition()  # guards what follows
        self._waiting: OrderedDict[ClientSession, deque[_Job]] = OrderedDict()  # whose turn it is first
        self._asides: deque[_Job] = deque()
        self._running: _Job | None = None
        self._closing = False
        # Of the thread alone:
        self._beside: dict[int, _Job] = {}
        self._process: WorkerProcess | None = None
        self._numbers = 0
        self._loaded: str | None = None  # the CT in the worker
        self._facts: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the worker's log."""
        return () if self._process is None else self._process.log

    # Called by the server ------------------------------------------------------------------------------------------

    def submit(self, session: ClientSession, request: Request) -> None:
        """Have something done; what comes of it comes as events of the session."""
        if request.name == "cancel":
            chosen = self._cancel(session, request.parameters.get("target"))
            session.put(Message(request.id, "result", {"cancelled": chosen}))
            return
        files = {name: request.parameters[name] for name in FILES.get(request.name, ()) if request.parameters[name]}
        here = {**request.parameters, **{name: session.file(file) for name, file in files.items()}}
        if here.get("volume"):
            here["volume"] = session.file(here["volume"])
        job = _Job(session, Request(request.id, request.name, here))
        if request.name == "measure":
            job.spent += [here[name] for name in files]
        with self._changed:
            if request.name in _ASIDE:
                self._asides.append(job)
            else:
                if self._others_first(session):
                    job.say("progress", asdict(Update("queue", 0, 1, 0.0, None)))
                self._waiting.setdefault(session, deque()).append(job)
            self._changed.notify()

    def leave(self, session: ClientSession) -> None:
        """A session has ended: nothing of it is done any more."""
        with self._changed:
            self._waiting.pop(session, None)
            self._asides = deque(job for job in self._asides if job.session is not session)
            if self._running is not None and self._running.session is session:
                self._running.stop(Cancelled())
            self._asides.append(_Job(session, Request(0, "unload")))
            self._changed.notify()

    def close(self) -> None:
        """End the worker; what is not done stays so."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _cancel(self, session: ClientSession, target: int | None) -> list[int]:
        """Stop runs of a session; the ids of those that will end."""

        def meant(job: _Job) -> bool:
            return job.request.name != "load" and target in (None, job.request.id)

        with self._changed:
            jobs = self._waiting.pop(session, deque())
            gone = [job for job in jobs if meant(job)]
            left = deque(job for job in jobs if not meant(job))
            if left:
                self._waiting[session] = left
            running = self._running
            stops = running is not None and running.session is session and meant(running)
            if running is not None and stops:
                running.stop(Cancelled())
        for job in gone:
            job.fail(Cancelled())
        return sorted(job.request.id for job in [*gone, *([running] if running is not None and stops else [])])

    def _others_first(self, session: ClientSession) -> bool:
        running = self._running is not None and self._running.session is not session
        return running or any(other is not session for other in self._waiting)

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing:
            self._begin()
            busy = self._running is not None or bool(self._beside)
            if self._process is not None:
                self._listen(_WORKING_SECONDS if busy else 0.0)
            self._look_at_the_clock()
            with self._changed:
                if not (busy or self._closing or self._asides or self._waiting):
                    self._changed.wait(_IDLE_SECONDS)
        if self._process is not None:
            self._process.end()

    def _begin(self) -> None:
        """Give the worker what it can do now."""
        with self._changed:
            asides, self._asides = self._asides, deque()
            job = None
            if self._running is None and self._waiting:
                session, jobs = self._waiting.popitem(last=False)
                job = self._running = jobs.popleft()
                if jobs:
                    self._waiting[session] = jobs  # at the end: the others' turn
        for aside in asides:
            self._begin_aside(aside)
        if job is not None:
            self._begin_run(job)

    def _begin_aside(self, job: _Job) -> None:
        if job.request.name == "unload":
            self._unload(job)
            return
        if job.request.name == "hello":
            if self._facts is not None and self._running is not None:
                job.end("ready", self._facts)  # asked anew it would have to wait for the run
                return
            job.request = Request(job.request.id, "hello", self._greeting())
        if self._send(job, job.request):
            self._beside[job.number] = job

    def _unload(self, job: _Job) -> None:
        """A session has ended: the worker forgets its CT, where it has it."""
        volume = job.session.volume
        if self._process is not None and volume is not None and volume["file"] == self._loaded:
            self._loaded = None
            self._send(job, job.request)

    def _begin_run(self, job: _Job) -> None:
        job.began = time.monotonic()
        request, volume = job.request, job.session.volume
        if request.name == "load":
            if volume is not None and volume["file"] != request.parameters["file"]:
                job.spent.append(volume["file"])
            job.session.volume = request.parameters
        elif volume is not None and volume["file"] != self._loaded:
            job.loading = True
            request = Request(0, "load", volume)
        if not self._send(job, request):
            self._release()

    def _send(self, job: _Job, request: Request) -> bool:
        """Send something to the worker for a job; false when there can be none, which the job's client is told."""
        try:
            process = self._ensure_process()
        except PancreasSegError as error:
            job.fail(error)
            return False
        self._numbers += 1
        job.number = self._numbers
        process.write(Request(job.number, request.name, request.parameters))
        return True

    def _ensure_process(self) -> WorkerProcess:
        if self._process is None:
            self._process = WorkerProcess(self._command, self._environment)
            self._process.write(Request(0, "hello", self._greeting()))
        return self._process

    def _greeting(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "folder": str(self._folder.path)}

    def _release(self) -> None:
        with self._changed:
            self._running = None

    def _listen(self, seconds: float) -> None:
        assert self._process is not None  # noqa: S101  (the caller looked)
        for message in self._process.messages(seconds):
            self._hear(message)
        if self._process.ended:
            self._bury()

    def _hear(self, message: Message) -> None:
        """Hand on what the worker says."""
        if message.name == "ready":
            self._facts = {name: value for name, value in message.fields.items() if name != "pid"}
        running = self._running
        if running is not None and message.id == running.number:
            self._hear_of_run(running, message)
        elif message.id is not None and message.id in self._beside:
            job = self._beside[message.id]
            if message.name in FINAL:
                del self._beside[message.id]
                job.end(message.name, self._facts if message.name == "ready" and self._facts else message.fields)
        else:
            self._drop(message)

    def _hear_of_run(self, job: _Job, message: Message) -> None:
        if message.name not in FINAL:
            if not job.loading:
                job.say(message.name, message.fields)
            return
        if job.loading or job.request.name == "load":
            volume = job.session.volume
            self._loaded = volume["file"] if volume is not None and message.name == "result" else None
        if job.loading and job.stopped is None:
            job.loading = False  # where the CT could not be given back, the run itself will say so
            if not self._send(job, job.request):
                self._release()
            return
        self._release()
        if job.loading and job.why is not None:
            job.fail(job.why)
        else:
            job.end(message.name, message.fields)

    def _drop(self, message: Message) -> None:
        for file in files_in(message.fields):
            self._folder.delete(file)

    def _look_at_the_clock(self) -> None:
        """Stop what takes too long or is not wanted, and replace a worker that does not stop."""
        job, now = self._running, time.monotonic()
        if job is None or self._process is None:
            return
        if now - job.began > self._limits.run_seconds:
            job.stop(too_long())
        if job.stopped is None:
            return
        if not (job.told or job.loading):
            job.told = True
            self._process.write(Request(-job.number, "cancel", {"target": job.number}))
        if now - job.stopped > (_GRACE_SECONDS if job.session.over else self._limits.stuck_seconds):
            self._bury()

    def _bury(self) -> None:
        """The worker is gone, or has to go: say so to everyone whose request it had."""
        process, self._process = self._process, None
        assert process is not None  # noqa: S101  (the caller looked)
        self._loaded = self._facts = None
        process.end(0.0)
        lost = [*self._beside.values(), *([self._running] if self._running is not None else [])]
        self._beside.clear()
        self._release()
        for job in lost:
            job.fail(process.obituary())

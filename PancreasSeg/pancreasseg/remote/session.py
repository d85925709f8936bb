"""A client's session on the server: what it has handed over, and the events that it has not seen yet."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pancreasseg.remote.limits import Limits
from pancreasseg.remote.refusals import no_array, no_session, too_large, too_many
from pancreasseg.worker.codec import files_in
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.protocol import FINAL, Message

#: Events kept for a client that does not fetch them; beyond, progress is forgotten, results never.
_KEPT_EVENTS = 2000
_REMEMBERED_REQUESTS = 1000
#: While a client waits for events, whether it is still there is looked at so often.
_GLANCE_SECONDS = 1.0


class ClientSession:
    """One session. The server's loop and the thread of the device use it.

    Args:
        number: tells its files from others'.
        folder: where its arrays lie.
        limits: how much it may hold.

    Attributes:
        id: secret; who knows it is the client.
        volume: the parameters of the last load, with the file's name here; None before the first.
        over: ended.
    """

    def __init__(self, number: int, folder: ExchangeFolder, limits: Limits) -> None:
        self.id = secrets.token_urlsafe(24)
        self.volume: dict[str, Any] | None = None
        self.over = False
        self._prefix = f"session-{number}-"
        self._folder = folder
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._events: deque[tuple[int, Message]] = deque()
        self._count = 0
        self._results: dict[str, str] = {}  # an array's name for the client -> its file here
        self._files: dict[str, str] = {}  # an array that the client has handed over -> its file here
        self._sizes: dict[str, int] = {}  # of those files, also while they come
        self._arrived = 0
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._open: set[int] = set()
        self._contact = time.monotonic()
        self._watched = 0

    # What the client hands over ------------------------------------------------------------------------------------

    def touch(self) -> None:
        """The client is there."""
        self._contact = time.monotonic()

    def idle(self, now: float) -> bool:
        """Nothing was heard of the client for too long."""
        return not self._watched and now - self._contact > self._limits.idle_seconds

    def file(self, name: str) -> str:
        """The file here of an array of the client; one that is not there, where it has handed over none."""
        return self._files.get(name, self._prefix + name)

    def reserve(self, name: str, nbytes: int) -> str:
        """Make room for an array that is about to come; its file here, another one each time it is sent.

        Raises:
            RunError: the session would hold too much.
        """
        with self._lock:
            if nbytes > self._limits.array_bytes or sum(self._sizes.values()) + nbytes > self._limits.session_bytes:
                raise too_large()
            self._arrived += 1
            file = f"{self._prefix}{self._arrived}-{name}"
            self._sizes[file] = nbytes
        return file

    def keep(self, name: str, file: str) -> None:
        """An array is here; one of this name that came before, on a connection that was cut, is deleted.

        Raises:
            RunError: the session has ended meanwhile.
        """
        with self._lock:
            before = self._files.get(name)
            self._files[name] = file
        self.forget([before] if before is not None else [])
        if self.over:
            self.forget([file])
            raise no_session()

    def forget(self, files: Iterable[str]) -> None:
        """Delete files with arrays of the client."""
        with self._lock:
            for file in files:
                self._sizes.pop(file, None)
                self._folder.delete(file)
            self._files = {name: file for name, file in self._files.items() if file in self._sizes}

    def accept(self, request: int) -> bool:
        """Take a request; false when it is there already, sent again after the connection was cut.

        Raises:
            RunError: too many are not answered yet.
        """
        with self._lock:
            if request in self._seen:
                return False
            if len(self._open) >= self._limits.outstanding:
                raise too_many()
            self._seen[request] = None
            self._open.add(request)
            if len(self._seen) > _REMEMBERED_REQUESTS:
                self._seen.popitem(last=False)
        return True

    # What the client gets --------------------------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Keep an event for the client; its arrays get the names that the client sees. Called from any thread."""
        with self._lock:
            if self.over:
                for file in files_in(message.fields):
                    self._folder.delete(file)
                return
            fields = _renamed(message.fields, message.id, self._results)
            self._count += 1
            self._events.append((self._count, Message(message.id, message.name, fields)))
            if message.name in FINAL and message.id is not None:
                self._open.discard(message.id)
            if len(self._events) > _KEPT_EVENTS:
                passing = next((event for event in self._events if event[1].name not in FINAL), None)
                if passing is not None:
                    self._events.remove(passing)
        with contextlib.suppress(RuntimeError):  # the server has ended at this moment
            self._loop.call_soon_threadsafe(self._news.set)

    async def events(
        self, after: int, seconds: float, gone: Callable[[], Awaitable[bool]]
    ) -> list[tuple[int, Message]]:
        """The events after number ``after``, waiting for the first; those before are forgotten with their arrays.

        Args:
            after: the last one that the client has.
            seconds: how long to wait.
            gone: whether the client has hung up.

        Raises:
            RunError: the session has ended.
        """
        self._acknowledge(after)
        self._watched += 1
        try:
            deadline = time.monotonic() + seconds
            while True:
                self._news.clear()
                if self.over:
                    raise no_session()
                with self._lock:
                    found = [event for event in self._events if event[0] > after]
                left = deadline - time.monotonic()
                if found or left <= 0 or await gone():
                    return found
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), min(left, _GLANCE_SECONDS))
        finally:
            self._watched -= 1
            self.touch()

    def result(self, name: str) -> str:
        """The file of an array that an event named.

        Raises:
            RunError: none did.
        """
        with self._lock:
            if name not in self._results:
                raise no_array()
            return self._results[name]

    def end(self) -> None:
        """Delete everything; whoever waits for events hears that it is over."""
        with self._lock:
            self.over = True
            files = [*self._results.values(), *self._sizes]
            self._events.clear()
            self._results.clear()
        for file in files:
            self._folder.delete(file)
        self._loop.call_soon_threadsafe(self._news.set)

    def _acknowledge(self, after: int) -> None:
        with self._lock:
            while self._events and self._events[0][0] <= after:
                _number, message = self._events.popleft()
                for name in files_in(message.fields):
                    self._folder.delete(self._results.pop(name, ""))


def _renamed(fields: Any, request: int | None, results: dict[str, str]) -> Any:
    """The fields of an event with its arrays under the client's own number of the request."""
    if not isinstance(fields, dict):
        return fields
    renamed = {name: _renamed(value, request, results) for name, value in fields.items()}
    if isinstance(fields.get("file"), str):
        renamed["file"] = f"{fields['file'].rpartition('-')[0]}-{request}.npy"
        results[renamed["file"]] = fields["file"]
    return renamed


class Sessions:
    """All sessions of a server.

    Args:
        folder: where arrays lie.
        limits: of the server.
    """

    def __init__(self, folder: ExchangeFolder, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._sessions: dict[str, ClientSession] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self) -> ClientSession:
        """Begin one.

        Raises:
            RunError: there are too many.
        """
        if len(self._sessions) >= self._limits.sessions:
            raise too_many()
        if not self._folder.path.is_dir():  # a cleaner of temporary files took it
            self._folder.path.mkdir(0o700)
        self._folder.is_there()  # renews its lock
        self._count += 1
        session = ClientSession(self._count, self._folder, self._limits)
        self._sessions[session.id] = session
        return session

    def find(self, name: object) -> ClientSession | None:
        """The session of this id, if there is one."""
        # A dictionary's look-up tells nothing of a secret that an attacker could measure: it compares hashes first.
        return self._sessions.get(name) if isinstance(name, str) else None

    def get(self, name: str) -> ClientSession:
        """The session that a client names.

        Raises:
            RunError: there is none.
        """
        session = self.find(name)
        if session is None:
            raise no_session()
        session.touch()
        return session

    def close(self, session: ClientSession) -> None:
        """End one; harmless when it has ended."""
        self._sessions.pop(session.id, None)
        session.end()

    def idle(self) -> list[ClientSession]:
        """Those whose clients are gone."""
        now = time.monotonic()
        return [session for session in self._sessions.values() if session.idle(now)]

    def all(self) -> list[ClientSession]:
        """Every one."""
        return list(self._sessions.values())

"""A session with a server: begun when it is needed, begun anew when it was lost, with the CT sent once in each."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from pancreasseg.core.errors import Cancelled, PancreasSegError, explain
from pancreasseg.core.progress import Update
from pancreasseg.remote import wire
from pancreasseg.remote.link import Link, ServerAddress, stranger
from pancreasseg.remote.refusals import no_session
from pancreasseg.worker.codec import error_fields, files_in
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.parameters import check_parameters, malformed
from pancreasseg.worker.protocol import FINAL, Message, Request

#: The relay's own requests, which nobody waits for, have numbers that no client comes to.
_OWN_NUMBERS = 1 << 40
_LARGEST_ARRAY = 4 << 30
#: The way out: saying good-bye may take so long, no longer.
_FAREWELL_SECONDS = 2.0
_READ_BYTES = 1 << 16


@dataclass
class _Asked:
    """A request without an answer yet.

    Attributes:
        request: as the client sent it.
        fraction: how far it was when last heard of.
        cancelled: the client does not want it any more.
        session: in which the server has it.
    """

    request: Request
    fraction: float = 0.0
    cancelled: bool = False
    session: str | None = None


class Relay:
    """Has a server do what the worker's client asks.

    Threads: one sends what is done in turn, with the CT, which may take a while; one what is done beside it; one
    cancels; and one listens.

    Args:
        server: which.
        folder: through which arrays cross to the client.
        say: called with every event for the client, from any thread.

    Raises:
        InputError: the file of certificates cannot be read.
    """

    def __init__(self, server: ServerAddress, folder: ExchangeFolder, say: Callable[[Message], None]) -> None:
        self._server = server
        self._context = server.context()
        self._folder = folder
        self._say = say
        self._over = threading.Event()
        self._book = threading.Condition()  # guards what follows
        self._asked: dict[int, _Asked] = {}
        self._session: str | None = None
        self._lost: str | None = None  # one that the server may still have
        self._opening = threading.Lock()
        self._volume: Request | None = None  # the last load, to repeat in a new session
        self._holder: str | None = None  # the session that has it
        self._own = itertools.count(_OWN_NUMBERS)
        self._turns = self._lane("turns", self._ask)
        self._asides = self._lane("asides", self._ask)
        self._cancels = self._lane("cancels", self._pass_on)
        threading.Thread(target=self._listen, name="events", daemon=True).start()

    def ask(self, request: Request) -> None:
        """Have something done."""
        with self._book:
            self._asked[request.id] = _Asked(request)
        (self._asides if request.name == "measure" else self._turns).put(request)

    def cancel(self, request: Request) -> None:
        """Have what was asked stopped."""
        target = request.parameters.get("target")
        with self._book:
            for number, asked in self._asked.items():
                stops = target in (None, number) and asked.request.name not in ("hello", "measure", "cancel")
                asked.cancelled = asked.cancelled or stops
            self._asked[request.id] = _Asked(request)
        self._cancels.put(request)

    def end(self, seconds: float) -> None:
        """Stop everything, and have the server delete what it has.

        Args:
            seconds: what is almost done may come until then.
        """
        self.cancel(Request(next(self._own), "cancel", {"target": None}))
        deadline = time.monotonic() + seconds
        with self._book:
            self._book.wait_for(lambda: not self._asked, max(0.0, deadline - time.monotonic()))
            session, self._session = self._session, None
            self._over.set()
            self._book.notify_all()
        if session is not None:
            with contextlib.suppress(PancreasSegError):  # the server ends it by itself when it hears nothing
                self._link(_FAREWELL_SECONDS).json("DELETE", f"/v1/sessions/{session}", insist=False)

    # What goes out ---------------------------------------------------------------------------------------------------

    def _lane(self, name: str, do: Callable[[Link, Request], None]) -> queue.SimpleQueue[Request]:
        """A thread that takes requests in their order."""
        requests: queue.SimpleQueue[Request] = queue.SimpleQueue()

        def work() -> None:
            link = self._link()
            while True:
                request = requests.get()
                try:
                    do(link, request)
                except Exception as error:
                    self._answer(Message(request.id, "error", error_fields(explain(error))))

        threading.Thread(target=work, name=name, daemon=True).start()
        return requests

    def _link(self, seconds: float | None = None) -> Link:
        patience = {} if seconds is None else {"seconds": seconds}
        return Link(self._server, self._context, self._over, self._interrupted, **patience)

    def _ask(self, link: Link, request: Request) -> None:
        check_parameters(request)
        self._look(request)
        try:
            self._send_somehow(link, request)
        finally:
            if request.name == "measure":
                for file in _files_of(request):
                    self._folder.delete(file)

    def _send_somehow(self, link: Link, request: Request) -> None:
        """Send a request; in a new session, where the one there was is lost."""
        session = self._begin(link)
        try:
            self._send(link, session, request)
        except PancreasSegError as error:
            if error.code != "no-session":
                raise
            self._lose(session, error)
            self._send(link, self._begin(link), request)

    def _send(self, link: Link, session: str, request: Request) -> None:
        if request.name == "load":
            self._volume, self._holder = request, None
        elif request.name not in ("hello", "measure") and self._volume is not None and self._holder != session:
            self._hand_over(link, session, Request(next(self._own), "load", self._volume.parameters), request)
            self._holder = session
        self._hand_over(link, session, request, request)
        if request.name == "load":
            self._holder = session
        with self._book:
            if session != self._session:
                raise no_session()  # lost at this moment, so nobody would hear of the request's end
            if request.id in self._asked:
                self._asked[request.id].session = session
        if self._is_cancelled(request):  # which the server may have heard before it knew what
            self._cancels.put(Request(next(self._own), "cancel", {"target": request.id}))

    def _hand_over(self, link: Link, session: str, request: Request, waiting: Request) -> None:
        """Send a request and the arrays it names; ``waiting`` is the one that the client waits for meanwhile."""
        for file in _files_of(request):
            self._upload(link, session, file, waiting)
        self._put(link, session, request)

    def _put(self, link: Link, session: str, request: Request) -> None:
        sent = wire.crossing(request)
        link.json("PUT", f"/v1/sessions/{session}/requests/{sent.id}", {"request": sent.name, **sent.parameters})

    def _pass_on(self, link: Link, request: Request) -> None:
        """Have the server cancel something, where it has anything."""
        check_parameters(request)
        session = self._session
        if session is None:
            self._answer(Message(request.id, "result", {"cancelled": []}))
        else:
            self._put(link, session, request)

    def _begin(self, link: Link) -> str:
        """The session; a new one where there is none."""
        with self._opening:
            if self._session is None:
                began = link.json("POST", "/v1/sessions", wire.session_request(self._lost), insist=False)
                if not isinstance(began, dict) or not isinstance(began.get("session"), str):
                    raise stranger(self._server.address)
                with self._book:
                    self._session = began["session"]
                    self._book.notify_all()
            return self._session

    def _upload(self, link: Link, session: str, file: str, waiting: Request) -> None:
        array = self._folder.map(file)
        layout = wire.Layout.of(array)

        def advance(done: int) -> None:
            self._look(waiting)
            if done % (1 << 22) == 0 and waiting.name != "measure":
                update = Update("send", done >> 10, layout.nbytes >> 10, done / layout.nbytes, None)
                self._say(Message(waiting.id, "progress", asdict(update)))

        path = f"/v1/sessions/{session}/arrays/{file}"
        link.put(path, lambda: wire.packed(array, advance), {wire.ARRAY_HEADER: layout.header()})

    def _look(self, request: Request) -> None:
        if self._is_cancelled(request) or self._over.is_set():
            raise Cancelled

    def _is_cancelled(self, request: Request) -> bool:
        asked = self._asked.get(request.id)
        return asked is not None and asked.cancelled

    # What comes in ---------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """The listening thread."""
        link = self._link()
        session, after = None, 0
        while not self._over.is_set():
            with self._book:
                self._book.wait_for(lambda: self._session is not None or self._over.is_set())
                if session != self._session:
                    session, after = self._session, 0
            if session is None:
                continue
            try:
                for number, fields in link.json("GET", f"/v1/sessions/{session}/events?after={after}"):
                    self._hear(link, session, Message.parse(json.dumps(fields).encode()))
                    after = int(number)
            except Cancelled:
                return
            except PancreasSegError as error:
                self._lose(session, error)
            except Exception:  # whatever is wrong with what came
                self._lose(session, stranger(self._server.address))

    def _hear(self, link: Link, session: str, message: Message) -> None:
        """Hand on an event of the server, once its arrays are here."""
        asked = self._asked.get(message.id or 0)
        if asked is None:
            return
        if message.name not in FINAL:
            if message.name == "progress":
                asked.fraction = float(message.fields["fraction"])
            self._say(message)
            return
        try:
            if message.name != "error":
                self._look(asked.request)  # who has gone away wants no arrays
            for file in files_in(message.fields):
                self._fetch(link, session, file)
        except PancreasSegError as error:
            if error.code == "no-session":
                raise
            message = Message(message.id, "error", error_fields(error))
        own = {"pid": os.getpid()} if message.name == "ready" else {}
        self._answer(Message(message.id, message.name, {**message.fields, **own}))

    def _fetch(self, link: Link, session: str, file: object) -> None:
        if not wire.is_array_name(file):
            raise stranger(self._server.address)

        def read(answer: http.client.HTTPResponse) -> None:
            layout = wire.Layout.parse(answer.getheader(wire.ARRAY_HEADER, ""))
            if layout.nbytes > _LARGEST_ARRAY:
                raise wire.damaged()
            upload = self._folder.upload(str(file).removesuffix(".npy"), layout.shape, layout.dtype)
            try:
                unpacker = wire.Unpacker(layout, upload.add_bytes)
                while block := answer.read(_READ_BYTES):
                    unpacker.feed(block)
                unpacker.finish()
                upload.finish()
            except BaseException:
                upload.discard()
                raise

        link.get(f"/v1/sessions/{session}/arrays/{file}", read)

    def _answer(self, message: Message) -> None:
        """The end of a request."""
        with self._book:
            asked = self._asked.pop(message.id or 0, None)
            self._book.notify_all()
        if asked is not None and asked.request.id < _OWN_NUMBERS:
            self._say(message)

    def _lose(self, session: str, error: PancreasSegError) -> None:
        """The session is over: so is what was asked in it, and not sent again."""
        with self._book:
            if session != self._session:
                return
            self._session, self._lost = None, session
            lost = [number for number, asked in self._asked.items() if asked.session == session]
        for number in lost:
            self._answer(Message(number, "error", error_fields(error)))

    def _interrupted(self) -> None:
        """Tell those who wait that the connection was lost and is being tried again."""
        with self._book:
            waiting = [asked for asked in self._asked.values() if asked.request.name not in ("hello", "cancel")]
        for asked in waiting:
            update = Update("reconnect", 0, 1, asked.fraction, None)
            self._say(Message(asked.request.id, "progress", asdict(update)))


def _files_of(request: Request) -> list[str]:
    """The arrays that a request hands over.

    Raises:
        RunError: a name that would tell something, or lead elsewhere.
    """
    named = [request.parameters.get(key) for key in wire.FILES.get(request.name, ())]
    files = [file for file in named if file is not None]
    if not all(map(wire.is_array_name, files)):
        raise malformed(request.name)
    return files

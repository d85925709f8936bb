"""The workstation's end: a worker process that computes nothing, and has a server do it."""

from __future__ import annotations

# Windows: compiled libraries that others load later must be there before requests are read, see `standard_streams`.
import encodings.idna  # noqa: F401
import mmap  # noqa: F401
import threading
from pathlib import Path
from typing import BinaryIO

from pancreasseg.core.errors import PancreasSegError, RunError
from pancreasseg.remote.link import ServerAddress
from pancreasseg.remote.relay import Relay
from pancreasseg.remote.wire import CROSSING
from pancreasseg.worker.codec import error_fields
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.parameters import check_parameters, malformed
from pancreasseg.worker.protocol import PROTOCOL, Message, Request
from pancreasseg.worker.standard_streams import take_over
from pancreasseg.worker.termination import end_when_told

#: When the client is gone, answers that are almost there may come within this time.
GRACE_SECONDS = 2.0


class Bridge:
    """Speaks the worker's protocol with its client, and has a `Relay` do the work.

    Args:
        reader: where requests come from; its end ends the bridge.
        writer: where events go.
        server: which computes.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, server: ServerAddress) -> None:
        self._reader = reader
        self._writer = writer
        self._server = server
        self._writing = threading.Lock()
        self._folder: ExchangeFolder | None = None
        self._relay: Relay | None = None
        self._refusal: PancreasSegError | None = RunError(
            "protocol", "The segmentation process was not greeted.", "Send hello first."
        )

    def run(self) -> None:
        """Serve until shutdown or until the client is gone, whose exchange folder is removed then."""
        farewell = None
        for line in self._reader:
            try:
                request = Request.parse(line)
            except PancreasSegError as error:
                self._fail(None, error)
                continue
            if request.name == "shutdown":
                farewell = request
                break
            self._take(request)
        if self._relay is not None:
            self._relay.end(GRACE_SECONDS)
        if farewell is not None:
            self._say(Message(farewell.id, "result", {}))
        if self._folder is not None:
            self._folder.remove()

    def _take(self, request: Request) -> None:
        """Hand on a request, or say why not."""
        try:
            if request.name == "hello":
                self._refusal = self._greet(request)
            if self._refusal is not None:
                raise self._refusal
            if request.name not in CROSSING:
                raise malformed(request.name)
            if request.name == "cancel":
                check_parameters(request)
        except PancreasSegError as error:
            self._fail(request.id, error)
            return
        assert self._relay is not None  # noqa: S101  (made when it was greeted)
        (self._relay.cancel if request.name == "cancel" else self._relay.ask)(request)

    def _greet(self, request: Request) -> PancreasSegError | None:
        """Why nothing can be done for this client; None when all is well."""
        if request.parameters.get("protocol") != PROTOCOL:
            return RunError(
                "protocol-version",
                "The segmentation process and the program that uses it are of different versions.",
                "Update the extension and the pancreasseg package, then restart.",
            )
        try:
            self._folder = self._folder or ExchangeFolder(Path(str(request.parameters.get("folder"))))
            self._relay = self._relay or Relay(self._server, self._folder, self._say)
        except PancreasSegError as error:
            return error
        return None

    def _fail(self, request: int | None, error: PancreasSegError) -> None:
        self._say(Message(request, "error", error_fields(error)))

    def _say(self, message: Message) -> None:
        try:
            with self._writing:
                self._writer.write(message.line())
                self._writer.flush()
        except OSError:
            pass  # the client is gone, which the end of its requests says as well


def bridge(server: ServerAddress) -> None:
    """Serve this process's standard input and output until the client is gone."""
    end_when_told()
    requests, events = take_over()
    Bridge(requests, events, server).run()

"""A connection to the server that survives being cut; whatever else happens to it becomes a sentence."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pancreasseg import __version__
from pancreasseg.core.errors import Cancelled, InputError, PancreasSegError, RunError
from pancreasseg.remote.address import Address
from pancreasseg.remote.wire import WAIT_SECONDS
from pancreasseg.worker.codec import error_from

#: Longer than the server makes anybody wait.
_TIMEOUT_SECONDS = WAIT_SECONDS + 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_MOST_WORDS = 1 << 20  # of an answer that is no array

Body = Callable[[], Iterable[bytes]]
T = TypeVar("T")


@dataclass(frozen=True)
class ServerAddress:
    """How a server is reached.

    Attributes:
        address: where it is.
        token: the secret it wants.
        authority: a PEM file with the certificate of whoever vouches for the server's; the system's list by default.
        patience: seconds after which a connection that was cut is given up.
    """

    address: Address
    token: str = field(repr=False)
    authority: Path | None = None
    patience: float = 30.0

    def context(self) -> ssl.SSLContext | None:
        """For TLS; None where none is spoken.

        Raises:
            InputError: the file of certificates cannot be read.
        """
        if not self.address.encrypted:
            return None
        try:
            return ssl.create_default_context(cafile=self.authority)
        except OSError as error:
            raise InputError(
                "certificate-file",
                f"There is no certificate in the file {self.authority}.",
                "Choose the PEM file of the server's certificate, or of the authority that signed it.",
            ) from error


class Link:
    """One connection, opened when it is needed; a thread has its own.

    Args:
        server: where to.
        context: of the server, made once.
        over: set when nothing is wanted any more.
        cut: called when a connection is lost and is about to be tried again.
        seconds: a connection on which nothing comes for so long is cut.
    """

    def __init__(
        self,
        server: ServerAddress,
        context: ssl.SSLContext | None,
        over: threading.Event,
        cut: Callable[[], None] = lambda: None,
        seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._server = server
        self._context = context
        self._over = over
        self._cut = cut
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None

    def json(self, method: str, path: str, content: Any = None, *, insist: bool = True) -> Any:
        """Ask for something and get what the answer holds; None for an empty one.

        Args:
            method: of HTTP.
            path: of `wire`.
            content: sent as JSON.
            insist: try again when the connection is cut.

        Raises:
            PancreasSegError: what the server says, or why it cannot be asked.
        """
        body = None if content is None else json.dumps(content, allow_nan=False).encode()
        words = self._ask(
            method, path, lambda: body, {"Content-Type": "application/json"}, lambda it: it.read(_MOST_WORDS), insist
        )
        return json.loads(words) if words else None

    def put(self, path: str, body: Body, headers: Mapping[str, str]) -> None:
        """Send an array; ``body`` is called anew for each try. Raises as `json`."""
        self._ask("PUT", path, body, {**headers, "Content-Encoding": "deflate"}, lambda it: it.read(_MOST_WORDS), True)

    def get(self, path: str, read: Callable[[http.client.HTTPResponse], T]) -> T:
        """Fetch an array; ``read`` is called anew for each try. Raises as `json`."""
        return self._ask("GET", path, lambda: None, {}, read, True)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(
        self,
        method: str,
        path: str,
        body: Callable[[], Any],
        headers: Mapping[str, str],
        read: Callable[[http.client.HTTPResponse], T],
        insist: bool,
    ) -> T:
        headers = {**headers, "Authorization": f"Bearer {self._server.token}"}
        since, pause = 0.0, _FIRST_PAUSE
        while True:
            fresh = self._connection is None
            try:
                return self._once(method, path, body(), headers, read)
            except ssl.SSLCertVerificationError as error:
                self.close()
                raise untrusted(self._server.address, error.verify_message) from error
            except (OSError, http.client.HTTPException) as error:
                self.close()
                now = time.monotonic()
                since = since or now
                if not fresh and now == since:
                    continue  # the server has tired of a connection that nobody used
                if self._over.is_set():
                    raise Cancelled from error
                if not insist or now - since > self._server.patience:
                    raise unreachable(self._server.address, error) from error
            except BaseException:
                self.close()  # something of the answer, or of the question, may still be on its way
                raise
            self._cut()
            self._over.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _once(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        read: Callable[[http.client.HTTPResponse], T],
    ) -> T:
        connection = self._connection or self._connect()
        chunked = body is not None and not isinstance(body, bytes)
        try:
            connection.request(method, path, body, headers, encode_chunked=chunked)
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # The server has said something and hung up before all was sent.
        answer = connection.getresponse()
        if answer.status >= 300:
            raise self._refusal(answer)
        result = read(answer)
        if answer.will_close or not answer.isclosed():
            self.close()
        return result

    def _connect(self) -> http.client.HTTPConnection:
        address = self._server.address
        if self._context is not None:
            self._connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=self._seconds, context=self._context
            )
        else:
            self._connection = http.client.HTTPConnection(address.host, address.port, timeout=self._seconds)
        return self._connection

    def _refusal(self, answer: http.client.HTTPResponse) -> PancreasSegError:
        try:
            return error_from(json.loads(answer.read(_MOST_WORDS)))
        except (ValueError, LookupError, TypeError):
            pass
        if answer.status == 503:
            return RunError("server-full", "The server has too many clients at the moment.", "Try again later.")
        return stranger(self._server.address)


def untrusted(address: Address, reason: str) -> RunError:
    """The server's certificate cannot be believed."""
    return RunError(
        "server-certificate",
        f"The certificate of {address.host} is not trusted ({reason}); nothing was sent.",
        "Choose the PEM file of the certificate, or of the authority that signed it, and use the name it was made for.",
    )


def unreachable(address: Address, error: BaseException) -> PancreasSegError:
    """Nobody answers there."""
    if isinstance(error, (ssl.SSLError, http.client.BadStatusLine)) and not isinstance(
        error, http.client.RemoteDisconnected
    ):
        return stranger(address)
    return RunError(
        "server-unreachable",
        f"The server {address.host} cannot be reached at port {address.port}.",
        "Nothing was changed. See that it runs (pancreasseg serve) and that the SSH tunnel is open; or compute on this "
        "computer, under Advanced.",
    )


def stranger(address: Address) -> RunError:
    """Something else answers there."""
    return RunError(
        "server-other",
        f"What answers at {address} is no PancreasSeg server, or speaks another version of its protocol.",
        f"Check the address, and whether it begins with http or https; this computer has PancreasSeg {__version__}.",
    )

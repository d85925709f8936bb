"""What every request has to get past before a server looks at it: who asks, from where, how much and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import sys
import time
import traceback
from collections.abc import Collection
from typing import TYPE_CHECKING

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.remote.address import is_loopback
from pancreasseg.remote.limits import Limits
from pancreasseg.remote.refusals import foreign_origin, too_large, too_slow, wrong_token

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """The outermost layer of the application.

    Args:
        app: what it guards; turns what is raised from here into an answer, see `refuse`.
        refuse: an application that answers with an error.
        token: of the server.
        names: what the server may be called, beside its IP addresses.
        limits: of the server.
    """

    def __init__(self, app: ASGIApp, refuse: ASGIApp, token: str, names: Collection[str], limits: Limits) -> None:
        self._app = app
        self._refuse = refuse
        self._token = token.encode()
        self._names = {name.lower() for name in names}
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metered = _Metered(receive, send, self._limits, self._limit_of(scope))
        try:
            self._check(scope)
        except PancreasSegError as error:
            await self._refuse({**scope, "refusal": error}, metered.receive, metered.send)
            return
        try:
            await self._app(scope, metered.receive, metered.send)
        except Exception as error:  # in the middle of an answer, which is cut off
            if not isinstance(error, PancreasSegError):
                sys.stderr.write(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")

    def _check(self, scope: Scope) -> None:
        """Look at the head of a request.

        Raises:
            RunError: it is not for this server.
        """
        headers = {name.lower(): value for name, value in scope["headers"]}
        # No browser has a reason to come here; one that does was sent by somebody else's page. Such a page can also
        # have its own name point to this machine, so the name that is asked for counts as well.
        if b"origin" in headers or not self._is_mine(headers.get(b"host", b"").decode("latin-1")):
            raise foreign_origin()
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(given, self._token):
            raise wrong_token()
        if int(headers.get(b"content-length", b"0")) > self._limit_of(scope):
            raise too_large()

    def _is_mine(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        if name in self._names or is_loopback(name):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # an address that is spelt out cannot be somebody else's name for it

    def _limit_of(self, scope: Scope) -> int:
        is_array = "/arrays/" in scope["path"]
        return self._limits.array_bytes if is_array else self._limits.message_bytes


class _Metered:
    """A request whose body may be only so large, and whose client must go on sending and taking.

    Args:
        receive, send: of the request.
        limits: of the server.
        most: bytes of the body.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, most: int) -> None:
        self._receive = receive
        self._send = send
        self._stall = limits.stall_seconds
        self._left = most
        self._deadline = time.monotonic() + limits.body_seconds
        self._whole = False

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            RunError: it is too much, or comes too slowly.
        """
        if self._whole:  # what comes now is the client's going away, whenever that is
            return await self._receive()
        seconds = min(self._stall, self._deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(seconds, 0.0))
        except asyncio.TimeoutError:
            raise too_slow() from None
        self._left -= len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._left < 0:
            raise too_large()
        return message

    async def send(self, message: Message) -> None:
        """Send the next part of the answer.

        Raises:
            RunError: the client does not take it.
        """
        try:
            await asyncio.wait_for(self._send(message), self._stall)
        except asyncio.TimeoutError:
            raise too_slow() from None

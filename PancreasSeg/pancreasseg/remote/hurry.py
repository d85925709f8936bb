"""Uvicorn's HTTP, with an end to clients that begin a request and do not finish its head."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pancreasseg.remote.limits import Limits


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Uvicorn's protocol class with this server's limits."""
    return type("LimitedProtocol", (_Limited,), {"header_seconds": limits.header_seconds})


class _Limited(H11Protocol):
    """One connection."""

    header_seconds = 10.0
    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """It has sent something."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._calm()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Give it so long for the head of its request; between requests uvicorn's own patience counts."""
        waiting = self.conn.their_state is h11.IDLE
        begun = waiting and (self.cycle is None or bool(self.conn.trailing_data[0]))
        if not begun:
            self._calm()
        elif self._hurry is None:
            self._hurry = self.loop.call_later(self.header_seconds, self._hang_up)

    def _calm(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _hang_up(self) -> None:
        self.transport.close()


def options(limits: Limits) -> dict[str, Any]:
    """Uvicorn's settings that belong to the limits."""
    return {
        "http": protocol(limits),
        "limit_concurrency": limits.connections,
        "h11_max_incomplete_event_size": 16 << 10,
        "timeout_keep_alive": 60,
    }

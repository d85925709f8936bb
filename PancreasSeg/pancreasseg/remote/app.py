"""The server's application: the addresses of `pancreasseg.remote.wire`, answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pancreasseg import __version__
from pancreasseg.core.errors import PancreasSegError, explain
from pancreasseg.remote import refusals, wire
from pancreasseg.remote.device import Device
from pancreasseg.remote.guard import Guard
from pancreasseg.remote.limits import Limits
from pancreasseg.remote.session import ClientSession, Sessions
from pancreasseg.worker.codec import error_fields
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.parameters import check_parameters
from pancreasseg.worker.protocol import PROTOCOL
from pancreasseg.worker.protocol import Request as Asked

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_SWEEP_SECONDS = 1.0


class Service:
    """What the addresses do.

    Args:
        folder: where arrays lie.
        device: does what is asked.
        limits: of the server.
    """

    def __init__(self, folder: ExchangeFolder, device: Device, limits: Limits) -> None:
        self.sessions = Sessions(folder, limits)
        self._folder = folder
        self._device = device
        self._limits = limits

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """While the server runs: end sessions whose clients are gone; at the end, all of them."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            for session in self.sessions.all():
                self._close(session)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for session in self.sessions.idle():
                self._close(session)

    async def begin(self, request: Request) -> Response:
        """Begin a session."""
        hello = await _json(request)
        if (hello.get("wire"), hello.get("protocol")) != (wire.VERSION, PROTOCOL):
            raise refusals.other_version(str(hello.get("version"))[:20], __version__)
        before = self.sessions.find(hello.get("replaces"))
        if before is not None:
            self._close(before)
        return JSONResponse({"session": self.sessions.open().id, "version": __version__}, 201)

    async def end(self, request: Request) -> Response:
        """End a session."""
        self._close(self.sessions.get(request.path_params["session"]))
        return Response(status_code=204)

    def _close(self, session: ClientSession) -> None:
        self.sessions.close(session)
        self._device.leave(session)

    async def take_array(self, request: Request) -> Response:
        """Take an array from a client."""
        session = self.sessions.get(request.path_params["session"])
        name = request.path_params["name"]
        layout = wire.Layout.parse(request.headers.get(wire.ARRAY_HEADER, ""))
        if not wire.is_array_name(name):
            raise refusals.malformed()
        file = session.reserve(name, layout.nbytes)
        upload = self._folder.upload(file.removesuffix(".npy"), layout.shape, layout.dtype)
        try:
            unpacker = wire.Unpacker(layout, upload.add_bytes)
            async for block in request.stream():
                session.touch()
                await asyncio.to_thread(unpacker.feed, block)
            unpacker.finish()
            upload.finish()
        except BaseException:
            upload.discard()
            session.forget([file])
            raise
        session.keep(name, file)
        return Response(status_code=204)

    async def give_array(self, request: Request) -> Response:
        """Give a client an array that an event has named."""
        session = self.sessions.get(request.path_params["session"])
        array = self._folder.map(session.result(request.path_params["name"]))
        headers = {wire.ARRAY_HEADER: wire.Layout.of(array).header(), "Content-Encoding": "deflate"}
        return StreamingResponse(wire.packed(array), headers=headers, media_type="application/octet-stream")

    async def ask(self, request: Request) -> Response:
        """Have something done."""
        session = self.sessions.get(request.path_params["session"])
        line = {**await _json(request), "id": request.path_params["id"]}
        asked = Asked.parse(json.dumps(line).encode())
        if asked.name not in wire.CROSSING:
            raise refusals.malformed()
        check_parameters(asked)
        asked = wire.crossing(asked)
        names = [asked.parameters[key] for key in wire.FILES.get(asked.name, ()) if asked.parameters[key] is not None]
        if not all(map(wire.is_array_name, [*names, asked.parameters.get("volume") or "none.npy"])):
            raise refusals.malformed()
        if session.accept(asked.id):
            self._device.submit(session, asked)
        return Response(status_code=202)

    async def events(self, request: Request) -> Response:
        """What has happened in a session."""
        session = self.sessions.get(request.path_params["session"])
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            raise refusals.malformed()
        found = await session.events(int(after), wire.WAIT_SECONDS, request.is_disconnected)
        return JSONResponse([[number, json.loads(message.line())] for number, message in found])


async def _json(request: Request) -> dict[str, Any]:
    """The JSON object in a request.

    Raises:
        RunError: it holds none.
    """
    try:
        data = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise refusals.malformed() from None
    if not isinstance(data, dict):
        raise refusals.malformed()
    return data


async def _say(_request: Request, error: Exception) -> Response:
    """An error as an answer; the connection is closed where the rest of a body would have to be read."""
    if isinstance(error, HTTPException):
        error = refusals.no_page()
    known = explain(error)
    return JSONResponse(error_fields(known), refusals.status_of(known), headers={"Connection": "close"})


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    response = await _say(Request(scope), scope["refusal"])
    await response(scope, receive, send)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def application(service: Service, token: str, names: Collection[str], limits: Limits) -> ASGIApp:
    """The whole application.

    Args:
        service: what it does.
        token: who knows it may use it.
        names: what the server may be called.
        limits: of the server.
    """
    session = "/v1/sessions/{session}"
    routes = [
        Route("/v1/sessions", service.begin, methods=["POST"]),
        Route(session, service.end, methods=["DELETE"]),
        Route(session + "/arrays/{name}", service.take_array, methods=["PUT"]),
        Route(session + "/arrays/{name}", service.give_array, methods=["GET"]),
        Route(session + "/requests/{id:int}", service.ask, methods=["PUT"]),
        Route(session + "/events", service.events, methods=["GET"]),
    ]
    handlers = {PancreasSegError: _say, HTTPException: _say, ClientDisconnect: _gone}
    inner = Starlette(routes=routes, exception_handlers=handlers, lifespan=service.lifespan)
    return Guard(inner, _refuse, token, names, limits)

"""A real HTTP server on 127.0.0.1 that publishes files and misbehaves as a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behave = Callable[["Handler"], None]


@dataclass
class Site:
    """What the server has and does.

    Attributes:
        files: content by path.
        behaviours: for each request in turn what to do instead of answering well; the last one stays. None is well.
        asked: path and Range header of each request.
        tag: the ETag of everything.
        ranges: false for a server that knows no ranges.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    behaviours: list[Behave | None] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    tag: str = '"1"'
    ranges: bool = True
    address: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return self.address + path


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append((self.path, self.headers.get("Range")))
        number = min(len(site.asked), len(site.behaviours)) - 1
        behave = site.behaviours[number] if site.behaviours else None
        self.close_connection = True
        with suppress(OSError):  # the client has gone
            (behave or Handler.well)(self)

    @property
    def content(self) -> bytes:
        return self.site.files[self.path]

    @property
    def start(self) -> int:
        wanted = self.headers.get("Range")
        if not self.site.ranges or wanted is None or self.headers.get("If-Range", self.site.tag) != self.site.tag:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def begin(self, status: int | None = None) -> bytes:
        """Send status and headers of a good answer; returns what is to follow."""
        start, whole = self.start, self.content
        self.send_response(status or (206 if start else 200))
        self.send_header("ETag", self.site.tag)
        self.send_header("Content-Length", str(len(whole) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        return whole[start:]

    def well(self) -> None:
        if self.path not in self.site.files:
            self.send_error(404)
        elif self.start and self.start >= len(self.content):
            self.send_error(416)
        else:
            self.wfile.write(self.begin())


def cut(after: int) -> Behave:
    """The connection ends after so many bytes."""
    return lambda handler: void(handler.wfile.write(handler.begin()[:after]))


def trickle(handler: Handler) -> None:
    """A byte now and then, for ever."""
    for byte in handler.begin():
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if handler.site.closing.wait(0.02):
            return


def silent(handler: Handler) -> None:
    """Takes the request and never answers."""
    handler.site.closing.wait(60)


def slow_headers(handler: Handler) -> None:
    """A byte of a header now and then, for ever."""
    while not handler.site.closing.wait(0.02):
        handler.wfile.write(b"H")
        handler.wfile.flush()


def status(code: int, words: str = "") -> Behave:
    """An error."""
    return lambda handler: handler.send_error(code, words or None)


def redirect(target: Callable[[Site], str] | str) -> Behave:
    """Somewhere else."""

    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target if isinstance(target, str) else target(handler.site))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def void(_: object) -> None:
    """Nothing."""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """The site on a free port."""
    handler = type("SiteHandler", (Handler,), {"site": site, "log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()

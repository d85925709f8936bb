"""A TCP proxy between a client and a server: keeps what the client sends, and can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Tap:
    """One proxy on a free port.

    Attributes:
        port: where it listens.
        sent: all that clients have sent.
        received: how much they have got.
        most: nothing goes on to the server beyond so many bytes, until this is more.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.sent = bytearray()
        self.received = 0
        self.most = float("inf")
        self._open: set[socket.socket] = set()
        self._closed_until = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Break all connections, and let nobody through for a while."""
        self._closed_until = time.monotonic() + seconds
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut(1e6)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if time.monotonic() < self._closed_until:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, outward: bool) -> None:
        self._open.add(source)
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if outward:
                    self.sent += data
                    while len(self.sent) > self.most:
                        time.sleep(0.01)
                else:
                    self.received += len(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


@contextmanager
def tapping(target: int) -> Iterator[Tap]:
    """A proxy to a port of this machine."""
    tap = Tap(target)
    try:
        yield tap
    finally:
        tap.close()

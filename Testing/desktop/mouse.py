"""A real mouse: events that the X server itself makes (XTEST), so that they take the whole way of a hand's.

It speaks the X protocol over the server's socket: three requests are all it needs.
"""

from __future__ import annotations

import socket
import struct

LEFT = 1
_PRESS, _RELEASE, _MOVE = 4, 5, 6


class Mouse:
    """The pointer of a local X server that asks for no credentials.

    Args:
        display: such as ``:99``.
    """

    def __init__(self, display: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"/tmp/.X11-unix/X{display.partition(':')[2].partition('.')[0]}")  # noqa: S108 - X's own place
        self._socket.sendall(struct.pack("<cxHHHHxx", b"l", 11, 0, 0, 0))
        success, length = struct.unpack("<BxHHH", self._receive(8))[::3]
        self._receive(4 * length)
        if success != 1:
            raise RuntimeError(f"The X server {display} refused the connection.")
        self._xtest = self._extension(b"XTEST")

    def move(self, x: int, y: int) -> None:
        """Go to a pixel of the screen."""
        self._fake(_MOVE, 0, x, y)

    def press(self) -> None:
        """Press the left button."""
        self._fake(_PRESS, LEFT)

    def release(self) -> None:
        """Release it."""
        self._fake(_RELEASE, LEFT)

    def close(self) -> None:
        """Leave the server."""
        self._socket.close()

    def _fake(self, kind: int, detail: int, x: int = 0, y: int = 0) -> None:
        self._socket.sendall(struct.pack("<BBHBBxxII8xhh8x", self._xtest, 2, 9, kind, detail, 0, 0, x, y))
        # GetInputFocus has an answer: with it, the server has dealt with everything before it.
        self._socket.sendall(struct.pack("<BxH", 43, 1))
        answer = self._receive(32)
        if answer[0] != 1:
            raise RuntimeError(f"The X server refused a mouse event (error {answer[1]}).")

    def _extension(self, name: bytes) -> int:
        padded = name.ljust(-(-len(name) // 4) * 4, b"\0")
        self._socket.sendall(struct.pack("<BxHHxx", 98, 2 + len(padded) // 4, len(name)) + padded)
        present, opcode = struct.unpack("<8xBB22x", self._receive(32))
        if not present:
            raise RuntimeError(f"The X server has no {name.decode()}.")
        return opcode

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("The X server has gone.")
            data += part
        return data

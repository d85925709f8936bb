"""What crosses between a bridge and a server: arrays, their grids, settings of the run; no name, path or UID.

=======  =======================================  ==========================================================
POST     ``/v1/sessions``                         begin; the answer names the session
DELETE   ``/v1/sessions/S``                       end; everything of it is deleted
PUT      ``/v1/sessions/S/arrays/NAME``           hand over an array
PUT      ``/v1/sessions/S/requests/ID``           ask for something, as in `pancreasseg.worker.protocol`
GET      ``/v1/sessions/S/events?after=N``        the events after the Nth, waiting for one; those before are forgotten
GET      ``/v1/sessions/S/arrays/NAME``           an array that an event named
=======  =======================================  ==========================================================

All of them can be repeated without harm, so a connection that was cut is taken up again where it was.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pancreasseg.core.errors import RunError
from pancreasseg.worker.protocol import Request

#: Raised when something on this page changes its meaning; bridge and server must agree on it.
VERSION = 1
#: Says shape and type of the array in the body.
ARRAY_HEADER = "PancreasSeg-Array"
#: An answer that waits for events is sent after this time, with or without one.
WAIT_SECONDS = 15.0

_BLOCK_BYTES = 1 << 18
_RUN = ("volume", "pipeline", "model", "device", "precision", "options")
#: What of each request crosses; whatever else is in it stays on the workstation.
CROSSING: dict[str, tuple[str, ...]] = {
    "hello": (),
    "load": ("file", "geometry", "allow"),
    "localize": _RUN,
    "segment": (*_RUN, "box"),
    "attention": (*_RUN, "box", "maps"),
    "measure": ("mask", "hu", "reference", "geometry"),
    "cancel": ("target",),
}
#: The parameters that name arrays.
FILES = {"load": ("file",), "measure": ("mask", "hu", "reference")}
_GRID = ("size", "spacing", "origin", "direction")
_NAME = re.compile(r"[a-z0-9-]{1,80}\.npy")


def crossing(request: Request) -> Request:
    """The part of a request that the server gets; its parameters must have been checked."""
    wanted = {name: request.parameters.get(name) for name in CROSSING[request.name]}
    geometry = wanted.get("geometry")
    if geometry is not None:
        wanted["geometry"] = {name: geometry[name] for name in _GRID}
    return Request(request.id, request.name, wanted)


def is_array_name(name: object) -> bool:
    """Whether an array can be called so: a bare file name that tells nothing."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Layout:
    """Shape and type of an array, which say how many bytes it has.

    Attributes:
        shape: at most three axes.
        dtype: numbers or truth values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Size unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: np.ndarray) -> Layout:
        """Of an array."""
        return cls(array.shape, array.dtype)

    def header(self) -> str:
        """As `ARRAY_HEADER` has it: ``<i2 119 512 512``."""
        return " ".join([self.dtype.str, *map(str, self.shape)])

    @classmethod
    def parse(cls, header: str) -> Layout:
        """The inverse of `header`.

        Raises:
            RunError: not that.
        """
        found = re.fullmatch(r"([<>|][biuf][1248])((?: \d{1,6}){0,3})", header)
        try:
            if found is None:
                raise TypeError(header)
            return cls(tuple(map(int, found[2].split())), np.dtype(found[1]))
        except TypeError:
            raise damaged() from None


def damaged() -> RunError:
    """The error of an array that did not cross as it should."""
    return RunError("exchange-array", "An array between this computer and the server was damaged.", "Run again.")


def packed(array: np.ndarray, advance: Callable[[int], None] = lambda _bytes: None) -> Iterator[bytes]:
    """An array as it crosses: its bytes in C order, compressed (HTTP's ``deflate``).

    Args:
        array: of any layout; one on disk is read bit by bit.
        advance: told how many bytes of it are packed; may raise to stop.
    """
    deflate = zlib.compressobj(level=1)
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, flat.size, _BLOCK_BYTES):
        block = deflate.compress(flat[start : start + _BLOCK_BYTES].data)
        advance(start)
        if block:
            yield block
    yield deflate.flush()


class Unpacker:
    """Takes in what `packed` made, and never more than was declared.

    Args:
        layout: what was declared.
        write: called with the bytes, in order.
    """

    def __init__(self, layout: Layout, write: Callable[[bytes], None]) -> None:
        self._left = layout.nbytes
        self._write = write
        self._inflate = zlib.decompressobj()

    def feed(self, data: bytes) -> None:
        """Take some bytes.

        Raises:
            RunError: they are damaged, or unpack to more than was declared.
        """
        try:
            while block := self._inflate.decompress(data, _BLOCK_BYTES):
                self._left -= len(block)
                if self._left < 0:
                    raise damaged()
                self._write(block)
                data = self._inflate.unconsumed_tail
        except zlib.error:
            raise damaged() from None
        if self._inflate.unused_data:
            raise damaged()

    def finish(self) -> None:
        """Say that there is no more.

        Raises:
            RunError: something is missing.
        """
        if self._left or not self._inflate.eof:
            raise damaged()


def session_request(replaces: str | None = None) -> dict[str, Any]:
    """What begins a session, in place of one that the bridge has lost."""
    from pancreasseg import __version__
    from pancreasseg.worker.protocol import PROTOCOL

    return {"wire": VERSION, "protocol": PROTOCOL, "version": __version__, "replaces": replaces}

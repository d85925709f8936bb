"""What goes over the pipe: one JSON object a line, requests in and events out.

A request is ``{"id": 3, "request": "segment", ...}``; every event carries the id of the request it answers:

=========  =====================================================================
ready      answer to ``hello``: protocol, versions, device, installed models
progress   stage, done, total, fraction, seconds_left (null while too early)
notice     code, severity, sentence: what the person must know while it runs on
result     the request is done; its fields depend on the request
error      the request failed: kind, code, message, hint
=========  =====================================================================

A request ends with exactly one ``ready``, ``result`` or ``error``. A line that is no request is answered by an
``error`` without an id. Arrays never go over the pipe: they lie as ``.npy`` files in the client's private folder and
are named by their bare file name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pancreasseg.core.errors import RunError

#: Raised when a request or event changes its meaning; worker and client must agree on it.
PROTOCOL = 2
REQUESTS = ("hello", "load", "localize", "segment", "attention", "measure", "unload", "cancel", "shutdown")
EVENTS = ("ready", "progress", "notice", "result", "error")
#: The events that end a request.
FINAL = ("ready", "result", "error")


@dataclass(frozen=True)
class Request:
    """Something the client wants done.

    Attributes:
        id: chosen by the client, unique in its lifetime.
        name: one of `REQUESTS`.
        parameters: by request; see `pancreasseg.worker.server`.
    """

    id: int
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        """The request as it goes over the pipe."""
        return _line({"id": self.id, "request": self.name, **self.parameters})

    @classmethod
    def parse(cls, line: bytes) -> Request:
        """Read a request.

        Raises:
            RunError: not a JSON object with a whole-number id and the name of a request.
        """
        data = _parse(line)
        name, number = data.pop("request", None), data.pop("id", None)
        if not isinstance(name, str) or name not in REQUESTS or not isinstance(number, int) or isinstance(number, bool):
            raise RunError(
                "protocol",
                "The segmentation process was sent a request that it does not know.",
                f"It understands {', '.join(REQUESTS)}.",
            )
        return cls(number, name, data)


@dataclass(frozen=True)
class Message:
    """One event on the pipe: the id of its request (None when unknown), its name and its fields."""

    id: int | None
    name: str
    fields: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        """The event as it goes over the pipe."""
        return _line({"id": self.id, "event": self.name, **self.fields})

    @classmethod
    def parse(cls, line: bytes) -> Message:
        """Read an event.

        Raises:
            RunError: not a JSON object with the name of an event and the id of a request, or none.
        """
        data = _parse(line)
        name, number = data.pop("event", None), data.pop("id", None)
        if (
            not isinstance(name, str)
            or name not in EVENTS
            or isinstance(number, bool)
            or not (number is None or isinstance(number, int))
        ):
            raise RunError("protocol", "The segmentation process sent an event that is not known.", _VERSIONS)
        return cls(number, name, data)


_VERSIONS = "The extension and the pancreasseg package are probably of different versions; update both."


def _line(data: Mapping[str, Any]) -> bytes:
    # ASCII only: the pipe's encoding never matters, whatever the person's folders are called.
    return json.dumps(_plain(data), ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: numpy's numbers as Python's, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _parse(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(
            "protocol", "A line between Slicer and the segmentation process is not JSON.", _VERSIONS
        ) from error
    if not isinstance(data, dict):
        raise RunError("protocol", "A line between Slicer and the segmentation process is no JSON object.", _VERSIONS)
    return data

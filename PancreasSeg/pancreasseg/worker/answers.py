"""What the worker's messages mean to the one who asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pancreasseg.core import Geometry
from pancreasseg.core.errors import PancreasSegError, RunError
from pancreasseg.worker.codec import (
    AttentionReader,
    SegmentationReader,
    error_fields,
    error_from,
    facts_from,
    finding_from,
    localization_from,
    measured_from,
    update_from,
)
from pancreasseg.worker.protocol import FINAL, Message


@dataclass(frozen=True)
class Event:
    """What happened to a request.

    Attributes:
        request: its id, as the call returned it.
        name: "progress", "notice", "ready", "result" or "error"; the last three end the request.
        value: an `Update`, a `Finding`, or the request's result: a dict (hello), the findings (load), a
            `Localization` (without its coarse map), a `Segmentation`, an `Attention` or a `Measured`; a
            `PancreasSegError` for "error".
        fields: the event as it came over the pipe.
    """

    request: int
    name: str
    value: Any = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """True when the request has ended."""
        return self.name in FINAL


@dataclass
class Pending:
    """A request without an answer yet.

    Attributes:
        name: of the request.
        geometry: of the CT that is loaded for it.
        silent: sent by the client itself while starting.
        replaces: the file of the CT before, for load.
        cancelled_at: when the person gave it up.
        reader: takes in the arrays of a result that is ready.
        fields: of that result.
    """

    name: str
    geometry: Geometry | None
    silent: bool = False
    replaces: str | None = None
    cancelled_at: float | None = None
    reader: SegmentationReader | AttentionReader | None = None
    fields: dict[str, Any] = field(default_factory=dict)


def value_of(message: Message, request: str) -> Any:
    """The value of an event about a request; arrays are read by a reader of `codec`.

    Raises:
        Exception: of any kind, when the fields are not what they should be.
    """
    fields = message.fields
    if message.name == "error":
        return error_from(fields)
    if message.name == "progress":
        return update_from(fields)
    if message.name == "notice":
        return finding_from(fields)
    if request == "load":
        return tuple(finding_from(entry) for entry in fields["findings"])
    if request == "localize":
        return localization_from(fields)
    if request == "measure":
        return measured_from(fields)
    return facts_from(fields) if request == "hello" else fields


def garbled() -> RunError:
    """The error of an answer that cannot be read."""
    return RunError(
        "protocol",
        "The answer of the segmentation process cannot be read.",
        "The extension and the pancreasseg package are probably of different versions; update both.",
    )


def failure(request: int, error: PancreasSegError) -> Event:
    """The event of a request that failed on this side."""
    return Event(request, "error", error, error_fields(error))

"""How much a server takes from its clients, and how long it waits for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        array_bytes: of one array, unpacked; as many may come packed.
        session_bytes: of all arrays of a session that lie on the server's disk.
        message_bytes: of everything that is no array.
        sessions: at the same time.
        outstanding: requests of a session that are not answered yet.
        connections: at the same time.
        idle_seconds: a session whose client says nothing for so long ends.
        run_seconds: a run that takes longer is stopped.
        stuck_seconds: a worker that does not come back from a cancelled run is replaced.
        stall_seconds: a client that sends or takes nothing for so long is hung up on, in the middle of a request.
        header_seconds: the head of a request must be there by then.
        body_seconds: and all of it by then.
    """

    array_bytes: int = 4 << 30
    session_bytes: int = 6 << 30
    message_bytes: int = 1 << 20
    sessions: int = 16
    outstanding: int = 64
    connections: int = 256
    idle_seconds: float = 120.0
    run_seconds: float = 1800.0
    stuck_seconds: float = 10.0
    stall_seconds: float = 30.0
    header_seconds: float = 10.0
    body_seconds: float = 1800.0

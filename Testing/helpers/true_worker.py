"""Clients of the true worker, here or behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pancreasseg.worker.client import WorkerClient


@contextmanager
def true_client(by: str, folder: Path, environment: dict[str, str] | None = None) -> Iterator[WorkerClient]:
    """A client of the true worker, by "pipe", or by "server" with its temporary files in ``folder``."""
    if by == "pipe":
        with WorkerClient(environment=environment) as client:
            yield client
        return
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    from Testing.helpers.remote import a_client, serving

    with serving(folder, worker=None, environment=environment or {}) as server, a_client(server.address) as client:
        yield client

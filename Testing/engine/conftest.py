"""Fixtures for the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from Testing.helpers.bright_model import write_bright_model
from Testing.helpers.worker_talk import PIPE, Way


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for models, with one that is quick."""
    folder = tmp_path_factory.mktemp("store")
    write_bright_model(folder)
    return folder


@pytest.fixture(scope="module", params=["pipe", "server"])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """Both ways to the worker's double; one server serves a file of tests."""
    if request.param == "pipe":
        yield PIPE
        return
    for name in ("starlette", "uvicorn"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    from Testing.helpers.remote import serving, way_to

    with serving(tmp_path_factory.mktemp("server")) as server:
        yield way_to(server)

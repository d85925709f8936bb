"""What Slicer's side asks of a worker, wherever that runs; `WorkerClient` and the tests' doubles both keep to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.setup import AUTOMATIC, Setup
from pancreasseg.worker.answers import Event


class Transfer(Protocol):
    """A CT on its way to the worker, block by block along its first axis; see `pancreasseg.worker.folder.Upload`."""

    dtype: np.dtype

    def add(self, block: np.ndarray) -> None:
        """Append the next rows."""

    def finish(self) -> str:
        """The name of the complete array, for the worker."""

    def discard(self) -> None:
        """Give it up."""


class Worker(Protocol):
    """Requests return an id at once; what happens to them comes as events. See `WorkerClient`, which says the rest."""

    @property
    def holds_volume(self) -> bool:
        """The CT of the last `load` is there for the next run."""

    @property
    def reading(self) -> bool:
        """A result is being read into memory: the next `poll` goes on with it."""

    def hello(self) -> int:
        """Ask for device, precision, memory, versions and installed models."""

    def upload(self, shape: tuple[int, int, int], dtype: np.dtype) -> Transfer:
        """Begin to hand over a CT."""

    def load(
        self,
        array: Transfer,
        geometry: Geometry,
        *,
        source: Mapping[str, str] | None = None,
        allow: Collection[str] = (),
    ) -> int:
        """Hand over a CT whose upload is complete; it stays loaded until the next one."""

    def measure(self, mask: np.ndarray, hu: np.ndarray, geometry: Geometry, reference: np.ndarray | None = None) -> int:
        """Measure a mask, beside whatever goes on."""

    def localize(self, setup: Setup = AUTOMATIC) -> int:
        """Find the box in the loaded CT."""

    def segment(self, box: Box | None = None, setup: Setup = AUTOMATIC) -> int:
        """Segment the loaded CT, in a box that a person placed or in the localizer's."""

    def attention(self, box: Box, maps: Collection[str] | None = None, setup: Setup = AUTOMATIC) -> int:
        """Ask where a network with attention gates looks in the loaded CT."""

    def cancel(self, request: int | None = None) -> None:
        """End one request, or all of them, with a `Cancelled` error."""

    def poll(self) -> list[Event]:
        """What has happened since the last call; never waits."""

    def shutdown(self) -> None:
        """End the worker; the next request would start a new one."""

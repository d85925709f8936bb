"""A worker client that answers at once and can be held, so that tests decide what happens in the middle of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import Cancelled, RunError
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Update
from pancreasseg.core.results import Localization, Provenance, Segmentation
from pancreasseg.core.setup import AUTOMATIC, Setup
from pancreasseg.worker.answers import Event
from pancreasseg.worker.codec import Measured
from pancreasseg.worker.contract import Transfer

THRESHOLD_HU = 150
LOST = RunError("worker-lost", "The process ended.", "Run again.")


class FakeUpload:
    """A CT on its way to the worker."""

    def __init__(self, client: FakeClient, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self.client, self.shape, self.dtype = client, shape, dtype
        self.blocks: list[np.ndarray] = []
        self.discarded = False

    def add(self, block: np.ndarray) -> None:
        self.blocks.append(np.array(block))

    def finish(self) -> str:
        return "volume.npy"

    def discard(self) -> None:
        self.discarded = True
        self.client.held = False


class FakeClient:
    """A `pancreasseg.worker.contract.Worker`; its pancreas is every voxel above `THRESHOLD_HU` in the box.

    Attributes:
        requests: what was asked for, in order, as (name, value).
        held: while true, requests stay unanswered; ends with the run that is given up.
        fail: a step's name -> the error it ends with.
        grow: voxels by which a localizer's box grows while segmenting.
        uploads: the CTs that were sent, block by block.
        classes: names of what its model knows, background first; the air around the box is its second class.
    """

    reading: bool = False

    def __init__(self) -> None:
        self.requests: list[tuple[str, object]] = []
        self.held = False
        self.fail: dict[str, Exception] = {}
        self.findings: tuple[Finding, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.grow = 0
        self.uploads: list[FakeUpload] = []
        self.measures: list[tuple] = []
        self.array: np.ndarray | None = None
        self.geometry: Geometry | None = None
        self._number = 0
        self._dead = False
        self._open: dict[int, str] = {}
        self._answers: list[Event] = []

    @property
    def holds_volume(self) -> bool:
        """A CT was loaded."""
        return self.array is not None

    def hello(self) -> int:
        device = {"name": "Fake device", "precision": "f32", "memory": "1.0 of 2.0 GB free"}
        models = [
            {"name": "fake", "title": "Fake model", "version": "1", "localizes": True, "segments": True},
            {"name": "fine", "title": "Fine model", "version": "2", "localizes": False, "segments": True},
        ]
        description = {"device": device, "models": models}
        return self.take("hello", None, description, final="ready")

    def upload(self, shape: tuple[int, int, int], dtype: np.dtype) -> FakeUpload:
        self.uploads.append(FakeUpload(self, shape, dtype))
        return self.uploads[-1]

    def load(
        self,
        array: Transfer,
        geometry: Geometry,
        *,
        source: Mapping[str, str] | None = None,
        allow: Collection[str] = (),
    ) -> int:
        self.array, self.geometry = np.concatenate(self.uploads[-1].blocks), geometry
        return self.take("load", geometry, ())

    def localize(self, setup: Setup = AUTOMATIC) -> int:
        return self.take("localize", setup, Localization(self.box(), 0.9, (self.box(),)))

    def segment(self, box: Box | None = None, setup: Setup = AUTOMATIC) -> int:
        geometry, array = self._loaded()
        region = box or self.box().pad([self.grow] * 3, [self.grow] * 3).clip(geometry)
        mask = np.zeros(geometry.shape, np.uint8)
        mask[region.slices] = array[region.slices] > THRESHOLD_HU
        probability = mask[region.slices].astype(np.float32)
        provenance = Provenance("fake", (), "cpu", "float32", region.bounds(), "0")
        result = Segmentation(mask, region, probability, np.ones_like(probability), self.findings, {}, provenance)
        if self.classes:
            labels = mask.copy()
            for number in range(2, len(self.classes)):  # slabs beside the box
                labels[-number] = number
            result = replace(result, labels=labels, classes=self.classes)
        return self.take("segment", box, result)

    def attention(self, box: Box, maps: Collection[str] | None = None, setup: Setup = AUTOMATIC) -> int:
        raise AssertionError("this client knows no attention")

    def measure(self, mask: np.ndarray, hu: np.ndarray, geometry: Geometry, reference: np.ndarray | None = None) -> int:
        from pancreasseg.measure.measurements import compare, measure

        self.measures.append((mask, reference))
        own = measure(mask, Volume(hu, geometry))
        against = [] if reference is None else compare(mask, reference, geometry)
        number = self.take("measure", None, Measured(tuple(own), tuple(against)))
        self.requests.pop()  # tests look at the runs
        return number

    @property
    def measuring(self) -> bool:
        """A measurement is asked for and not answered."""
        return "measure" in self._open.values()

    def _loaded(self) -> tuple[Geometry, np.ndarray]:
        assert self.geometry is not None
        assert self.array is not None
        return self.geometry, self.array

    def box(self) -> Box:
        """Where this client finds the pancreas: the middle of the CT, off centre."""
        i, j, k = self._loaded()[0].size
        return Box((i // 5, j // 4, k // 5), (i // 2, j // 2 + 3, k // 2 + 2))

    def cancel(self, request: int | None = None) -> None:
        for number in [n for n in self._open if request is None or n == request]:
            self._end(number, Event(number, "error", Cancelled()))

    def poll(self) -> list[Event]:
        if self.held:
            return []
        answers, self._answers = self._answers, []
        self._open.clear()
        return answers

    def die(self) -> None:
        """The process is gone in the middle of whatever it did."""
        self.held = False
        self._dead = not self._open
        for number in list(self._open):
            self._end(number, Event(number, "error", LOST))

    def shutdown(self) -> None:
        self._open.clear()
        self._answers.clear()

    def take(self, name: str, asked: object, value: object, final: str = "result") -> int:
        self.requests.append((name, asked))
        self._number += 1
        number = self._number
        self._open[number] = name
        error = self.fail.pop(name, None)
        if self._dead and name != "measure":
            error, self._dead = LOST, False
        if name != "measure":
            self._answers.append(Event(number, "progress", Update(name, 1, 2, 0.5, 1.0)))
        self._answers.append(Event(number, final, value) if error is None else Event(number, "error", error))
        return number

    def _end(self, number: int, event: Event) -> None:
        self._open.pop(number, None)
        self._answers = [answer for answer in self._answers if answer.request != number or not answer.final]
        self._answers.append(event)
        self.held = False

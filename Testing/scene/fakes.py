"""A worker client that answers at once and can be held, so that tests decide what happens in the middle of a run."""

import numpy as np

from pancreasseg.errors import Cancelled, RunError
from pancreasseg.progress import Update
from pancreasseg.results import Localization, Provenance, Segmentation
from pancreasseg.volume import Box, Geometry
from pancreasseg.worker.answers import Event

THRESHOLD_HU = 150


class FakeClient:
    """Behaves as `pancreasseg.worker.client.WorkerClient`; its pancreas is every voxel above `THRESHOLD_HU` in the box.

    Attributes:
        requests: what was asked for, in order, as (name, value).
        held: while true, requests stay unanswered.
        fail: a step's name -> the error it ends with.
        grow: voxels by which a localizer's box grows while segmenting.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, object]] = []
        self.held = False
        self.fail: dict[str, Exception] = {}
        self.findings: tuple = ()
        self.grow = 0
        self.array: np.ndarray | None = None
        self.geometry: Geometry | None = None
        self._open: dict[int, str] = {}
        self._answers: list[Event] = []

    def hello(self) -> int:
        description = {"device": {"name": "Fake device", "precision": "f32", "memory": "1.0 of 2.0 GB free"}}
        return self._take("hello", None, description, final="ready")

    def load(self, array, geometry, *, source=None, allow=()) -> int:
        self.array, self.geometry = np.array(array), geometry
        return self._take("load", geometry, ())

    def localize(self, **settings) -> int:
        return self._take("localize", settings, Localization(self.box(), 0.9, (self.box(),)))

    def segment(self, box=None, **settings) -> int:
        region = box or self.box().pad([self.grow] * 3, [self.grow] * 3).clip(self.geometry)
        mask = np.zeros(self.geometry.shape, np.uint8)
        mask[region.slices] = self.array[region.slices] > THRESHOLD_HU
        probability = mask[region.slices].astype(np.float32)
        provenance = Provenance("fake", (), "cpu", "float32", region.bounds(), "0")
        result = Segmentation(mask, region, probability, np.ones_like(probability), self.findings, {}, provenance)
        return self._take("segment", box, result)

    def box(self) -> Box:
        """Where this client finds the pancreas: the middle of the CT, off centre."""
        i, j, k = self.geometry.size
        return Box((i // 5, j // 4, k // 5), (i // 2, j // 2 + 3, k // 2 + 2))

    def cancel(self, request=None) -> None:
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
        for number in list(self._open):
            self._end(number, Event(number, "error", RunError("worker-lost", "The process ended.", "Run again.")))

    def shutdown(self) -> None:
        self._open.clear()
        self._answers.clear()

    def _take(self, name, asked, value, final="result") -> int:
        self.requests.append((name, asked))
        number = len(self.requests)
        self._open[number] = name
        self._answers.append(Event(number, "progress", Update(name, 1, 2, 0.5, 1.0)))
        answer = Event(number, "error", self.fail.pop(name)) if name in self.fail else Event(number, final, value)
        self._answers.append(answer)
        return number

    def _end(self, number, event) -> None:
        self._open.pop(number, None)
        self._answers = [answer for answer in self._answers if answer.request != number or not answer.final]
        self._answers.append(event)
        self.held = False

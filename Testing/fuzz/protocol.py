"""Fuzz targets for the pipe between Slicer and the worker: odd requests to the server, odd answers to the client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from Testing.fuzz.trees import text_of
from Testing.helpers.played_process import played
from Testing.helpers.worker_double import Double
from Testing.helpers.worker_in_process import talk_in_process

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import PancreasSegError
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.memory import WorkerMemory

Target = Callable[[np.random.Generator, Path], str]
_GEOMETRY = Geometry((24, 20, 16), (1.5, 2.0, 2.5))
_BOX = [5, 12, 6, 11, 7, 10]
_PLACE = [0, 2, 0, 2, 0, 2]
_RUN = {"volume": "ct.npy", "pipeline": None, "model": None, "device": "cpu", "precision": "f32", "options": {}}
_FINDING = {"code": "a", "severity": "info", "sentence": "A.", "number": None}
_MEASUREMENT = {
    "name": "v", "title": "V", "value": 1.0, "unit": "ml", "note": "",
    "code": {"scheme": "SCT", "value": "1", "meaning": "V"},
}  # fmt: skip
_LOCALIZATION = {
    "box": _PLACE,
    "score": 0.5,
    "candidates": [_PLACE],
    "findings": [_FINDING],
    "timings": {"coarse": 1.0},
}
_ANSWERS: dict[str, dict[str, Any]] = {
    "hello": {"device": {"name": "CPU"}, "versions": {}, "models": [{}]},
    "load": {"findings": [_FINDING]},
    "localize": _LOCALIZATION,
    "segment": {
        "mask": {"box": _PLACE, "file": "m.npy"}, "labels": None, "probability": {"file": "p.npy"},
        "agreement": {"file": "a.npy"}, "box": _PLACE, "findings": [_FINDING], "timings": {},
        "provenance": {
            "pipeline": "p", "models": [{}], "device": "cpu", "precision": "f32", "box": _PLACE, "version": "1",
        },
        "localization": _LOCALIZATION,
    },
    "attention": {"box": _PLACE, "maps": {"one": {"file": "m.npy"}}},
    "measure": {"own": [_MEASUREMENT], "against": []},
}  # fmt: skip


def fuzz_requests(random: np.random.Generator, folder: Path) -> str:
    """A CT is loaded, then an odd request: it is answered, and never as unexpected; the worker lives on."""
    exchange = ExchangeFolder.create(folder)
    ct = np.full(_GEOMETRY.shape, 40, np.int16)
    ct[0], ct[8:12, 6:12, 6:12] = -1000, 130
    files = {name: exchange.write(name, array) for name, array in (("ct", ct), ("mask", (ct > 100).view(np.uint8)))}
    load = {"id": 1, "request": "load", "file": files["ct"], "geometry": _GEOMETRY.as_dict(), "source": {}, "allow": []}
    good = [
        load,
        {"id": 2, "request": "localize", **_RUN},
        {"id": 2, "request": "segment", **_RUN, "box": _BOX},
        {"id": 2, "request": "attention", **_RUN, "box": _BOX, "maps": None},
        {"id": 2, "request": "measure", "mask": files["mask"], "hu": files["ct"], "reference": None,
         "geometry": _GEOMETRY.as_dict()},
        {"id": 2, "request": "cancel", "target": 1},
        {"id": 2, "request": "hello", "protocol": 2, "folder": str(exchange.path)},
    ]  # fmt: skip
    line = text_of(random, good[int(random.integers(0, len(good)))]).replace(b"\n", b" ") + b"\n"
    events = talk_in_process(exchange, [load, line], WorkerMemory(Double, _no_one))
    codes = [event["code"] for event in events if event["event"] == "error"]
    assert "unexpected" not in codes
    assert events[-1]["id"] == -1 or b"shutdown" in line
    return codes[0] if codes else "accepted"


def fuzz_answers(random: np.random.Generator, folder: Path) -> str:
    """A request is answered oddly: poll raises nothing, and the request ends at most once."""
    with mock.patch("tempfile.tempdir", str(folder)), played(_GEOMETRY) as (client, process):
        names = list(_ANSWERS)
        name = names[int(random.integers(0, len(names)))]
        for file in ("m", "p", "a"):
            process.leave(file, np.zeros((2, 2, 2), np.float32))
        array = np.zeros(_GEOMETRY.shape, np.uint8)
        request = {
            "hello": client.hello, "load": lambda: client.load(array, _GEOMETRY), "localize": client.localize,
            "segment": client.segment, "attention": lambda: client.attention(Box.from_bounds(_BOX)),
            "measure": lambda: client.measure(array, array, _GEOMETRY),
        }[name]()  # fmt: skip
        kinds = [
            {"event": "ready" if name == "hello" else "result", **_ANSWERS[name]},
            {"event": "progress", "stage": "s", "done": 1, "total": 2, "fraction": 0.5, "seconds_left": None},
            {"event": "notice", **_FINDING},
            {"event": "error", "kind": "run", "code": "c", "message": "M.", "hint": ""},
        ]
        kind = kinds[int(random.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]
        with suppress(PancreasSegError):  # as the reading thread does
            process.say(text_of(random, {"id": request, **kind}))
        events = [event for _ in range(6) for event in client.poll()]
        assert sum(event.final for event in events) <= 1
        errors = [event.value for event in events if event.name == "error"]
        assert all(isinstance(error, PancreasSegError) for error in errors)
        return "protocol" if "protocol" in [error.code for error in errors] else "accepted"


def _no_one(_setup: object) -> list[str]:
    return []


TARGETS: dict[str, Target] = {"fuzz_requests": fuzz_requests, "fuzz_answers": fuzz_answers}

"""The worker's side of the pipe.

Requests and their parameters:

``hello``     folder, protocol -> ``ready``: protocol, versions, device, models, pipelines, formats
``load``      file, geometry, source, allow -> findings
``localize``  volume (its file), pipeline, model, device, precision, options -> box, score, candidates ...
``segment``   the same, and box (or null for the localizer's) -> mask, probability, agreement, labels, box, findings ...
``attention`` the same, and box and maps (names, or null for all) -> box, maps (a file each)
``measure``   mask, hu, reference (files; reference may be null), geometry -> own, against
``unload``    -> nothing; the CT is forgotten
``cancel``    target (or null for all) -> cancelled: the ids that will end
``shutdown``  -> nothing; the process ends

Requests are answered in their order; only ``measure``, which needs no network, does not wait for the runs before it.
Standard output carries protocol lines and nothing else; the log on standard error names no file and no patient.
"""

from __future__ import annotations

import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pancreasseg import __version__
from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import Cancelled, PancreasSegError, RunError, UnexpectedError, explain
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Progress, Update
from pancreasseg.core.results import Localization
from pancreasseg.core.setup import Setup
from pancreasseg.worker.codec import (
    Measured,
    attention_fields,
    error_fields,
    localization_fields,
    measured_fields,
    segmentation_fields,
)
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.memory import WorkerMemory, no_volume
from pancreasseg.worker.parameters import check_parameters, malformed
from pancreasseg.worker.protocol import PROTOCOL, Message, Request
from pancreasseg.worker.standard_streams import import_compiled, take_over
from pancreasseg.worker.termination import end_when_told

#: When the client is gone and a patch does not end within this time, the process ends in the middle of it.
GRACE_SECONDS = 2.0


def describe() -> dict[str, Any]:
    """Device, versions and installed models for the client's status line; imports torch."""
    import torch

    from pancreasseg import pipelines
    from pancreasseg.export.formats import formats
    from pancreasseg.inference import hardware
    from pancreasseg.models.store import Store
    from pancreasseg.pipelines.parts import localizes, segments

    hardware.use_cores()
    models = [
        {
            "name": p.card.name,
            "version": p.card.version,
            "title": p.card.title,
            "pipeline": p.card.pipeline,
            "localizes": localizes(p.card),
            "segments": segments(p.card),
        }
        for p in Store().packages()
    ]
    return {
        "device": hardware.describe(hardware.choose()),
        "versions": {
            "pancreasseg": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "models": models,
        "pipelines": [{"name": each.name, "title": each.title} for each in pipelines.declarations().values()],
        "formats": [{"name": each.name, "title": each.title} for each in formats().values()],
    }


class Server:
    """Reads requests, answers them one after the other (measuring beside them), and sees a cancel at once.

    Args:
        reader: where requests come from; its end ends the worker.
        writer: where events go.
        memory: pipelines, volume and localizations kept between requests.
        describe: facts for ``ready``.
    """

    def __init__(
        self,
        reader: BinaryIO,
        writer: BinaryIO,
        memory: WorkerMemory,
        describe: Callable[[], dict[str, Any]] = describe,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._writing = threading.Lock()
        self._memory = memory
        self._describe = describe
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._measures: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._waiting: set[int] = set()  # accepted and not answered yet
        self._cancelled: set[int] = set()
        self._book = threading.Lock()  # guards the two sets
        self._gone = threading.Event()  # the client closed the pipe, or said so
        self._finished = threading.Event()
        self._greeted = threading.Event()  # hello was answered, or will be with a refusal
        self._folder: ExchangeFolder | None = None
        self._refusal: PancreasSegError | None = RunError(
            "protocol", "The segmentation process was not greeted.", "Send hello first."
        )

    def run(self) -> None:
        """Serve until shutdown or until the client is gone, whose exchange folder is removed then."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        threading.Thread(target=self._measure_beside, name="measuring", daemon=True).start()
        try:
            while (request := self._requests.get()) is not None:
                self._answer(request)
                if request.name == "shutdown":
                    break
        finally:
            self._finished.set()
            self._greeted.set()
            self._measures.put(None)
            # A worker that is told to end by somebody else leaves the folder to its client, who goes on with a new one.
            if self._folder is not None and (self._gone.is_set() or not self._folder.in_use):
                self._folder.remove()

    def _listen(self) -> None:
        """The reading thread."""
        introduced = False
        for line in self._reader:
            try:
                request = Request.parse(line)
            except PancreasSegError as error:
                self._send(Message(None, "error", error_fields(error)))
                continue
            if request.name == "cancel":
                self._send(self._cancel(request))
                continue
            if request.name == "shutdown":
                self._gone.set()  # whatever runs stops at its next patch
            with self._book:
                self._waiting.add(request.id)
            introduced = introduced or request.name == "hello"
            if request.name == "measure" and introduced:
                self._measures.put(request)
            else:
                self._requests.put(request)
        self._gone.set()
        self._requests.put(None)
        if not self._finished.wait(GRACE_SECONDS):
            if self._folder is not None:
                self._folder.remove()
            os._exit(0)  # the main thread is deep in a patch that nobody waits for any more

    def _measure_beside(self) -> None:
        """The measuring thread."""
        self._greeted.wait()
        while (request := self._measures.get()) is not None:
            self._answer(request)

    def _cancel(self, request: Request) -> Message:
        """Mark requests as cancelled; the answer."""
        try:
            check_parameters(request)
        except PancreasSegError as error:
            return Message(request.id, "error", error_fields(error))
        target = request.parameters.get("target")
        with self._book:
            chosen = {waiting for waiting in self._waiting if target is None or waiting == target}
            self._cancelled |= chosen
        return Message(request.id, "result", {"cancelled": sorted(chosen)})

    def _stopped(self, request: int) -> bool:
        return self._gone.is_set() or request in self._cancelled

    def _send(self, message: Message) -> None:
        try:
            with self._writing:
                self._writer.write(message.line())
                self._writer.flush()
        except OSError:
            self._gone.set()  # nobody reads any more: the run stops at its next patch

    def _answer(self, request: Request) -> None:
        started = time.monotonic()
        try:
            if request.name in ("localize", "segment", "attention") and self._stopped(request.id):
                raise Cancelled
            if request.name not in ("hello", "shutdown") and self._refusal is not None:
                raise self._refusal
            answer = Message(request.id, "ready" if request.name == "hello" else "result", self._handle(request))
        except Exception as error:
            known = explain(error)
            if known.code == "bad-setting":
                known = malformed(request.name)
            if isinstance(known, UnexpectedError):
                _log_frames(error)
            answer = Message(request.id, "error", error_fields(known))
        with self._book:
            self._waiting.discard(request.id)
            self._cancelled.discard(request.id)
        outcome = answer.fields["code"] if answer.name == "error" else "done"
        _log(f"{request.name}: {outcome}, {time.monotonic() - started:.2f} s")
        self._send(answer)

    def _handle(self, request: Request) -> dict[str, Any]:
        check_parameters(request)
        if request.name == "hello":
            return self._hello(request.parameters)
        if request.name == "load":
            return self._load(request.parameters)
        if request.name == "localize":
            return self._localize(request)
        if request.name == "segment":
            return self._segment(request)
        if request.name == "attention":
            return self._attention(request)
        if request.name == "measure":
            return self._measure(request.parameters)
        if request.name == "unload":
            self._memory.unload()
        return {}  # unload and shutdown

    def _hello(self, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            self._refusal = self._greet(parameters)
        finally:
            self._greeted.set()
        if self._refusal is not None:
            raise self._refusal
        return {"protocol": PROTOCOL, "pid": os.getpid(), **self._describe()}

    def _greet(self, parameters: dict[str, Any]) -> PancreasSegError | None:
        """Why nothing can be done for this client; None when all is well."""
        if parameters.get("protocol") != PROTOCOL:
            return RunError(
                "protocol-version",
                "The segmentation process and the program that uses it are of different versions.",
                "Update the extension and the pancreasseg package, then restart.",
            )
        if self._folder is None:
            self._folder = ExchangeFolder(Path(str(parameters.get("folder"))))
        return None

    def _load(self, parameters: dict[str, Any]) -> dict[str, Any]:
        assert self._folder is not None  # noqa: S101  (hello came first)
        file, geometry = parameters["file"], Geometry.from_dict(parameters["geometry"])
        volume = self._memory.load(
            file, self._folder.map(file), geometry, parameters.get("source") or {}, parameters.get("allow") or ()
        )
        return {"findings": [finding.as_dict() for finding in volume.findings]}

    def _localize(self, request: Request) -> dict[str, Any]:
        key, setup, progress = self._prepare(request)
        return localization_fields(self._localization(key, setup, progress))

    def _segment(self, request: Request) -> dict[str, Any]:
        from pancreasseg.runs.run import announce, segment

        assert self._folder is not None  # noqa: S101  (hello came first)
        key, setup, progress = self._prepare(request)
        bounds = request.parameters.get("box")
        placed = None if bounds is None else Box.checked(bounds, self._memory.volume.geometry)
        pipeline = self._memory.pipeline(key, setup)
        announce(pipeline, progress, localize=placed is None and self._memory.localization(key) is None)
        localization = None if placed else self._localization(key, setup, progress)
        result = segment(self._memory.volume, pipeline, placed or localization, progress)
        return {
            **segmentation_fields(result, self._folder, request.id),
            "localization": None if localization is None else localization_fields(localization),
        }

    def _attention(self, request: Request) -> dict[str, Any]:
        from pancreasseg.pipelines.attention import attention_maps, gated_stage

        assert self._folder is not None  # noqa: S101  (hello came first)
        key, setup, progress = self._prepare(request)
        box = Box.checked(request.parameters["box"], self._memory.volume.geometry)
        progress.plan([("attention", 1.0)])
        stage = gated_stage(self._memory.pipeline(key, setup))
        maps = attention_maps(stage, self._memory.volume, box, progress, names=request.parameters.get("maps"))
        return attention_fields(maps, self._folder, request.id)

    def _measure(self, parameters: dict[str, Any]) -> dict[str, Any]:
        from pancreasseg.measure.measurements import compare, measure

        assert self._folder is not None  # noqa: S101  (hello came first)
        geometry, files = Geometry.from_dict(parameters["geometry"]), ("mask", "hu", "reference")
        arrays = [self._folder.take(parameters[name]) for name in files if parameters.get(name) is not None]
        if any(array.ndim != 3 or array.dtype.kind not in "biuf" for array in arrays):
            raise malformed("measure")
        mask, hu, *reference = arrays
        if hu.shape != geometry.shape:
            raise malformed("measure")
        own = measure(mask, Volume(hu, geometry))
        against = compare(mask, reference[0], geometry) if reference else []
        return measured_fields(Measured(tuple(own), tuple(against)))

    def _prepare(self, request: Request) -> tuple[str, Setup, Progress]:
        """The pipeline of a request, in memory, and a progress that reports and cancels."""
        if request.parameters.get("volume") != self._memory.name:
            raise no_volume()  # never segment another CT than the one that is meant
        setup = Setup.of(request.parameters)
        key = self._memory.key(setup)
        progress = Progress(
            report=lambda update: self._report(request.id, update),
            cancelled=lambda: self._stopped(request.id),
            notify=lambda finding: self._notify(request.id, finding),
        )
        if not self._memory.has(key):
            with progress.stage("models"):
                self._memory.pipeline(key, setup)
        return key, setup, progress

    def _localization(self, key: str, setup: Setup, progress: Progress) -> Localization:
        known = self._memory.localization(key)
        if known is None:
            known = self._memory.pipeline(key, setup).localize(self._memory.volume, progress)
            self._memory.remember(key, known)
        return known

    def _report(self, request: int, update: Update) -> None:
        self._send(Message(request, "progress", asdict(update)))

    def _notify(self, request: int, finding: Finding) -> None:
        self._send(Message(request, "notice", finding.as_dict()))


def serve(
    memory: WorkerMemory | None = None,
    describe: Callable[[], dict[str, Any]] = describe,
    prepare: Callable[[], None] = import_compiled,
) -> None:
    """Serve this process's standard input and output until the client is gone.

    Args:
        memory: see `Server`.
        describe: see `Server`.
        prepare: what must be done before a thread waits for requests.
    """
    end_when_told()
    requests, events = take_over()
    prepare()
    Server(requests, events, memory or WorkerMemory(), describe).run()


def _log(line: str) -> None:
    sys.stderr.write(f"pancreasseg worker: {line}\n")
    sys.stderr.flush()


def _log_frames(error: BaseException) -> None:
    """Where an unforeseen error arose; not its text, which may hold a path with a patient's name."""
    _log(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")

"""The child of a batch with no model in it: what becomes of a CT is told by its name."""

import ctypes
import json
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pancreasseg.batch import apart
from pancreasseg.batch.case import Case, Settings
from pancreasseg.batch.record import forget, identify, write_record
from pancreasseg.core.errors import OutputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress

NOTICE = Finding("slow", Severity.INFO, "This one takes long.")


def serve(pipe: Connection, settings: Settings, debug: bool) -> None:
    apart.load_pipeline = lambda settings: None
    apart.run_case = run_case
    apart.serve(pipe, settings, debug)


def serve_nothing(pipe: Connection, settings: Settings, debug: bool) -> None:
    os._exit(9)


def run_case(case: Case, settings: Settings, pipeline: object, progress: Progress) -> dict[str, Any]:
    with progress.stage("read"):
        _go_wrong(case)
    forget(case.folder)
    case.folder.mkdir(exist_ok=True)
    document = {"findings": [], "measurements": [], "files": ["result.json"], "process": os.getpid()}
    document |= {"timings": {}, "provenance": {"version": "1", "pipeline": "double", "models": []}}
    (case.folder / "result.json").write_text(json.dumps(document))
    write_record(case.folder, identify(case.path, case.output), settings.identity(), document["files"])
    return document


def _go_wrong(case: Case) -> None:
    marker = Path(f"{case.path}.seen")
    if "crash" in case.name or ("once" in case.name and not marker.exists()):
        marker.touch()
        if sys.platform != "win32":
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)
    if "hang" in case.name:
        time.sleep(600)
    if "exit" in case.name:
        os._exit(3)
    if "odd" in case.name:
        raise KeyError("Doe^Jane")
    if "huge" in case.name:
        raise MemoryError
    if "full" in case.name:
        raise OutputError("disk-full", "The disk is full.")

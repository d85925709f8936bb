"""One long task in a process of its own, for panels that must not wait: ``python -m pancreasseg.worker.task``.

    install SOURCE...   install a model, or the one that several files are parts of; the result names what was
                        installed. After --trust-code also one that carries code, on the person's word; after
                        --card FILE a network in a file, with what a person says about it
    phantom SEED FILE   make a phantom CT: an .npy of HU, shape (K, J, I); the result has its geometry
    series JOB          read the headers of a DICOM series; see `pancreasseg.worker.jobs`
    export JOB          write a DICOM object; see there

It speaks the worker's protocol on standard output: progress, then one result or error with id 1. `Task` is the side of
the one who asks. The task stops by itself when its standard input ends: in Slicer Python is started by a launcher, and
killing that would leave the task alone with its work. Stopping it in the middle leaves nothing half done, because
stores and files change in one step.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import Cancelled, PancreasSegError, explain
from pancreasseg.core.progress import Progress, Update
from pancreasseg.worker.codec import error_fields, error_from
from pancreasseg.worker.process import END_SECONDS, WorkerProcess
from pancreasseg.worker.protocol import FINAL, Message
from pancreasseg.worker.standard_streams import when_input_ends

# Coarse enough to be made in seconds, fine enough to look like a CT.
PHANTOM_SPACING = (1.5, 1.5, 3.0)

#: Before the sources of an installation: the person knows that they carry code, and wants it to run.
TRUST = "--trust-code"
#: The same: a JSON file with what the person says about a network in a file.
CARD = "--card"
#: A task that was told to stop ends in the middle of whatever it does after this time.
GRACE_SECONDS = 1.0


class Task:
    """A task that is going on.

    Args:
        arguments: as for the command line above.
        python: starts Python; by default the one that runs this.

    Raises:
        RunError: the process cannot be started.
    """

    def __init__(self, arguments: Sequence[str], python: str = sys.executable) -> None:
        self._process = WorkerProcess([python, "-m", __name__, *arguments], {})
        self._cancelled = False

    def poll(self) -> list[Update | dict[str, Any]]:
        """What has happened since the last call: updates, and at the end the result as a dict.

        Raises:
            Cancelled: it was stopped, and has done nothing.
            PancreasSegError: why the task has failed.
        """
        news: list[Update | dict[str, Any]] = []
        for message in self._process.messages(0.0):
            if message.name == "progress":
                news.append(Update(**message.fields))
            elif message.name in FINAL:
                self.end()
                if message.name == "error":
                    raise error_from(message.fields)
                return [*news, message.fields]
        if self._process.ended:
            self.end()
            raise Cancelled if self._cancelled else self._process.obituary()
        return news

    def cancel(self) -> None:
        """Ask the task to stop; `poll` tells whether it did, or had done its work before."""
        self._cancelled = True
        self._process.hang_up()

    def end(self) -> None:
        """Stop the task and forget it, without waiting for it."""
        self._process.hang_up()
        threading.Thread(target=self._process.end, args=(END_SECONDS,), daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """Do the task; returns the exit code."""
    # Whatever else prints must not come between the lines of the protocol.
    pipe, sys.stdout = sys.stdout.buffer, sys.stderr

    def say(name: str, fields: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            pipe.write(Message(1, name, fields).line())
            pipe.flush()

    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        time.sleep(GRACE_SECONDS)
        os._exit(1)  # deep in a read from the network, perhaps

    when_input_ends(stop)
    progress = Progress(report=lambda update: say("progress", asdict(update)), cancelled=stopped.is_set)
    try:
        say("result", TASKS[arguments[0]](arguments[1:], progress))
    except PancreasSegError as error:
        say("error", error_fields(error))
        return error.exit_code
    except Exception as error:
        wrapped = explain(error)
        say("error", error_fields(wrapped))
        return wrapped.exit_code
    return 0


def _install(arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    from pancreasseg.models import catalogue
    from pancreasseg.models.nnunet.choices import Choices
    from pancreasseg.runs.installing import store

    parser = argparse.ArgumentParser()
    parser.add_argument(TRUST, action="store_true", dest="trust")
    parser.add_argument(CARD, type=Path)
    parser.add_argument("sources", nargs="+")
    options = parser.parse_args(arguments)
    sources = options.sources
    known = len(sources) == 1 and sources[0] in catalogue.offered()
    given = sources[0] if known else [Path(file) for file in sources]
    installed = store().install(given, progress, Choices(card=options.card, trust=options.trust))
    return {"installed": [package.card.name for package in installed]}


def _phantom(arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    import numpy as np

    from pancreasseg.io.atomic import atomic_write
    from pancreasseg.phantom import make_phantom

    seed, file = arguments
    with progress.stage("phantom"):
        phantom = make_phantom(int(seed), spacing=PHANTOM_SPACING, step=2.0)
    with atomic_write(file) as partial, partial.open("wb") as stream:
        np.save(stream, phantom.volume.array)
    return {"geometry": phantom.volume.geometry.as_dict()}


def _series(arguments: Sequence[str], _progress: Progress) -> dict[str, Any]:
    from pancreasseg.worker.jobs import do_series_job

    return do_series_job(Path(arguments[0]))


def _export(arguments: Sequence[str], _progress: Progress) -> dict[str, Any]:
    from pancreasseg.worker.jobs import do_export_job

    return do_export_job(Path(arguments[0]))


TASKS = {"install": _install, "phantom": _phantom, "series": _series, "export": _export}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One long task in a process of its own, for panels that must not wait: ``python -m pancreasseg.worker.task``.

    install SOURCE...   install a model, or the one that several files are parts of; the result names what was installed
    phantom SEED FILE   make a phantom CT: an .npy of HU, shape (K, J, I); the result has its geometry

It speaks the worker's protocol on standard output: progress, then one result or error with id 1. `Task` is the side of
the one who asks; ending it in the middle leaves nothing half done, because stores and files change in one step.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import PancreasSegError, explain
from pancreasseg.core.progress import Progress, Update
from pancreasseg.worker.codec import error_fields, error_from
from pancreasseg.worker.process import WorkerProcess
from pancreasseg.worker.protocol import FINAL, Message

# Coarse enough to be made in seconds, fine enough to look like a CT.
PHANTOM_SPACING = (1.5, 1.5, 3.0)


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

    def poll(self) -> list[Update | dict[str, Any]]:
        """What has happened since the last call: updates, and at the end the result as a dict.

        Raises:
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
            raise self._process.obituary()
        return news

    def end(self) -> None:
        """Stop the task at once."""
        self._process.end(0.0)


def main(arguments: Sequence[str]) -> int:
    """Do the task; returns the exit code."""
    # Whatever else prints must not come between the lines of the protocol.
    pipe, sys.stdout = sys.stdout.buffer, sys.stderr

    def say(name: str, fields: dict[str, Any]) -> None:
        pipe.write(Message(1, name, fields).line())
        pipe.flush()

    progress = Progress(report=lambda update: say("progress", asdict(update)))
    try:
        say("result", _TASKS[arguments[0]](arguments[1:], progress))
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
    from pancreasseg.models.store import Store

    known = len(arguments) == 1 and arguments[0] in catalogue.entries()
    installed = Store().install(arguments[0] if known else [Path(file) for file in arguments], progress)
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


_TASKS = {"install": _install, "phantom": _phantom}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

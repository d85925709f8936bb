"""The worker process as the client holds it: started, fed, listened to and ended."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pancreasseg.core.errors import PancreasSegError, RunError
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.protocol import Message, Request

#: Lines of the log kept to explain a process that could not start.
LOG_LINES = 50
#: A worker that was told to end is killed after this time.
END_SECONDS = 5.0

_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would open a console


class WorkerProcess:
    """One worker process.

    Args:
        command: by default this Python with ``-m pancreasseg.worker``.
        environment: variables added to this process's environment. A package that is not installed
            but runs from a folder, as in Slicer, is put first on the worker's Python path.

    Raises:
        RunError: the command cannot be started.
    """

    def __init__(self, command: Sequence[str] | None, environment: Mapping[str, str]) -> None:
        variables = {**os.environ, **environment}
        own = Path(__file__).resolve().parents[2]
        if own.name not in ("site-packages", "dist-packages"):
            variables["PYTHONPATH"] = os.pathsep.join(p for p in (str(own), variables.get("PYTHONPATH", "")) if p)
        try:
            self._process = subprocess.Popen(
                list(command or (sys.executable, "-m", "pancreasseg.worker")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=variables,
                creationflags=_NO_WINDOW,
            )
        except OSError as error:
            raise RunError(
                "worker-start",
                "The segmentation process could not be started.",
                "Check the Python that is set for it, or install the extension again.",
            ) from error
        self.ended = False
        self._ready = False
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        assert self._process.stdout is not None  # noqa: S101  (they are pipes)
        assert self._process.stderr is not None  # noqa: S101
        self._threads = [
            threading.Thread(target=_read_events, args=(self._process.stdout, self._messages), daemon=True),
            threading.Thread(target=_read_log, args=(self._process.stderr, self._log), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the process's log."""
        return tuple(self._log)

    def write(self, request: Request) -> None:
        """Send a request; when the process is gone, its end shows among the messages."""
        assert self._process.stdin is not None  # noqa: S101  (it is a pipe)
        try:
            self._process.stdin.write(request.line())
            self._process.stdin.flush()
        except OSError:
            self._process.poll()

    def messages(self, seconds: float) -> list[Message]:
        """What has come in, waiting up to ``seconds`` for the first; `ended` turns true with the last."""
        messages: list[Message] = []
        try:
            # Even a poll waits a millisecond: an application whose event loop keeps Python's global lock, as Slicer's
            # may, would otherwise never let the reading threads run.
            message = self._messages.get(timeout=max(seconds, 0.001))
            while message is not None:
                self._ready = self._ready or message.name == "ready"
                messages.append(message)
                message = self._messages.get_nowait()
            self.ended = True
        except queue.Empty:
            pass  # that was all for now
        return messages

    def hang_up(self) -> None:
        """Close the process's input, which asks it to end; does not wait for it."""
        assert self._process.stdin is not None  # noqa: S101  (it is a pipe)
        with contextlib.suppress(OSError):  # unsent bytes to a dead process
            self._process.stdin.close()

    def end(self, patience: float = END_SECONDS) -> None:
        """Ask the process to end by closing its input; kill it when it has not after ``patience`` seconds."""
        self.hang_up()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(1.0)  # a launcher's child may hold the pipe a little longer

    def obituary(self) -> PancreasSegError:
        """Why the process ended, in a sentence for the person who waited for it."""
        missing = next((line for line in reversed(self._log) if "ModuleNotFoundError: " in line), "")
        if missing:
            name = missing.rsplit("No module named ", 1)[-1].strip(" '\"")
            return RunError(
                "package-missing",
                f"The segmentation process could not start: the Python package {name} is not installed.",
                "Install the packages that PancreasSeg needs, then try again.",
            )
        if not self._ready:
            return RunError(
                "worker-start",
                f"The segmentation process ended while it was starting (exit code {self._process.returncode}).",
                "Install the packages that PancreasSeg needs again; the log has the details.",
            )
        return RunError(
            "worker-lost",
            f"The segmentation process ended unexpectedly (exit code {self._process.returncode}).",
            "Nothing was changed; run again, and it will be restarted. If it happens again, close other programs: the "
            "computer may be out of memory.",
        )


class Belongings:
    """What must be given back however the client ends."""

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None
        self.folder: ExchangeFolder | None = None

    def release(self) -> None:
        """End the process and remove the folder."""
        if self.process is not None:
            self.process.end()
            self.process = None
        if self.folder is not None:
            self.folder.remove()
            self.folder = None


def _read_events(stream: IO[bytes], messages: queue.SimpleQueue[Message | None]) -> None:
    with stream:
        for line in stream:
            try:
                messages.put(Message.parse(line))
            except PancreasSegError:
                continue  # not an event: a wrapper script's greeting, for example
    messages.put(None)


def _read_log(stream: IO[bytes], log: deque[str]) -> None:
    with stream:
        for line in stream:
            log.append(line.decode("utf-8", "replace").rstrip())

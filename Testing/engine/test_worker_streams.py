"""What the worker's processes do with their standard streams: on Windows, behind a launcher, when nobody listens."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from pancreasseg.core.errors import Cancelled
from pancreasseg.worker import standard_streams
from pancreasseg.worker.task import Task

# As Slicer's launcher: starts the real Python with the same pipes, and does not take it along when it is killed.
LAUNCHER = """\
#!{python}
import subprocess, sys
sys.exit(subprocess.run([sys.executable, {setup!r}, *sys.argv[2:]]).returncode)
"""
# The task with an installation that takes its time, does not ask whether it is wanted, and leaves a file at the end.
SLOW_TASK = """\
import sys, time
from pathlib import Path
from pancreasseg.worker import task

def install(arguments, progress):
    with progress.stage("Downloading", 1000):
        progress.advance()
        if {stuck}:
            time.sleep(600)
        for _ in range({steps}):
            time.sleep(0.01)
            progress.advance()
    Path({file!r}).write_text("installed")
    return {{"installed": ["slow"]}}

task.TASKS["install"] = install
sys.exit(task.main(sys.argv[2:]))
"""


def test_compiled_libraries_are_loaded_before_a_thread_waits_for_requests() -> None:
    """On Windows loading scipy would wait for that thread's pending read, for ever."""
    code = textwrap.dedent(
        """
        import sys, threading
        wanted = {"torch", "scipy.linalg", "scipy.ndimage", "skimage.graph", "SimpleITK"}
        start = threading.Thread.start

        def watched(thread):
            print("missing at the start of", thread.name, sorted(wanted - set(sys.modules)), file=sys.stderr)
            start(thread)

        threading.Thread.start = watched
        from pancreasseg.worker.server import serve
        serve()
        """
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, check=True, timeout=120)
    lines = [line for line in done.stderr.decode().splitlines() if "start of requests" in line]
    assert lines == ["missing at the start of requests []"]


def test_the_runs_import_no_compiled_library_that_was_not_loaded_before() -> None:
    """Whatever a run imports first while the thread is waiting already would hang on Windows."""
    code = textwrap.dedent(
        """
        import sys
        from pancreasseg.worker.standard_streams import import_compiled
        import_compiled()
        before = set(sys.modules)
        import pancreasseg.runs.run, pancreasseg.pipelines, pancreasseg.pipelines.attention
        import pancreasseg.measure.measurements, pancreasseg.findings.result, pancreasseg.models.store
        import pancreasseg.export.formats
        pancreasseg.pipelines.declarations(), pancreasseg.export.formats.formats()
        files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}
        print(sorted(name for name, file in files.items() if file.endswith((".so", ".pyd"))))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_libraries_find_nothing_to_read_on_standard_input() -> None:
    """A child process or a library that reads must not take a request away."""
    code = textwrap.dedent(
        """
        import os
        from pancreasseg.worker.standard_streams import take_over
        requests, events = take_over()
        stolen = os.read(0, 100)
        print("printed")
        events.write(requests.read() + b"| stolen: " + stolen)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"request\n", capture_output=True, check=True)
    assert done.stdout == b"request\n| stolen: "
    assert done.stderr.splitlines() == [b"printed"]


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[..., tuple[Task, Path]]]:
    """Starts the slow installation through a launcher; the file is there once it has installed."""
    started = []

    def start(*, stuck: bool = False, steps: int = 400) -> tuple[Task, Path]:
        file, setup, launcher = tmp_path / "model", tmp_path / "setup.py", tmp_path / "PythonSlicer"
        setup.write_text(SLOW_TASK.format(stuck=stuck, steps=steps, file=str(file)))
        launcher.write_text(LAUNCHER.format(python=sys.executable, setup=str(setup)))
        launcher.chmod(0o700)
        started.append(Task(["install", "slow"], str(launcher)))
        wait(lambda: any(started[-1].poll()))
        return started[-1], file

    yield start
    for task in started:
        task.end()


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


def outcome(task: Task) -> str:
    """How the task ended, waiting for it."""
    while True:
        try:
            if any(isinstance(it, dict) for it in task.poll()):
                return "done"
        except Cancelled:
            return "cancelled"
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a script with a shebang line")
@pytest.mark.parametrize("stuck", [False, True], ids=["asks", "stuck"])
def test_a_cancelled_task_behind_a_launcher_ends_and_installs_nothing(launched, stuck: bool) -> None:
    """Killing the launcher leaves its child at work."""
    task, file = launched(stuck=stuck)
    task.cancel()
    assert outcome(task) == "cancelled"
    assert not file.exists()


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a script with a shebang line")
def test_ending_a_task_does_not_wait_for_what_a_launcher_started(
    launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _file = launched(stuck=True)
    (launcher,) = (it for it in psutil.Process().children() if str(tmp_path / "PythonSlicer") in it.cmdline())
    monkeypatch.setattr("subprocess.Popen.wait", lambda *_: pytest.fail("the panel stands still"))
    monkeypatch.setattr("threading.Thread.start", lambda thread: None)  # what it does beside the panel
    task.end()
    monkeypatch.undo()
    assert launcher.wait(30) != 0


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a script with a shebang line")
def test_a_task_that_had_done_its_work_before_it_was_cancelled_says_so(launched) -> None:
    task, file = launched(steps=5)
    wait(file.is_file)
    task.cancel()
    assert outcome(task) == "done"


def test_a_task_without_a_pipe_to_listen_to_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pancreasseg.worker.task", "install", str(tmp_path / "nothing")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert b'"no-source"' in done.stdout


def test_on_windows_the_end_of_the_pipe_is_seen_without_a_read_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' own calls are played here."""
    answers: list[tuple[int, int] | None] = [(0, 0), (3, 0), (0, 0), None]

    def peek(handle: int) -> tuple[int, int]:
        answer = answers.pop(0)
        if answer is None:
            raise BrokenPipeError
        return answer

    winapi, msvcrt = ModuleType("_winapi"), ModuleType("msvcrt")
    winapi.PeekNamedPipe = peek  # type: ignore[attr-defined]
    msvcrt.get_osfhandle = lambda pipe: 1000 + pipe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "_winapi", winapi)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    monkeypatch.setattr(sys, "platform", "win32")
    waiting = threading.Thread(target=standard_streams.await_end, args=(reading,), daemon=True)
    waiting.start()
    waiting.join(20)
    assert answers == []
    os.close(writing)
    assert os.read(reading, 10) == b"", "what was there was read, and no more"
    os.close(reading)

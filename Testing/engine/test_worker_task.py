"""Tasks in a process of their own: done, failed, cancelled, also behind a launcher that is all that can be killed."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pancreasseg.core.errors import Cancelled, PancreasSegError
from pancreasseg.worker.task import Task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the launcher of these tests is a script with #!")

LAUNCHER = f"""#!{sys.executable}
import subprocess, sys
child = subprocess.Popen([{sys.executable!r}, *sys.argv[1:]])
open(__file__ + ".pid", "w").write(str(child.pid))
sys.exit(child.wait())
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A Python that runs as the child of another process, as Slicer's does."""
    path = tmp_path / "launcher"
    path.write_text(LAUNCHER, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def ended(task: Task) -> dict[str, Any]:
    """The task's result; raises what it failed with."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for news in task.poll():
            if isinstance(news, dict):
                return news
        time.sleep(0.02)
    raise AssertionError("the task has not ended")


def started(launcher: Path) -> int:
    """The id of the launcher's child, once it is there."""
    file = launcher.with_name(launcher.name + ".pid")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.02)
    raise AssertionError("the launcher has started nothing")


def is_gone(process: int) -> bool:
    """Whether the process ends within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_task_ends_with_its_result_also_behind_a_launcher(
    launcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from Testing.engine.model_samples import write_tiny

    package = write_tiny(tmp_path / "tiny-model")
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    assert ended(Task(["install", str(package.folder)], str(launcher))) == {"installed": ["tiny-model"]}


def test_a_task_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(PancreasSegError) as caught:
        ended(Task(["install", str(tmp_path / "nowhere.zip")]))
    assert caught.value.code == "no-source"


def test_a_task_that_cannot_even_start_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PancreasSegError) as caught:
        ended(Task(["no-such-task"], "/bin/false"))
    assert caught.value.code == "worker-start"


def test_cancelling_ends_the_process_behind_a_launcher_and_leaves_nothing(launcher: Path, tmp_path: Path) -> None:
    file = tmp_path / "phantom.npy"
    task = Task(["phantom", "7", str(file)], str(launcher))
    child = started(launcher)
    task.cancel()
    with pytest.raises(Cancelled):
        ended(task)
    assert is_gone(child)
    assert [path.name for path in tmp_path.glob("*.npy")] == []


def test_letting_go_of_a_task_ends_it_without_waiting(launcher: Path, tmp_path: Path) -> None:
    task = Task(["phantom", "7", str(tmp_path / "phantom.npy")], str(launcher))
    child = started(launcher)
    task.end()
    assert is_gone(child)
    assert not (tmp_path / "phantom.npy").exists()

"""Tasks in a process of their own: done, failed, cancelled, also behind a launcher that is all that can be killed."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from Testing.helpers.http_server import Site, serving, trickle

from pancreasseg.core.errors import Cancelled, PancreasSegError
from pancreasseg.core.progress import Update
from pancreasseg.models import catalogue
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
    from Testing.helpers.model_samples import write_tiny

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


def test_a_download_is_cancelled_behind_a_launcher_and_goes_on_next_time(
    launcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = catalogue.entry("obelisk-hybrid-fold1").files.values()
    home = tmp_path / "home"
    monkeypatch.setenv("PANCREASSEG_HOME", str(home))
    with serving(Site({f"/{file.name}": bytes(file.size)}, [trickle])) as site:
        monkeypatch.setenv("PANCREASSEG_MIRROR", site.address)
        task = Task(["install", "obelisk-hybrid-fold1"], str(launcher))
        child = started(launcher)
        while not any(isinstance(news, Update) and news.done for news in task.poll()):
            time.sleep(0.02)
        task.cancel()
        with pytest.raises(Cancelled):
            ended(task)
        assert is_gone(child)
    assert (home / "downloads" / f"{file.name}.part").stat().st_size > 0
    assert not list((home / "models").glob("*/model.json"))


@pytest.mark.parametrize("name", ["totalsegmentator-organs", "obelisk-hybrid-fold1"])
def test_whatever_the_catalogue_names_is_fetched_and_not_looked_for_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PANCREASSEG_MIRROR", str(mirror))
    (file,) = catalogue.entry(name).files.values()
    with pytest.raises(PancreasSegError) as caught:
        ended(Task(["install", name], sys.executable))
    assert file.name in str(caught.value)
    assert str(mirror) in str(caught.value)

"""Work beside other work."""

import subprocess
import sys
import threading

import pytest

from pancreasseg.core.beside import beside
from pancreasseg.core.errors import InputError


def test_what_the_work_returns_or_raises_is_the_result():
    started = threading.Event()
    going_on = beside(lambda: started.wait(60) and threading.current_thread().name)
    started.set()
    assert going_on.result() == "beside"

    def refused() -> None:
        raise InputError("no", "No.", "None.")

    with pytest.raises(InputError, match=r"No\."):
        beside(refused).result()


def test_a_process_that_ends_waits_for_nobody():
    program = "import time; from pancreasseg.core.beside import beside; beside(lambda: time.sleep(3600))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0

"""A private X server without a screen, for as long as it is needed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = (
    "xvfb libxcb-cursor0 libxkbcommon-x11-0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 "
    "libxcb-shape0 libxcb-xinerama0"
)

# What Qt's xcb platform plugin needs beyond what is there where a desktop is not.
LIBRARIES = (
    "libxcb-cursor.so.0",
    "libxkbcommon-x11.so.0",
    "libxcb-icccm.so.4",
    "libxcb-image.so.0",
    "libxcb-keysyms.so.1",
    "libxcb-render-util.so.0",
    "libxcb-shape.so.0",
    "libxcb-xinerama.so.0",
    "libGL.so.1",
)

SCREEN = "1600x1000x24"


def missing() -> str:
    """What the desktop run lacks on this computer, as a sentence; empty when it lacks nothing."""
    lacking = [] if shutil.which("Xvfb") else ["Xvfb"]
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            lacking.append(name)
    return f"{', '.join(lacking)} missing; on Debian: apt-get install {PACKAGES}" if lacking else ""


@contextlib.contextmanager
def xserver() -> Iterator[str]:
    """Start Xvfb on a free display, which it picks itself; yields its name, such as ``:99``, and ends it afterwards."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            number = server.stdout.readline().strip()
            if not number:
                raise RuntimeError(f"Xvfb did not start (exit code {server.wait()}).")
            yield f":{number}"
        finally:
            server.terminate()


def environment(display: str) -> dict[str, str]:
    """The environment of a program on that display: Qt on X, VTK drawing in software."""
    return {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb", "LIBGL_ALWAYS_SOFTWARE": "1"}


def runTour(pictures: Path, *arguments: str, home: Path, seconds: float = 900.0) -> dict:
    """Run `Testing.desktop.tour` on an X server of its own.

    Args:
        pictures: folder for its pictures.
        arguments: for the tour.
        home: where it finds installed models (PANCREASSEG_HOME).
        seconds: after that it is ended.

    Returns:
        What it wrote down.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    with xserver() as display, tempfile.TemporaryDirectory(prefix="pancreasseg-desktop-") as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, "-m", "Testing.desktop.tour", "--record", str(record), "--pictures", str(pictures)]
        variables = {**environment(display), "PANCREASSEG_HOME": str(home)}
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0 or not record.is_file():
            raise RuntimeError(f"The desktop run ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return json.loads(record.read_text(encoding="utf-8"))

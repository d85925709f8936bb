"""The environment of the originals: where its Python is, and how a program of this folder is run in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-originals" / "bin" / "python"


def run(program: str, *arguments: str | Path, timeout: float = 600) -> Any:
    """What a program of this folder prints, as JSON; the test is skipped where there is no environment for it.

    Args:
        program: module in ``Testing.originals``.
        arguments: of its command line.
        timeout: in seconds, for a machine that is busy.
    """
    if not (ROOT / ".venv-originals" / ".installed").exists():
        pytest.skip("the originals are not installed; make originals")
    # Their operations in Python are compiled at the first call otherwise, which takes longer than any test.
    settings = {"TORCH_COMPILE_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "PancreasSeg")}
    done = subprocess.run(
        [PYTHON, "-m", f"Testing.originals.{program}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])

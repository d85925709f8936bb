"""Fixtures that every test may use."""

import os
from pathlib import Path

import hypothesis
import pytest

# The same arithmetic on every x86 processor, whatever more it can do: networks that are trained in a test come out the
# same. Read when torch is first loaded, here and in the processes that tests start.
os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("MKL_CBWR", "AVX2")

# Nobody's own copy of TotalSegmentator's weights takes part in a test.
os.environ["TOTALSEG_HOME_DIR"] = str(Path(__file__).with_name("no such folder"))
os.environ.pop("TOTALSEG_WEIGHTS_PATH", None)

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real CTs and public weights; tests that need it are skipped, visibly, without it."""
    folder = os.environ.get("PANCREASSEG_TEST_DATA")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("PANCREASSEG_TEST_DATA names no folder with real CTs")
    return Path(folder)

"""What can be imported before the packages are there that Slicer does not bring along: tried in fresh processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "PancreasSeg"

#: Refuses packages as a Python without them does.
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"{{name}} was imported", name=name)
sys.meta_path.insert(0, Refuse())
"""


def run_without(refused: set[str], program: str) -> str:
    """What a program prints in a fresh process that cannot import these packages."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSE.format(refused=refused) + program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(MODULE), str(ROOT)]), "QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_registers_need_nothing_that_slicer_does_not_bring_along():
    program = """
from pancreasseg import pipelines
print(*pipelines.declarations())
print(*pipelines.words())
from pancreasseg.export.formats import formats
print(*formats())
"""
    told = run_without({"torch", "safetensors", "skimage", "highdicom", "rich", "matplotlib"}, program)
    assert "two-stage" in told
    assert "fusion" in told
    assert "dicom-seg" in told


def test_the_help_of_every_command_needs_no_torch():
    program = """
import contextlib
from pancreasseg.cli import main
names = [name.__name__.rpartition(".")[2] for name in main._COMMANDS]
for words in [[], *([name] for name in names)]:
    with contextlib.suppress(SystemExit):
        main.parser().parse_args([*words, "--help"])
"""
    told = run_without({"torch"}, program)
    assert "pancreasseg segment" in told
    assert "mask-rcnn" in told


def test_a_model_is_chosen_and_a_ct_read_without_what_only_drawing_computing_and_downloading_need(tmp_path):
    program = f"""
from pathlib import Path
import numpy as np
from pancreasseg import pipelines
from pancreasseg.core import Geometry
from pancreasseg.core.setup import Setup
from pancreasseg.io.read import read_volume
from pancreasseg.io.nifti import encode_nifti
print(*(package.card.name for package in pipelines.choose(Setup(model="pancreas-ct"))))
ct = np.random.default_rng(0).normal(40, 30, (20, 30, 40)).astype(np.int16)
ct[:, :8] = -1000
path = Path({str(tmp_path)!r}, "ct.nii.gz")
path.write_bytes(encode_nifti(ct, Geometry((40, 30, 20), (3, 3, 3))))
print(read_volume(path).array.shape)
"""
    told = run_without({"torch", "scipy", "skimage", "matplotlib", "SimpleITK", "ssl", "http"}, program)
    assert told.splitlines() == ["pancreas-ct", "(20, 30, 40)"]


@pytest.mark.panel
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("slicer", "PySide6"))), reason="slicer-core or PySide6 is not installed"
)
def test_everything_on_the_slicer_side_can_be_imported_before_the_packages_are_installed():
    program = f"""
from Testing.standins import install
install()
import importlib
from pathlib import Path
paths = sorted(Path({str(MODULE)!r}, "PancreasSegLib").rglob("*.py"))
for path in paths:
    parts = path.relative_to({str(MODULE)!r}).with_suffix("").parts
    importlib.import_module(".".join(part for part in parts if part != "__init__"))
print(len(paths), "modules")
import os; sys.stdout.flush(); os._exit(0)
"""
    told = run_without({"torch", "safetensors", "skimage"}, program)
    assert int(told.split()[0]) > 30

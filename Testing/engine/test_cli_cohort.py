"""``pancreasseg batch`` on workers, the whole way: files in, results, tables and page out."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from Testing.cohort_timings import make_cts
from Testing.helpers.bright_model import write_bright_model
from Testing.helpers.dask_processes import scheduler_running

pytest.importorskip("distributed", reason="the extra 'cohort' is not installed")

from pancreasseg.batch.table import PARQUET, TABLE

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def command(home: Path) -> Command:
    """Run the command as a process of its own."""
    environment = {**os.environ, "PANCREASSEG_HOME": str(home)}

    def run(*words: object, closed: bool = False) -> subprocess.CompletedProcess[str]:
        program = "import sys; from pancreasseg.cli.main import main; code = main(); " + (
            "" if closed else "assert 'torch' not in sys.modules, 'the parent computes nothing'; "
        )
        line = [sys.executable, "-c", f"{_GUARD}    {program}sys.exit(code)", "batch", *map(str, words)]
        if closed:
            shell = 'exec "$@" >&- 2>&-'
            return subprocess.run(["sh", "-c", shell, "sh", *line], env=environment, check=False, text=True)
        return subprocess.run(line, capture_output=True, env=environment, check=False, text=True)

    return run


_GUARD = "if __name__ == '__main__':\n"


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return {row["ct"]: row for row in csv.DictReader(file)}


# 24 CTs and their pictures take a while; nothing smaller shows that a cohort comes through.
@pytest.mark.slow
def test_24_cts_and_3_broken_ones_come_through_two_workers_and_then_a_scheduler_over_tcp(
    command: Command, home: Path, tmp_path: Path
) -> None:
    make_cts(tmp_path / "cts", 24)
    for number in (3, 11, 24):
        (tmp_path / "cts" / f"ct-{number:04d} broken.nii.gz").write_bytes(b"no CT")
    output = tmp_path / "out"
    done = command(tmp_path / "cts", "--output", output, "--workers", "2", "--format", "nrrd")
    assert done.returncode == 3, done.stderr
    table = rows(output)
    assert len(table) == 27
    assert list(table) == sorted(table, key="{}.nii.gz".format), "in the order of the files, whatever came first"
    broken = {name for name, row in table.items() if row["state"] == "failed"}
    assert broken == {"ct-0003 broken", "ct-0011 broken", "ct-0024 broken"}
    assert all("cut short" in table[name]["message"] for name in broken)
    assert {row["exported"] for name, row in table.items() if name not in broken} == {"nrrd"}
    volumes = [float(table[f"ct-{n:04d}"]["volume (ml)"]) for n in range(24)]
    assert volumes[:8] == volumes[8:16] == volumes[16:]
    assert len(set(volumes)) == 8
    assert (output / PARQUET).is_file()
    assert "27 of 27: " in done.stderr
    assert " a minute, " in done.stderr
    assert "Dashboard: http://127.0.0.1:" in done.stderr
    page = (output / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 24

    # The same through a scheduler in another process, which segments what is missing and keeps the rest.
    for number in (5, 6):
        shutil.rmtree(output / f"ct-{number:04d}")
    with scheduler_running(tmp_path, PANCREASSEG_HOME=str(home)) as address:
        again = command(tmp_path / "cts", "--output", output, "--scheduler", address, "--format", "nrrd", "--json")
    assert again.returncode == 3, again.stderr
    assert {name for name, row in rows(output).items() if row["kept"] == "no"} == {*broken, "ct-0005", "ct-0006"}
    assert [float(rows(output)[f"ct-{n:04d}"]["volume (ml)"]) for n in range(24)] == volumes
    assert len(json.loads(again.stdout)["cts"]) == 27


def test_a_cohort_comes_through_with_its_standard_streams_closed(command: Command, tmp_path: Path) -> None:
    make_cts(tmp_path / "cts", 2)
    done = command(tmp_path / "cts", "--output", tmp_path / "out", "--workers", "1", closed=True)
    assert done.returncode == 0
    assert {row["state"] for row in rows(tmp_path / "out").values()} == {"done"}
    assert (tmp_path / "out" / "report.html").is_file()


def test_workers_with_other_models_end_the_run_with_a_sentence(command: Command, tmp_path: Path) -> None:
    make_cts(tmp_path / "cts", 1)
    write_bright_model(tmp_path / "other", name="another")
    with scheduler_running(tmp_path, PANCREASSEG_HOME=str(tmp_path / "other")) as address:
        done = command(tmp_path / "cts", "--output", tmp_path / "out", "--scheduler", address, "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == "models-differ"

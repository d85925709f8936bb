"""Standard streams that are closed, full, or whose reader has gone: documented exit codes, and results all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from Testing.helpers.dicom_series import a_series_grid, blobs, write_series

from pancreasseg.cli import console, streams
from pancreasseg.core.errors import OutputError
from pancreasseg.io.write import write_nifti

pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams as a POSIX shell opens them")
GEOMETRY = a_series_grid()


def shell(command: str, *words: object) -> tuple[int, str, str]:
    """Run ``pancreasseg`` in bash with redirections; returns exit code, standard output and error."""
    line = f'"{sys.executable}" -m pancreasseg {command}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}", "bash", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    write_nifti(folder / "mask.nii.gz", blobs(GEOMETRY), GEOMETRY)
    return folder / "mask.nii.gz", write_series(folder / "ct", GEOMETRY)


EXPORT = (
    'export "$1" --volume "$2" --output "$3" --made manual --format nifti --format nrrd '
    "--allow too-few-slices --allow field-of-view-too-small --allow not-hu"
)


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 5), ("--json >&-", 0),
        ("--json >/dev/full 2>/dev/full", 5), ("| head -c 0", 0), ("2>&1 >/dev/null | head -1", 0),
    ],
)  # fmt: skip
def test_results_are_written_whatever_becomes_of_the_words_about_them(
    files: tuple[Path, Path], tmp_path: Path, redirected: str, code: int
) -> None:
    done, _, err = shell(f"{EXPORT} {redirected}", *files, tmp_path / "out")
    assert done == code
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pancreas.nii.gz", "pancreas.seg.nrrd"]
    if code == 5 and "2>" not in redirected:
        assert "could not be written to standard output (No space left on device)" in err


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("--help >&-", {0}), ("--version >/dev/full", {0, 5}), ("models list | head -c 0", {0}),
        ("models list --json >/dev/full", {5}), ("models list >&- 2>&-", {0}), ("localize none 2>&-", {3}),
        ("localize none --json >/dev/full", {3}), ("nonsense 2>/dev/full", {2}),
    ],
)  # fmt: skip
def test_every_command_ends_with_a_documented_code(command: str, codes: set[int]) -> None:
    assert shell(command)[0] in codes


def test_a_stream_that_cannot_be_written_is_said_once_and_then_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError) as failure:
            console.show("an answer")
        assert failure.value.exit_code == 5
        console.show("more of it")
        streams.flush()
        monkeypatch.setattr(sys, "stderr", full)
        console.say("a word")


def test_a_closed_stream_is_no_terminal(tmp_path: Path) -> None:
    with (tmp_path / "closed").open("w", encoding="utf-8") as stream:
        pass
    assert not streams.is_terminal(stream)
    streams.write(stream, "nobody reads this")

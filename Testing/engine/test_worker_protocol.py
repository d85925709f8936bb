"""The lines between client and worker, and the folder beside them."""

import errno
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import (
    Cancelled,
    InputError,
    ModelError,
    OutputError,
    PancreasSegError,
    RunError,
    UnexpectedError,
)
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.measurement import Code, Measurement
from pancreasseg.core.results import Provenance, Segmentation
from pancreasseg.worker.codec import (
    Measured,
    SegmentationReader,
    error_fields,
    error_from,
    measured_fields,
    measured_from,
    segmentation_fields,
)
from pancreasseg.worker.folder import PREFIX, ExchangeFolder
from pancreasseg.worker.protocol import Message, Request


def test_a_request_comes_back_as_it_was_sent() -> None:
    request = Request(7, "segment", {"box": [0, 1, 0, 1, 0, 1], "model": "Müller ⌘"})
    assert Request.parse(request.line()) == request


def test_a_message_is_one_line_of_ascii_whatever_is_in_it() -> None:
    line = Message(1, "notice", {"sentence": "Zeile\nzwei — Größe"}).line()
    assert line.count(b"\n") == 1
    assert line.decode("ascii")
    assert Message.parse(line).fields["sentence"] == "Zeile\nzwei — Größe"


def test_numbers_that_json_cannot_hold_become_null_and_numpy_numbers_plain() -> None:
    line = Message(
        1, "result", {"a": float("inf"), "b": [np.float32(0.5), np.int64(3)], "c": {"d": float("nan")}}
    ).line()
    assert json.loads(line) == {"id": 1, "event": "result", "a": None, "b": [0.5, 3], "c": {"d": None}}


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b"{}\n",
        b'{"id": 1, "request": "format"}\n',
        b'{"id": "one", "request": "hello"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_line_that_is_no_request_is_refused_in_a_sentence(line: bytes) -> None:
    with pytest.raises(RunError) as caught:
        Request.parse(line)
    assert caught.value.code == "protocol"
    assert caught.value.hint


@pytest.fixture
def folder(tmp_path: Path):
    made = ExchangeFolder.create(tmp_path)
    yield made
    made.remove()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_exchange_folder_is_private(folder: ExchangeFolder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_an_array_crosses_unchanged_and_its_file_goes_when_it_is_taken(folder: ExchangeFolder) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::-1]
    name = folder.write("volume-1", array)
    np.testing.assert_array_equal(folder.map(name), array)
    np.testing.assert_array_equal(folder.take(name), array)
    assert not list(folder.path.glob("*.npy"))


@pytest.mark.parametrize("name", ["../secret.npy", "/etc/passwd", "not-there.npy", ""])
def test_a_file_name_that_leads_elsewhere_is_refused(folder: ExchangeFolder, name: str) -> None:
    np.save(folder.path.parent / "secret.npy", np.zeros(3))
    with pytest.raises(PancreasSegError, match="missing or damaged"):
        folder.map(name)


def test_a_truncated_array_is_refused(folder: ExchangeFolder) -> None:
    name = folder.write("volume-1", np.zeros((4, 4, 4)))
    path = folder.path / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(PancreasSegError, match="missing or damaged"):
        folder.map(name)


def test_an_array_of_python_objects_is_never_unpickled(folder: ExchangeFolder) -> None:
    np.save(folder.path / "evil.npy", np.array([object], dtype=object), allow_pickle=True)
    with pytest.raises(PancreasSegError, match="missing or damaged"):
        folder.map("evil.npy")


def test_a_full_disk_is_said_so_and_leaves_no_half_array(
    folder: ExchangeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stream: IO[bytes], *_: object, **__: object) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match="full"):
        folder.write("volume-1", np.zeros(3))
    assert [path.name for path in folder.path.iterdir()] == ["in-use"]


def test_the_worker_takes_no_folder_that_is_not_an_exchange_folder(tmp_path: Path) -> None:
    # The worker removes what it is given, so it must not be talked into another folder.
    with pytest.raises(RunError):
        ExchangeFolder(tmp_path)
    link = tmp_path / f"{PREFIX}link"
    link.symlink_to(tmp_path)
    with pytest.raises(RunError):
        ExchangeFolder(link)


def test_a_temporary_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="temporary folder"):
        ExchangeFolder.create(tmp_path / "nowhere")


def test_folders_of_killed_programs_are_removed_and_those_in_use_stay(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pancreasseg.worker.folder import ExchangeFolder;"
        "print(ExchangeFolder.create(Path(sys.argv[1])).path, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    in_use = ExchangeFolder.create(tmp_path)
    young = tmp_path / f"{PREFIX}young"
    young.mkdir()
    assert left.is_dir()
    hour_ago = time.time() - 3600
    for path in (left, in_use.path):
        os.utime(path, (hour_ago, hour_ago))
    other = ExchangeFolder.create(tmp_path)
    assert not left.exists()
    assert in_use.path.is_dir()
    assert young.is_dir()
    in_use.remove()
    other.remove()


def a_segmentation(mask: np.ndarray, geometry: Geometry, labels: np.ndarray | None) -> Segmentation:
    box = Box((1, 2, 0), (6, 7, 4))
    random = np.random.default_rng(0)
    return Segmentation(
        mask=mask,
        box=box,
        probability=random.random(box.shape, dtype=np.float32),
        agreement=random.random(box.shape, dtype=np.float32),
        findings=(Finding("several-components", Severity.WARNING, "Zwei Teile: prüfen.", 2.0),),
        timings={"fine": 0.5},
        provenance=Provenance(
            "whole-volume", ({"name": "m", "version": "1", "sha256": "0"},), "cpu", "f32", box.bounds(), "1"
        ),
        labels=labels,
    )


@pytest.mark.parametrize("empty", [False, True])
def test_a_segmentation_crosses_the_pipe_unchanged(folder: ExchangeFolder, empty: bool) -> None:
    geometry = Geometry((9, 8, 7))
    mask: np.ndarray = np.zeros(geometry.shape, dtype=np.uint8)
    labels = np.zeros_like(mask)
    if not empty:
        mask[2:4, 3:6, 2:5] = 1
        labels[0, 0, 0], labels[6, 7, 8], labels[mask > 0] = 6, 1, 2
    sent = a_segmentation(mask, geometry, labels)
    line = Message(4, "result", segmentation_fields(sent, folder, 4)).line()
    reader = SegmentationReader(Message.parse(line).fields, geometry, folder)
    assert reader.advance()
    got = reader.result()
    for name in ("mask", "probability", "agreement", "labels"):
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
        assert getattr(got, name).dtype == getattr(sent, name).dtype
    assert (got.box, got.findings, got.timings) == (sent.box, sent.findings, sent.timings)
    assert got.provenance == sent.provenance
    assert not list(folder.path.glob("*.npy"))


def test_a_segmentation_is_read_an_array_at_a_time_when_there_is_no_time_for_more(folder: ExchangeFolder) -> None:
    geometry = Geometry((9, 8, 7))
    mask: np.ndarray = np.zeros(geometry.shape, dtype=np.uint8)
    mask[2:4, 3:6, 2:5] = 1
    sent = a_segmentation(mask, geometry, None)
    reader = SegmentationReader(segmentation_fields(sent, folder, 4), geometry, folder)
    assert [reader.advance(0.0) for _ in range(3)] == [False, False, True]
    np.testing.assert_array_equal(reader.result().mask, mask)
    assert reader.result().labels is None


@pytest.mark.parametrize(
    "error",
    [
        InputError("roi-rotated", "Schräg.", "Align it."),
        ModelError("unknown-model", "There is no such model.", ""),
        OutputError("disk-full", "The disk is full.", "Free some space."),
        RunError("out-of-memory", "Too little memory.", "Close programs."),
        UnexpectedError("unexpected", "Something went wrong.", ""),
        Cancelled(),
    ],
)
def test_an_error_is_the_same_error_on_the_other_side(error: PancreasSegError) -> None:
    got = error_from(Message.parse(Message(1, "error", error_fields(error)).line()).fields)
    assert type(got) is type(error)
    assert (got.code, got.message, got.hint, got.exit_code) == (error.code, error.message, error.hint, error.exit_code)


def test_measurements_cross_the_pipe_unchanged_infinite_ones_too() -> None:
    code = Code("118565006", "SCT", "Volume")
    own = tuple(Measurement(f"m{n}", "Länge", value, "mm", code, "note") for n, value in enumerate((1.25, None, 0.0)))
    against = tuple(Measurement(f"a{n}", "HD", value, "mm", code) for n, value in enumerate((float("inf"), -np.inf)))
    sent = Measured(own, against)
    assert measured_from(Message.parse(Message(1, "result", measured_fields(sent)).line()).fields) == sent


def test_an_array_is_uploaded_block_by_block_and_converted(folder: ExchangeFolder) -> None:
    array = np.arange(120, dtype=np.float64).reshape(6, 4, 5)
    upload = folder.upload("volume-1", array.shape, np.dtype(np.int16))
    for start in range(0, 6, 4):
        upload.add(array[start : start + 4])
    assert not list(folder.path.glob("*.npy")), "nobody sees half an array"
    folder.clear()
    got = folder.map(upload.finish())
    assert got.dtype == np.int16
    np.testing.assert_array_equal(got, array)


def test_an_upload_that_is_given_up_leaves_nothing(folder: ExchangeFolder) -> None:
    upload = folder.upload("volume-1", (2, 2), np.dtype(np.int16))
    upload.add(np.zeros((1, 2)))
    upload.discard()
    upload.discard()
    assert [path.name for path in folder.path.iterdir()] == ["in-use"]


def test_only_what_is_in_a_mask_is_written(folder: ExchangeFolder) -> None:
    geometry = Geometry((200, 200, 100))
    mask: np.ndarray = np.zeros(geometry.shape, dtype=np.uint8)
    mask[50:60, 90:100, 80:90] = 1
    segmentation_fields(a_segmentation(mask, geometry, None), folder, 1)
    assert (folder.path / "mask-1.npy").stat().st_size < 2000

"""The worker process and its client, with a pipeline that needs no torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.bright_model import a_patient, write_bright_model
from Testing.helpers.true_worker import true_client
from Testing.helpers.worker_double import Double
from Testing.helpers.worker_in_process import talk_in_process
from Testing.helpers.worker_talk import DOUBLE, GEOMETRY, ORGAN, Way, hello, talk

from pancreasseg.core import Box
from pancreasseg.core.errors import Cancelled, InputError, PancreasSegError, RunError, UnexpectedError
from pancreasseg.core.setup import Setup
from pancreasseg.worker.answers import Event
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.folder import ExchangeFolder
from pancreasseg.worker.memory import WorkerMemory
from pancreasseg.worker.protocol import PROTOCOL


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of its own, with a long name that is not ASCII."""
    folder = tmp_path_factory.mktemp("Änderung an Größen ⌘ " + "x" * 100)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def client(way: Way) -> Iterator[WorkerClient]:
    with way.client() as started:
        yield started


@pytest.fixture
def ct() -> np.ndarray:
    array = np.full(GEOMETRY.shape, -1000, dtype=np.int16)
    array[2:-2, 2:-2, 2:-2] = 40
    array[ORGAN.slices] = 130
    return array


def loaded(client: WorkerClient, ct: np.ndarray) -> WorkerClient:
    client.wait(client.load(ct, GEOMETRY))
    return client


def test_a_ct_goes_in_and_a_mask_on_its_own_grid_comes_out(client: WorkerClient, ct: np.ndarray) -> None:
    result = loaded(client, ct).wait(client.segment())
    np.testing.assert_array_equal(result.mask, ct > 100)
    assert result.mask.dtype == np.uint8
    assert result.box == ORGAN
    assert result.probability.shape == result.agreement.shape == ORGAN.shape
    assert result.provenance.box == ORGAN.bounds()
    assert result.provenance.models[0]["name"] == "double"


def test_hello_tells_the_protocol_and_what_the_worker_runs_on(client: WorkerClient) -> None:
    facts = client.wait(client.hello())
    assert facts["protocol"] == PROTOCOL
    assert facts["device"] == {"device": "cpu"}
    assert facts["pid"] == client.pid


def test_progress_comes_with_stage_and_fraction_before_the_result(client: WorkerClient, ct: np.ndarray) -> None:
    seen: list[Event] = []
    loaded(client, ct).wait(client.segment(setup=Setup(options={"patches": 4})), seen.append)
    assert [event.value.stage for event in seen] == ["models", *["coarse"] * 2, *["fine"] * 5, "review"]
    assert [event.value.done for event in seen[3:8]] == [0, 1, 2, 3, 4]


def test_a_notice_arrives_while_the_run_goes_on(client: WorkerClient, ct: np.ndarray) -> None:
    seen: list[Event] = []
    result = loaded(client, ct).wait(client.segment(setup=Setup(options={"behaviour": "memory"})), seen.append)
    names = [event.name for event in seen]
    assert "progress" in names[names.index("notice") :]
    assert [event.value.code for event in seen if event.name == "notice"] == ["out-of-memory"]
    assert "out-of-memory" in [finding.code for finding in result.findings]


def test_a_box_placed_by_a_person_is_obeyed_and_not_localized(client: WorkerClient, ct: np.ndarray) -> None:
    loaded(client, ct)
    half = Box(ORGAN.start, (8, 11, 10))
    seen: list[Event] = []
    result = client.wait(client.segment(half), seen.append)
    assert result.box == half
    assert result.mask.sum() == half.voxels
    assert "coarse" not in [event.value.stage for event in seen]


def test_the_localization_stays_warm_for_the_next_segment(client: WorkerClient, ct: np.ndarray) -> None:
    loaded(client, ct)
    assert client.wait(client.localize()).box == ORGAN
    for _ in range(2):
        assert client.wait(client.segment()).timings["localized"] == 1.0


def test_a_new_ct_is_localized_anew(client: WorkerClient, ct: np.ndarray) -> None:
    client.wait(loaded(client, ct).localize())
    moved = np.roll(ct, 2, axis=0)
    client.wait(client.load(moved, GEOMETRY))
    np.testing.assert_array_equal(client.wait(client.segment()).mask, moved > 100)


def test_the_result_is_reviewed(client: WorkerClient, ct: np.ndarray) -> None:
    result = loaded(client, ct).wait(client.segment(Box(ORGAN.start, (8, 11, 10))))
    assert {"volume-unusual", "touches-roi-face"} <= {finding.code for finding in result.findings}


def test_an_empty_box_result_crosses_too(client: WorkerClient, ct: np.ndarray) -> None:
    result = loaded(client, ct).wait(client.segment(Box((0, 0, 0), (3, 3, 3))))
    assert result.mask.shape == GEOMETRY.shape
    assert not result.mask.any()


@pytest.mark.parametrize("dtype", [np.int32, np.float64, np.float32])
def test_other_numeric_types_are_taken(client: WorkerClient, ct: np.ndarray, dtype: type) -> None:
    result = loaded(client, ct.astype(dtype)).wait(client.segment())
    np.testing.assert_array_equal(result.mask, ct > 100)


def test_what_libraries_print_never_reaches_the_protocol(client: WorkerClient, ct: np.ndarray) -> None:
    result = loaded(client, ct).wait(client.segment(setup=Setup(options={"behaviour": "print"})))
    assert result.mask.any()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda ct: ct[:-1], "array-shape"),
        (lambda ct: ct[0], "array-shape"),
        (lambda ct: ct > 0, "array-type"),
        (lambda ct: np.where(ct > 100, np.nan, ct), "not-finite"),
        (lambda ct: np.full_like(ct, -1000), "air-only"),
    ],
)
def test_a_ct_that_cannot_be_used_is_refused_and_the_one_before_is_not_segmented_instead(
    client: WorkerClient, ct: np.ndarray, change, code: str
) -> None:
    loaded(client, ct)
    with pytest.raises(PancreasSegError) as caught:
        client.wait(client.load(change(ct), GEOMETRY))
    assert caught.value.code == code
    with pytest.raises(PancreasSegError) as caught:
        client.wait(client.segment())
    assert caught.value.code == "no-volume"


@pytest.mark.parametrize(
    ("box", "code"), [(Box((50, 0, 0), (60, 9, 9)), "box-outside-volume"), (Box((9, 0, 0), (3, 9, 9)), "box-inverted")]
)
def test_a_box_that_cannot_be_segmented_is_refused(client: WorkerClient, ct: np.ndarray, box: Box, code: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(client, ct).wait(client.segment(box))
    assert caught.value.code == code


def test_an_unforeseen_error_is_one_sentence_without_its_text_and_the_worker_lives_on(
    way: Way, client: WorkerClient, ct: np.ndarray
) -> None:
    loaded(client, ct)
    worker = client.pid
    with pytest.raises(UnexpectedError) as caught:
        client.wait(client.segment(setup=Setup(options={"behaviour": "bug"})))
    assert client.wait(client.segment()).mask.any()
    assert client.pid == worker
    deadline = time.monotonic() + 30  # the log comes by another pipe than the answers
    while not any(line.startswith("pancreasseg worker: segment: done") for line in way.log(client)):
        assert time.monotonic() < deadline, way.log(client)
        time.sleep(0.01)
    log = "\n".join(way.log(client))
    assert "worker_double.py" in log
    assert "Doe" not in str(caught.value) + log


def test_cancel_ends_the_run_at_the_next_patch(client: WorkerClient, ct: np.ndarray) -> None:
    loaded(client, ct)
    request = client.segment(setup=Setup(options={"patches": 1000, "pause": 0.02}))
    after: list[Event] = []

    def stop(event: Event) -> None:
        after.append(event)
        if event.value.stage == "fine" and event.value.done == 2:
            client.cancel(request)

    with pytest.raises(Cancelled):
        client.wait(request, stop)
    assert after[-1].value.done < 100
    assert client.wait(client.segment()).mask.any()


def test_cancel_reaches_requests_that_have_not_begun(client: WorkerClient, ct: np.ndarray) -> None:
    loaded(client, ct)
    requests = [
        client.segment(setup=Setup(options={"patches": 1000, "pause": 0.02})),
        client.segment(),
        client.localize(),
    ]
    client.cancel()
    for request in requests:
        with pytest.raises(Cancelled):
            client.wait(request)


def _is_hanging(event: Event) -> bool:
    return bool(event.value.stage == "fine" and event.value.done == 1)


def test_a_patch_that_does_not_end_is_over_for_the_person_all_the_same(
    client: WorkerClient, ct: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(client, ct)
    worker = client.pid
    request = client.segment(setup=Setup(options={"behaviour": "hang"}))
    with pytest.raises(Cancelled):
        client.wait(request, lambda event: client.cancel(request) if _is_hanging(event) else None)
    assert client.pid == worker
    # ... and a worker that stays stuck is replaced by the next request.
    monkeypatch.setattr("pancreasseg.worker.client.STUCK_SECONDS", 0.0)
    assert client.wait(client.segment()).mask.any()
    assert client.pid != worker


def test_a_worker_killed_in_the_middle_is_one_sentence_and_the_next_click_works(
    client: WorkerClient, ct: np.ndarray, temporary: Path
) -> None:
    loaded(client, ct)
    with pytest.raises(RunError) as caught:
        client.wait(client.segment(setup=Setup(options={"behaviour": "die"})))
    assert caught.value.code == "worker-lost"
    assert "restarted" in caught.value.hint
    assert client.wait(client.segment()).mask.sum() == ORGAN.voxels  # started anew, with the same CT
    client.shutdown()
    assert not list(temporary.iterdir())


def test_a_worker_killed_between_clicks_is_not_even_noticed(client: WorkerClient, ct: np.ndarray) -> None:
    loaded(client, ct)
    os.kill(client.pid or 0, signal.SIGKILL)
    while client.running:
        time.sleep(0.01)
    assert client.wait(client.segment()).mask.sum() == ORGAN.voxels


def test_polling_never_waits_and_tells_of_the_workers_death_whom_it_concerns(
    way: Way, client: WorkerClient, ct: np.ndarray
) -> None:
    loaded(client, ct)
    dying = client.segment(setup=Setup(options={"behaviour": "die"}))
    others = {client.segment(), client.localize()}
    ends: dict[int, str] = {}
    while ends.keys() != {dying, *others}:
        for event in client.poll():
            if event.final:
                ends[event.request] = event.value.code if event.name == "error" else "done"
        time.sleep(0.01)
    assert ends.pop(dying) == "worker-lost"
    # A server has them still, and a new worker.
    assert set(ends.values()) == ({"worker-lost"} if way.name == "pipe" else {"done"})
    assert client.poll() == []


def test_two_clients_at_once_do_not_mix(way: Way, ct: np.ndarray) -> None:
    moved = np.roll(ct, 2, axis=2)
    with way.client() as first, way.client() as second:
        loads = first.load(ct, GEOMETRY), second.load(moved, GEOMETRY)
        runs = first.segment(), second.segment()
        first.wait(loads[0])
        second.wait(loads[1])
        np.testing.assert_array_equal(second.wait(runs[1]).mask, moved > 100)
        np.testing.assert_array_equal(first.wait(runs[0]).mask, ct > 100)
        assert first.pid != second.pid


def test_no_file_is_left_while_idle_but_the_ct(client: WorkerClient, ct: np.ndarray, temporary: Path) -> None:
    loaded(client, ct)
    client.wait(client.load(ct, GEOMETRY))
    client.wait(client.segment())
    assert len(list(temporary.glob("*/*.npy"))) == 1
    client.shutdown()
    assert not list(temporary.iterdir())


def test_a_client_that_is_forgotten_leaves_no_process_and_no_folder(way: Way, temporary: Path, ct: np.ndarray) -> None:
    client = loaded(way.client(), ct)
    worker = client.pid or 0
    del client
    assert not list(temporary.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_killed_client_takes_its_worker_and_its_folder_along(
    way: Way, temporary: Path, ct: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "ct.npy", ct)
    code = f"""
import os, tempfile, numpy
tempfile.tempdir = {str(temporary)!r}
from pancreasseg.core import Geometry
from pancreasseg.core.setup import Setup
from pancreasseg.worker.client import WorkerClient
client = WorkerClient({way.command!r}, {way.environment!r})
client.wait(client.load(numpy.load({str(tmp_path / "ct.npy")!r}), Geometry.from_dict({GEOMETRY.as_dict()!r})))
request = client.segment(setup=Setup(options={{"behaviour": "hang"}}))
client.wait(request, lambda event: event.value.done and os.kill(os.getpid(), 9))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while list(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ([*DOUBLE, "missing"], "package-missing", "a_package_that_nobody_has"),
        ([*DOUBLE, "exit"], "worker-start", "exit code 7"),
        (["/no/such/python"], "worker-start", "could not be started"),
    ],
)
def test_a_worker_that_cannot_start_is_one_sentence_with_what_to_do(
    ct: np.ndarray, command: list[str], code: str, words: str
) -> None:
    with WorkerClient(command) as client, pytest.raises(RunError) as caught:
        client.wait(client.load(ct, GEOMETRY))
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.hint


def test_a_worker_without_torch_says_so_and_what_to_do(ct: np.ndarray, tmp_path: Path) -> None:
    # A torch that cannot be imported, ahead of the real one.
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    run = "import runpy; runpy.run_module('pancreasseg.worker', {}, '__main__')"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {run}"]
    with WorkerClient(command) as client, pytest.raises(RunError) as caught:
        client.wait(client.hello())
    assert caught.value.code == "package-missing"
    assert "torch" in caught.value.message
    assert "pip install" in caught.value.hint


@pytest.fixture
def exchange() -> Iterator[ExchangeFolder]:
    folder = ExchangeFolder.create()
    yield folder
    folder.remove()


@pytest.mark.parametrize("by", ["pipe", "server"])
def test_the_true_worker_returns_what_the_pipeline_returns_in_process(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pancreasseg import pipelines
    from pancreasseg.runs.run import segment

    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path))
    package = write_bright_model(tmp_path)
    volume, _ = a_patient()
    expected = segment(volume, pipelines.create(Setup(model="bright", device="cpu", precision="f32")))
    assert expected.mask.any()
    setup = Setup(model="bright", device="cpu", precision="f32")
    with true_client(by, tmp_path) as client:
        told = {model["name"]: model for model in client.wait(client.hello())["models"]}
        assert told["bright"]["localizes"] is told["bright"]["segments"] is True
        client.wait(client.load(volume.array, volume.geometry, source=volume.source))
        result = client.wait(client.segment(setup=setup))
        np.testing.assert_array_equal(result.mask, expected.mask)
        np.testing.assert_array_equal(result.probability, expected.probability)
        np.testing.assert_array_equal(result.agreement, expected.agreement)
        assert result.box == expected.box
        assert result.provenance == expected.provenance
        assert [finding.code for finding in result.findings] == [finding.code for finding in expected.findings]
        # Another package under the same name is not mistaken for the warm one.
        package.weights.write_bytes(b"broken")
        (package.folder / "model.json").write_text(
            (package.folder / "model.json").read_text().replace(package.card.weights.sha256, "0" * 64)
        )
        with pytest.raises(PancreasSegError, match="bright"):
            client.wait(client.segment(setup=setup))


def test_garbage_is_answered_and_the_worker_goes_on(way: Way, temporary: Path, exchange: ExchangeFolder) -> None:
    events, code = talk([b"garbage\n", b'{"id": 5, "request": "dance"}\n', hello(exchange)], way)
    assert (
        sorted((event["event"], event["id"]) for event in events if event["event"] == "error") == [("error", None)] * 2
    )
    assert all(event["message"] and event["hint"] for event in events if event["event"] == "error")
    assert any(event["id"] == 1 for event in events)
    assert code == 0
    assert not list(temporary.iterdir())  # the pipe's end removes the folder


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes otherwise")
def test_a_worker_that_is_told_to_terminate_leaves_the_folder_to_its_client_and_says_nothing(
    way: Way, exchange: ExchangeFolder
) -> None:
    with way.process() as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdin.write(hello(exchange))
        worker.stdin.flush()
        worker.stdout.readline()
        worker.terminate()
        assert worker.wait(30) == 0
        assert b"Fatal" not in worker.stderr.read()
    assert exchange.path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes otherwise")
def test_a_signal_that_the_waiting_main_thread_does_not_see_ends_the_process_too() -> None:
    code = (
        "import signal, sys\n"
        "from pancreasseg.worker.termination import end_when_told\n"
        "end_when_told()\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"  # so that the other thread receives it
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 0


def test_a_request_before_hello_is_refused(way: Way) -> None:
    events, _ = talk([b'{"id": 1, "request": "load"}\n', b'{"id": 2, "request": "shutdown"}\n'], way)
    assert [(event["id"], event["event"]) for event in events] == [(1, "error"), (2, "result")]
    assert events[0]["code"] == "protocol"


def test_another_protocol_version_is_refused_with_what_to_update(way: Way, exchange: ExchangeFolder) -> None:
    events, _ = talk(
        [
            hello(exchange, protocol=99),
            b'{"id": 2, "request": "load"}\n',
            b'{"id": 3, "request": "shutdown"}\n',
        ],
        way,
    )
    assert [event["code"] for event in events[:2]] == ["protocol-version"] * 2
    assert "Update" in events[0]["hint"]


def test_a_load_that_lacks_its_fields_is_refused(way: Way, exchange: ExchangeFolder) -> None:
    lines = [hello(exchange), b'{"id": 2, "request": "load"}\n', b'{"id": 3, "request": "shutdown"}\n']
    events, _ = talk(lines, way)
    assert [event["code"] for event in events if event["id"] == 2] == ["protocol"]


def test_a_worker_that_is_told_to_forgets_the_ct(ct: np.ndarray, exchange: ExchangeFolder) -> None:
    file = exchange.write("volume-2", ct)
    lines = [
        {"id": 2, "request": "load", "file": file, "geometry": GEOMETRY.as_dict()},
        {"id": 3, "request": "localize", "volume": file},
        {"id": 4, "request": "unload"},
        {"id": 5, "request": "localize", "volume": file},
    ]
    folder = ExchangeFolder(exchange.path)
    events = {event["id"]: event.get("code") for event in talk_in_process(folder, lines, WorkerMemory(Double, repr))}
    assert events == {0: None, 2: None, 3: None, 4: None, 5: "no-volume", -1: None}


def test_the_client_imports_neither_torch_nor_simpleitk() -> None:
    code = (
        "import sys, pancreasseg.worker.client;"
        "print([m for m in ('torch', 'SimpleITK', 'scipy', 'skimage', 'pydicom') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

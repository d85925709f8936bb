"""Many CTs on Dask workers: every case comes once, whatever ends a worker. No model runs in most of these tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from Testing.helpers import cluster_double
from Testing.helpers.dask_processes import scheduler_running

pytest.importorskip("distributed", reason="the extra 'cohort' is not installed")

import dask
from distributed import Client
from distributed.system import MEMORY_LIMIT

from pancreasseg.batch.case import Case, Settings
from pancreasseg.batch.cluster import run_on_cluster
from pancreasseg.batch.clusters import Wanted, connected, slurm_cluster
from pancreasseg.batch.on_worker import Job
from pancreasseg.batch.table import TABLE, Row
from pancreasseg.batch.watch import Watch
from pancreasseg.cli.main import main
from pancreasseg.core.errors import InputError, ModelError, OutputError, RunError

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connected(Wanted(workers=2)) as client:
        yield client


@pytest.fixture
def run(client: Client, tmp_path: Path) -> Callable[..., list[Row]]:
    """Run cases of these names on two workers; the rows as they came."""
    settings = Settings()
    job = Job(settings, settings.identity())

    def run(*names: str, **how: object) -> list[Row]:
        return list(run_on_cluster(cases(tmp_path, *names), job, client, tmp_path / TABLE, task=_TASK, **how))

    return run


_TASK = cluster_double.task


def cases(folder: Path, *names: str) -> list[Case]:
    (folder / "cts").mkdir(exist_ok=True)
    for name in names:
        (folder / "cts" / f"{name}.nii.gz").write_bytes(b"voxels")
    return [Case(name, folder / "cts" / f"{name}.nii.gz", folder / name, folder) for name in names]


def processes(folder: Path) -> dict[str, str]:
    lines = (folder / "log").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines)


def test_every_case_comes_once_and_the_table_is_in_their_order(run: Callable[..., list[Row]], tmp_path: Path) -> None:
    names = [f"slow {n}" for n in range(6)]
    rows = run(*names)
    assert Counter(row["ct"] for row in rows) == Counter(names)
    assert [line.split(",")[0] for line in (tmp_path / TABLE).read_text().splitlines()] == ["ct", *names]
    assert len(set(processes(tmp_path).values())) == 2, "both workers have worked"


@POSIX
def test_a_case_that_ends_its_worker_each_time_is_a_failed_row_and_costs_no_other(
    run: Callable[..., list[Row]], tmp_path: Path
) -> None:
    rows = {row["ct"]: row for row in run("a", "b exit", "c", "d once", "e odd", "f")}
    assert {name: row["code"] for name, row in rows.items()} == {
        "a": "", "b exit": "process-ended", "c": "", "d once": "", "e odd": "unexpected", "f": ""
    }  # fmt: skip
    assert "unexpectedly, 2 times" in rows["b exit"]["message"]
    assert "Doe" not in (tmp_path / TABLE).read_text()
    again = {row["ct"]: row["kept"] for row in run("a", "c", "g")}
    assert again == {"a": "yes", "c": "yes", "g": "no"}


def test_a_case_that_hangs_is_given_up_and_its_worker_replaced(client: Client, tmp_path: Path) -> None:
    settings = Settings()
    job = Job(settings, settings.identity(), time_limit=6)  # a new worker imports within it
    names = ["a", "b hang", *(f"slow {n}" for n in range(4))]
    coming = run_on_cluster(cases(tmp_path, *names), job, client, tmp_path / TABLE, task=_TASK)
    codes = {row["ct"]: row["code"] for row in coming}
    assert codes == {name: "time-limit" if "hang" in name else "" for name in names}


@POSIX
def test_workers_killed_from_outside_are_restarted_and_nothing_is_lost(
    run: Callable[..., list[Row]], client: Client, tmp_path: Path
) -> None:
    names = [f"slow {n}" for n in range(10)]
    pids = list(client.run(os.getpid).values())
    killing = threading.Timer(0.5, lambda: os.kill(pids[0], signal.SIGKILL))
    killing.start()
    rows = run(*names)
    killing.join()
    assert Counter(row["ct"] for row in rows) == Counter(names)
    assert {row["state"] for row in rows} == {"done"}
    while len(client.nthreads()) < 2:
        time.sleep(0.1)
    assert pids[0] not in client.run(os.getpid).values()


@pytest.mark.parametrize(("name", "error"), [("b no model", ModelError), ("b full", OutputError)])
def test_what_no_case_can_be_run_without_ends_the_run_and_the_table_keeps_what_came(
    run: Callable[..., list[Row]], tmp_path: Path, name: str, error: type[Exception]
) -> None:
    run("a")
    with pytest.raises(error):
        run("a", name, *(f"slow {n}" for n in range(20)))
    assert (tmp_path / TABLE).is_file()
    assert len(processes(tmp_path)) < 12, "what was waiting was taken back"


def test_a_worker_that_cannot_even_begin_is_said_without_its_words(client: Client, tmp_path: Path) -> None:
    job = Job(Settings(), {})
    with pytest.raises(RunError, match=r"could not run a case \(RuntimeError\)") as failure:
        list(run_on_cluster(cases(tmp_path, "a"), job, client, tmp_path / TABLE, task=cluster_double.unpicklable))
    assert "Doe" not in str(failure.value)


def test_everything_of_a_local_cluster_listens_on_this_computer_alone(client: Client) -> None:
    info = client.scheduler_info(n_workers=-1)
    addresses = [info["address"], client.dashboard_link.replace("http", "tcp"), *info["workers"]]
    assert {address.split(":")[1] for address in addresses} == {"//127.0.0.1"}


def test_workers_are_limited_in_threads_and_memory(client: Client) -> None:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    assert {(worker["nthreads"], worker["memory_limit"]) for worker in workers} == {(1, MEMORY_LIMIT // 2)}
    limits = client.run(lambda: (os.environ["OMP_NUM_THREADS"], signal.getsignal(signal.SIGINT)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert set(limits.values()) == {(str(max(1, (cores or 1) // 2)), signal.SIG_IGN)}
    settings = client.run(lambda: dask.config.get("distributed.worker.memory"))
    assert all(memory["pause"] is False and 0 < memory["terminate"] < 1 for memory in settings.values())


def test_a_scheduler_in_another_process_is_used_over_tcp(tmp_path: Path) -> None:
    settings = Settings()
    job = Job(settings, settings.identity())
    seen: list[int] = []
    with scheduler_running(tmp_path) as address, connected(Wanted(scheduler=address)) as client:
        coming = run_on_cluster(
            cases(tmp_path, "a", "b odd", "c"), job, client, tmp_path / TABLE, task=_TASK, waiting=seen.append
        )
        rows = {row["ct"]: row["state"] for row in coming}
    assert rows == {"a": "done", "b odd": "failed", "c": "done"}
    assert str(os.getpid()) not in processes(tmp_path).values()


def test_a_scheduler_that_dies_ends_the_run_with_a_sentence_and_the_table_keeps_what_came(tmp_path: Path) -> None:
    settings = Settings()
    job = Job(settings, settings.identity())
    names = [f"slow {n}" for n in range(20)]
    with scheduler_running(tmp_path) as address, connected(Wanted(scheduler=address)) as client:
        coming = run_on_cluster(cases(tmp_path, *names), job, client, tmp_path / TABLE, task=_TASK)
        first = next(coming)
        with suppress(OSError):
            client.run_on_scheduler(os._exit, 1)
        with pytest.raises(RunError, match="scheduler does not answer"):
            list(coming)
    assert first["ct"] in (tmp_path / TABLE).read_text()


def test_a_scheduler_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pancreasseg.batch.clusters.SECONDS_TO_CONNECT", 1)
    with pytest.raises(RunError, match="No Dask scheduler answers"), connected(Wanted(scheduler="tcp://127.0.0.1:9")):
        pass
    for address in ("nonsense://x", "foo", "tcp://", "tcp://127.0.0.1:99999", "tcp://no.such.machine.invalid:8786"):
        with pytest.raises(RunError, match="No Dask scheduler answers"), connected(Wanted(scheduler=address)):
            pass


class AClient:
    """A client whose workers come and go as told; None for a scheduler that has gone."""

    def __init__(self, *workers: int | None) -> None:
        self._workers = iter(workers)
        self.scaled: list[int] = []
        self.cluster = SimpleNamespace(worker_spec={0: {}, 1: {}}, scale=self.scaled.append)

    def nthreads(self) -> dict[str, int]:
        count = next(self._workers)
        if count is None:
            raise OSError("connection lost")
        return {f"worker {n}": 1 for n in range(count)}


def test_workers_that_were_given_up_are_started_anew_and_waited_for_with_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("pancreasseg.batch.watch.time.monotonic", lambda: now)
    client, seen = AClient(2, 1, 0, 0, None), []
    watch = Watch(client, seen.append, patience=100.0)  # type: ignore[arg-type]
    for _ in range(3):
        watch.look()
        watch.look()  # within the same second
        now += 50.0
    assert seen == [2, 1, 0]
    assert client.scaled == [2, 2]
    now += 10.0
    with pytest.raises(RunError, match="No worker process comes up"):
        watch.look()
    now += 10.0
    with pytest.raises(RunError, match="scheduler does not answer"):
        watch.look()


@pytest.mark.parametrize("words", ["--scheduler tcp://x:1 --workers 2", "--memory 4GB", "--workers 0", "--slurm queue",
                                   "--format word"])  # fmt: skip
def test_places_to_run_that_exclude_each_other_are_wrong_usage(tmp_path: Path, words: str) -> None:
    assert main(["batch", str(tmp_path), "--output", str(tmp_path / "out"), *words.split()]) == 2


# SLURM itself cannot be had here: what it would be given is looked at as text.


def test_the_slurm_job_has_the_limits_and_lines_that_were_asked_for() -> None:
    options = {
        "queue": ["gpu"], "account": ["liver"], "walltime": ["02:00:00"], "memory": ["24GB"], "cores": ["8"],
        "directive": ["--gres=gpu:1", "--exclusive"], "prologue": ["module load cuda"],
    }  # fmt: skip
    with slurm_cluster(options) as cluster:
        script = cluster.job_script().splitlines()
    for line in (
        "#SBATCH -p gpu", "#SBATCH -A liver", "#SBATCH -t 02:00:00", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=23G",
        "#SBATCH --gres=gpu:1", "#SBATCH --exclusive", "export OMP_NUM_THREADS=8", "module load cuda",
    ):  # fmt: skip
        assert line in script, line
    command = script[-1]
    assert "distributed.cli.dask_worker tcp://" in command
    assert "--nthreads 8" in command
    assert "--nanny" in command
    assert script.index("module load cuda") < len(script) - 1


def test_slurm_options_that_make_no_sense_are_refused() -> None:
    for options in ({"qeue": ["gpu"]}, {"cores": ["many"]}, {"memory": ["much"]}):
        with pytest.raises(InputError):
            slurm_cluster(options)


def test_without_slurm_on_this_computer_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RunError, match="no SLURM on this computer"), connected(Wanted(slurm={})):
        pass

"""The training loop: learning, stopping, resuming, and what happens when the disk is full."""

import csv
import math
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Testing.helpers.easy_cohort import easy_cohort
from Testing.helpers.kill_points import killed_everywhere
from torch import Tensor, nn

from pancreasseg.core.errors import Cancelled, OutputError, RunError
from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.training.loop import COLUMNS, Loop, Schedule
from pancreasseg.lab.training.team import ALONE, Team, join
from pancreasseg.models.package import ModelPackage

if sys.platform == "win32":
    pytest.skip("file size limits are POSIX's", allow_module_level=True)
import resource


class Line(Loop):
    """Learns y = 3x - 1 from noisy points."""

    scores: Sequence[float] = ()

    def __init__(self, output: Path, schedule: Schedule, hardware: Hardware | None = None, team: Team = ALONE) -> None:
        torch.manual_seed(0)
        super().__init__("line", nn.Linear(1, 1), schedule, output, hardware, team)

    def batch(self, step: int) -> list[tuple[Tensor, Tensor]]:
        random = np.random.default_rng([self.schedule.seed, step, self.team.rank])
        pairs = []
        for _ in range(self.schedule.batch):
            x = torch.from_numpy(random.normal(size=(8, 1)).astype(np.float32))
            noise = torch.from_numpy(random.normal(0, 0.05, size=(8, 1)).astype(np.float32))
            pairs.append((x, 3 * x - 1 + noise))
        return pairs

    def loss(self, outputs: Any, truth: Tensor, step: int) -> Tensor:
        return (outputs - truth).square().mean()

    def score(self) -> float:
        if self.scores:
            return self.scores[len(self.history)]
        return -abs(float(self.average.weight) - 3)


SCHEDULE = Schedule(steps=120, learning_rate=0.1, every=30, averaging=0.9, warm_up=5, decay="cosine", batch=2)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_every_optimiser_learns(optimiser, tmp_path):
    rate = 0.05 if optimiser != "sgd" else 0.02
    loop = Line(tmp_path, Schedule(steps=250, learning_rate=rate, optimiser=optimiser, momentum=0.8, averaging=0.9))
    loop.run()
    assert loop.finished
    assert float(loop.weights()["weight"]) == pytest.approx(3, abs=0.05)
    assert float(loop.weights()["bias"]) == pytest.approx(-1, abs=0.05)


@pytest.fixture
def whole(tmp_path):
    """A training that nothing has stopped."""
    loop = Line(tmp_path / "whole", SCHEDULE)
    loop.output.mkdir()
    loop.run()
    return loop


def test_a_run_killed_at_any_time_ends_with_the_weights_of_an_unbroken_one(whole, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for stop in (7, 30, 77, None):
        Line(folder, SCHEDULE).run(stop)  # a new one each time, as after a restart
    again = Line(folder, SCHEDULE)
    assert again.finished
    torch.testing.assert_close(again.weights(), whole.weights(), rtol=0, atol=0)
    logs = [
        [(r["step"], r["loss"], r["score"]) for r in csv.DictReader(p.log.read_text().splitlines())]
        for p in (whole, again)
    ]
    assert logs[0] == logs[1]
    assert [row[0] for row in logs[0]] == ["30", "60", "90", "120"]


def test_a_cancelled_run_continues_from_its_last_checkpoint(whole, tmp_path):
    folder = tmp_path / "cancelled"
    folder.mkdir()
    seen = []
    progress = Progress(report=lambda update: seen.append(update), cancelled=lambda: len(seen) > 70)
    with pytest.raises(Cancelled):
        Line(folder, SCHEDULE).run(progress=progress)
    again = Line(folder, SCHEDULE)
    assert again.step == 60
    again.run()
    torch.testing.assert_close(again.weights(), whole.weights(), rtol=0, atol=0)


def test_the_learning_rate_rises_then_falls():
    schedule = Schedule(steps=100, learning_rate=1.0, warm_up=10, decay="cosine")
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9], abs=0.03)
    assert rates[-1] < 0.001
    assert Schedule(steps=5, learning_rate=0.3).rate(4) == 0.3


def test_training_stops_early_and_the_best_weights_ship(tmp_path):
    Line.scores = (0.1, 0.9, 0.5, 0.6, 0.7, 0.8, 0.95)
    try:
        loop = Line(tmp_path, Schedule(steps=1000, learning_rate=0.01, every=10, patience=3))
        loop.run()
        assert loop.stopped_early
        assert loop.step == 50
        assert loop.best == 0.9
        at_best = Line(tmp_path / "short", Schedule(steps=1000, learning_rate=0.01, every=10))
        at_best.output.mkdir()
        at_best.run(20)
        torch.testing.assert_close(loop.weights(), at_best.weights())
        again = Line(tmp_path, Schedule(steps=1000, learning_rate=0.01, every=10, patience=3))
        again.run()
        assert again.step == 50
        torch.testing.assert_close(again.weights(), loop.weights())
    finally:
        Line.scores = ()


def test_a_full_disk_in_the_middle_of_a_checkpoint_keeps_the_one_before(tmp_path):
    Line(tmp_path, SCHEDULE).run(60)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match="disk is full"):
            Line(tmp_path, SCHEDULE).run(90)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Line(tmp_path, SCHEDULE)
    assert again.step == 60
    assert {p.name for p in tmp_path.iterdir()} == {"line.pt", "line.previous.pt", "line.sha256", "line.csv"}
    again.run()
    assert again.finished


def test_a_checkpoint_cut_short_falls_back_to_the_one_before(tmp_path):
    loop = Line(tmp_path, SCHEDULE)
    loop.run(60)
    loop.checkpoint.write_bytes(loop.checkpoint.read_bytes()[:500])
    assert Line(tmp_path, SCHEDULE).step == 60  # written at the validation, and once more at the end of the run
    loop.previous.write_bytes(b"nothing")
    with pytest.raises(RunError, match="damaged"):
        Line(tmp_path, SCHEDULE)


def test_any_damage_to_a_checkpoint_falls_back_to_the_one_before(tmp_path):
    loop = Line(tmp_path, SCHEDULE)
    loop.run(60)
    good, random = loop.checkpoint.read_bytes(), np.random.default_rng(0)
    steps = set()
    for _ in range(40):
        damaged = bytearray(good)
        for place in random.integers(0, len(good), 3):
            damaged[place] ^= int(random.integers(1, 256))
        loop.checkpoint.write_bytes(damaged)
        steps.add(Line(tmp_path, SCHEDULE).step)
    torch.save({"step": 3}, loop.checkpoint)
    steps.add(Line(tmp_path, SCHEDULE).step)
    assert steps == {60}, "that of the one before, written at the validation"
    loop.previous.unlink()
    with pytest.raises(RunError, match="damaged"):
        Line(tmp_path, SCHEDULE)
    loop.checkpoint.write_bytes(good)
    assert Line(tmp_path, SCHEDULE).step == 60


@pytest.mark.parametrize("content", [b"", b"PK", [1, 2], {"step": 3}, {"network": None}, 7])
def test_without_hashes_too_what_is_no_checkpoint_falls_back(tmp_path, content):
    """As an older version left it, which wrote none."""
    loop = Line(tmp_path, SCHEDULE)
    loop.run(60)
    loop.hashes.unlink()
    assert Line(tmp_path, SCHEDULE).step == 60
    loop.checkpoint.write_bytes(content) if isinstance(content, bytes) else torch.save(content, loop.checkpoint)
    assert Line(tmp_path, SCHEDULE).step == 60


def test_killed_at_any_step_of_saving_a_checkpoint_is_left_that_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    folder, kept = tmp_path / "run", tmp_path / "kept"
    kept.mkdir()
    Line(kept, SCHEDULE).run(30)
    shutil.copytree(kept, folder)
    steps = []
    for _ in killed_everywhere(lambda: Line(folder, SCHEDULE).run(60)):
        steps.append(Line(folder, SCHEDULE).step)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    assert set(steps) == {30, 60}
    assert steps == sorted(steps)


def test_the_checkpoint_of_another_recipe_is_refused(tmp_path):
    Line(tmp_path, SCHEDULE).run(30)

    class Other(Line):
        def __init__(self, output: Path) -> None:
            Loop.__init__(self, "line", nn.Linear(2, 1), SCHEDULE, output)

    with pytest.raises(RunError, match="another network"):
        Other(tmp_path)


def test_a_loss_that_is_no_number_ends_the_run_in_a_sentence(tmp_path):
    class Broken(Line):
        def loss(self, outputs: Any, truth: Tensor, step: int) -> Tensor:
            return outputs.mean() * (math.nan if step == 3 else 1)

    with pytest.raises(RunError, match="step 3: the loss is not a number"):
        Broken(tmp_path, SCHEDULE).run()


def test_half_precision_learns_too(tmp_path):
    loop = Line(tmp_path, SCHEDULE, Hardware("cpu", "bf16"))
    loop.run()
    assert float(loop.weights()["weight"]) == pytest.approx(3, abs=0.1)
    assert loop.network.weight.dtype == torch.float32


def test_the_log_tells_the_time_spent_waiting_for_data(tmp_path):
    loop = Line(tmp_path, SCHEDULE)
    loop.run()
    rows = list(csv.DictReader(loop.log.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert all(0 <= float(row["waiting"]) <= 1 for row in rows)


def test_nonsense_schedules_are_refused():
    for settings in ({"steps": 0}, {"steps": 1, "optimiser": "lucky"}, {"steps": 1, "decay": "sudden"}):
        with pytest.raises(ValueError):  # noqa: PT011
            Schedule(**settings)


def test_without_torchrun_a_process_trains_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join() is ALONE


def test_two_processes_learn_what_one_learns_from_twice_the_batch(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from test_training_loop import Line, Schedule\n"
        "from pancreasseg.lab.training.team import join\n"
        "team = join()\n"
        "loop = Line(Path(sys.argv[1]), Schedule(steps=20, learning_rate=0.1, every=10), team=team)\n"
        "loop.run(); team.wait()\n"
        "print(float(loop.network.weight))\n"
    )
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    here = str(Path(__file__).parent)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), here, str(Path(here).parents[1])],
            env={**environment, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, text=True, cwd=here,
        )
        for rank in range(2)
    ]  # fmt: skip
    results = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert results[0] == results[1]

    class Both(Line):
        def batch(self, step: int) -> list[tuple[Tensor, Tensor]]:
            pairs = []
            for rank in range(2):
                self.team = Team(rank, 1)
                pairs += super().batch(step)
            self.team = ALONE
            return pairs

    (tmp_path / "one").mkdir()
    one = Both(tmp_path / "one", Schedule(steps=20, learning_rate=0.1, every=10))
    one.run()
    assert float(results[0]) == pytest.approx(float(one.network.weight.detach()), abs=1e-5)


@pytest.mark.slow
def test_torchrun_trains_a_recipe_in_two_processes_to_one_package(tmp_path):
    easy_cohort(tmp_path, count=4)
    settings = {
        "*.schedule.steps": "4", "*.schedule.every": "2", "*.arguments.channels": "[4, 8]",
        "segmenter.sampling.size": "[32, 32, 32]", "segmenter.patch": "[32, 32, 32]",
    }  # fmt: skip
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "pancreasseg", "train", "unet-single", "--data", "cohort", "--output", "run", "--device", "cpu"),
        *(f"--set={path}={value}" for path, value in settings.items()),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Package: ") == 1
    package = ModelPackage(tmp_path / "run" / "models" / "unet-single-fold1")
    package.verify()
    assert package.card.training["steps"] == {"segmenter": 4}
    with (tmp_path / "run" / "segmenter.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]

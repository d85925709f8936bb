"""Training cases from phantoms, and the way from trained weights to a package."""

import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pancreasseg.core import Geometry
from pancreasseg.inference.hardware import Hardware
from pancreasseg.inference.load import load_networks
from pancreasseg.lab.cohorts import Sample
from pancreasseg.lab.training import bundled, cases
from pancreasseg.lab.training.bundled import PhantomLoop
from pancreasseg.lab.training.cases import COARSE, FINE, Cases, Patient
from pancreasseg.lab.training.export import at_operating_point, export, figures
from pancreasseg.lab.training.recipes.recipe import Part
from pancreasseg.models.package import ModelPackage
from pancreasseg.phantom import Anatomy


def ball(seed: int) -> Sample:
    """A bright ball in fat."""
    z, y, x = np.indices((24, 24, 24)) - 11.5
    inside = np.sqrt(z**2 + y**2 + x**2) < 6
    hu = np.where(inside, 100, -100) + np.random.default_rng(seed).normal(0, 10, inside.shape)
    return Sample(hu.astype(np.int16), (255 * inside).astype(np.uint8), Geometry((24, 24, 24), (1.5, 1.5, 1.5)))


def toy(part: Part, steps: int = 30) -> Part:
    """The same for a network that learns balls in seconds."""
    return replace(
        part,
        arguments={"channels": [4, 8]},
        sampling=replace(part.sampling, size=(16, 16, 16)),
        schedule=replace(part.schedule, steps=steps, every=10, learning_rate=1e-2, averaging=0.8, warm_up=3),
    )


@pytest.fixture
def balls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cases:
    """Patients 0 to 3 as balls; patient 3 watches."""
    monkeypatch.setattr(bundled, "HELD_OUT", frozenset({3}))
    monkeypatch.setattr(cases, "MAKERS", {COARSE: ball, FINE: ball})
    return Cases(tmp_path / "cases")


@pytest.mark.parametrize("part", bundled.parts(), ids=lambda part: part.role)
def test_the_bundled_networks_learn_from_patients_by_the_shared_loop(part: Part, balls: Cases, tmp_path: Path) -> None:
    loop = PhantomLoop(toy(part), balls, [0, 1, 2], tmp_path, Hardware("cpu", "f32"))
    loop.run()
    assert loop.finished
    assert loop.history[-1][-1] > 0.9
    assert {case.id for case in loop.cases} == {"0", "1", "2"}
    assert [case.id for case in loop.monitored] == ["3"]
    assert balls.at_hand(part.grid) == [0, 1, 2, 3]


def test_a_case_is_made_once(balls: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    first = balls.sample(Patient(1), FINE)
    monkeypatch.setattr(cases, "MAKERS", {})
    again = Cases(balls.folder).sample(Patient(1), FINE)
    np.testing.assert_array_equal(first.hu, again.hu)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert first.geometry == again.geometry
    assert balls.at_hand(COARSE) == []
    with pytest.raises(ValueError, match="other organs"):
        balls.sample(Patient(1), FINE, organs=True)


def test_a_case_that_failed_in_the_background_is_made_where_it_is_wanted(balls: Cases, monkeypatch) -> None:
    class Killed(ThreadPoolExecutor):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(1)

        def submit(self, *_: object) -> Future:
            future: Future = Future()
            future.set_exception(BrokenProcessPool())
            return future

    monkeypatch.setattr(cases, "ProcessPoolExecutor", Killed)
    with balls.made_ahead([1]):
        assert balls.sample(Patient(1), FINE).hu.shape == (24, 24, 24)


def test_cases_hold_the_whole_pancreas_and_are_the_same_in_the_background(tmp_path: Path) -> None:
    seed = 12
    made = Cases(tmp_path)
    with made.made_ahead([seed]):
        fine, coarse = made.sample(Patient(seed), FINE), made.sample(Patient(seed), COARSE)
    low, high = Anatomy(seed).pancreas_bounds()
    ml = fine.truth.sum() / 255 * 1.5**3 / 1000
    assert fine.hu.shape == fine.truth.shape == fine.geometry.shape
    assert 40 <= ml <= 125
    assert all(n * 1.5 >= e + 40 for n, e in zip(fine.hu.shape[::-1], high - low, strict=True))
    assert coarse.truth.max() == 255
    assert coarse.truth.sum() / 255 * 64 / 1000 <= 1.1 * ml
    np.testing.assert_array_equal(coarse.hu, cases.localizer_case(seed).hu)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks Linux whether a process lives")
def test_the_process_in_the_background_ends_when_the_training_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom multiprocessing import active_children\n"
        "from pancreasseg.lab.training.cases import Cases\n"
        "if __name__ == '__main__':\n"
        "    with Cases(Path(sys.argv[1])).made_ahead(range(20)):\n"
        "        while not list(Path(sys.argv[1]).glob('*/0.json')):\n            time.sleep(0.2)\n"
        "        print(active_children()[0].pid, flush=True)\n        time.sleep(300)\n"
    )
    script = tmp_path / "training.py"
    script.write_text(code)
    training = subprocess.Popen([sys.executable, script, tmp_path / "cases"], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    child = int(training.stdout.readline())
    assert alive(child)
    training.kill()
    training.communicate()
    until = time.monotonic() + 60
    while alive(child) and time.monotonic() < until:
        time.sleep(0.2)
    assert not alive(child)


def alive(pid: int) -> bool:
    """A process that nobody has buried yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_exported_package_computes_what_was_trained(balls: Cases, tmp_path: Path) -> None:
    part = toy(bundled.parts()[1], steps=5)
    loop = PhantomLoop(part, balls, [0], tmp_path, Hardware("cpu", "f32"))
    loop.run()
    card = {
        "name": "toy", "version": "1", "title": "Toy", "description": "", "pipeline": "single-stage",
        "networks": [part.card()], "contrast_phase": "portal-venous", "intended_use": "tests",
        "not_for": ["patients"], "training": {}, "figures": [], "licence": "Apache-2.0", "citation": "",
    }  # fmt: skip
    export(tmp_path / "toy", card, {loop.name: loop.weights()})
    package = ModelPackage(tmp_path / "toy")
    entry = package.card.network("segmenter")
    (network,) = load_networks(package, entry)
    assert entry.preprocessing.normalise(np.array([-500.0, -100.0, 70.0, 240.0])).tolist() == pytest.approx(
        [-1, -1, 0, 1], abs=1e-6
    )
    values = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(values), loop.average.eval()(values), atol=0.03, rtol=0.03)


def test_the_operating_point_becomes_one_half_in_the_export(balls: Cases, tmp_path: Path) -> None:
    loop = PhantomLoop(toy(bundled.parts()[1]), balls, [0], tmp_path, Hardware("cpu", "f32"))
    values = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        before = loop.average.eval()(values).softmax(1)[:, 1]
        loop.average.load_state_dict(at_operating_point(loop.weights(), 0.2))
        after = loop.average(values).softmax(1)[:, 1]
    assert bool(((before >= 0.2) == (after >= 0.5)).all())
    assert bool((after > before).all())


def test_figures_are_means_with_their_spread_and_the_lowest() -> None:
    rows = figures({"DSC": np.array([0.8, 0.9]), "coarse DSC": np.array([])}, "two balls", 2, "python balls")
    assert [(row["metric"], row["value"], row["sd"]) for row in rows] == [
        ("DSC", 0.85, 0.0707),
        ("DSC, lowest", 0.8, None),
    ]
    (single, _) = figures({"DSC": np.array([0.8])}, "a ball", 1, "")
    assert single["sd"] is None

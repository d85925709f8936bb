"""How fast the recipes train, how long they wait for data, and how long four folds of Zhao 2019 would take."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pancreasseg.cli import console
from pancreasseg.inference.hardware import Hardware, choose, use_cores
from pancreasseg.lab.cohorts import Cohort, phantoms
from pancreasseg.lab.cohorts.prepare import prepare
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.recipes.recipe import Recipe
from pancreasseg.lab.training.run import loop_for

PRECISIONS = ("bf16", "f32")
#: Steps that are measured, after as many that are not.
STEPS = 3
BLOCK = [64, 64, 48]
#: The recipes' own networks on blocks that a bench has time for, one a step; what else is smaller is said here.
BENCH: dict[str, dict[str, object]] = {
    "zhao2019": {"localizer.grid.decimation": 2, "*.sampling.size": BLOCK},
    "dogan2021": {"localizer.sampling.size": [192, 144, 3], "segmenter.sampling.size": BLOCK},
    "oktay2018": {"*.sampling.size": BLOCK},
    "oktay2018-multihead": {"*.sampling.size": BLOCK},
    "roth2017": {"*.sampling.size": [92, 92, 92], "*.arguments.channels": [16, 32, 64, 128]},
    "unet-single": {"*.sampling.size": BLOCK},
    "pancreasseg-best": {"*.sampling.size": BLOCK},
}
REMARK = (
    "training: the recipes' own networks on blocks of at most 64 x 64 x 48 voxels of phantoms, one a step (roth2017: "
    "half of the channels, tiles of 92 x 92 x 92, seven organs; localizer of dogan2021: slices of 192 x 144)"
)
#: The estimate: cases and folds of NIH Pancreas-CT; voxels of a pancreas of 140 x 80 x 80 mm with its margin of 10
#: voxels on scans of 0.8 x 0.8 x 1 mm; seconds a case for reading, resampling and measuring.
CASES, FOLDS = 80, 4
TYPICAL = {"localizer": [112, 96, 64], "segmenter": [192, 128, 96]}
EVALUATION_S = 10.0


@dataclass(frozen=True)
class Timing:
    """What was measured of one network: cases a second, and the share of the time (0-1) spent waiting for them."""

    recipe: str
    role: str
    precision: str
    samples_per_second: float
    waiting: float


def timings(hardware: Hardware | None = None) -> tuple[list[Timing], str]:
    """Train every network of every recipe for a few steps.

    Args:
        hardware: device to use; by default a GPU where there is one.

    Returns:
        What was measured in every precision, and the estimate in a sentence.
    """
    use_cores()
    device = (hardware or choose()).device
    with tempfile.TemporaryDirectory(prefix="pancreasseg-bench-") as name:
        folder = Path(name)
        phantoms.write_phantoms(folder / "source", (1, 41), spacing=(2, 2, 2.5), step=4.0, organs=True)
        cohort = prepare("nih", folder / "source", folder / "cohort")
        measured: list[Timing] = []
        for recipe in recipes.RECIPES.values():
            console.say(f"Training {recipe.name} ...")
            for precision in PRECISIONS:
                measured += measure_recipe(recipe, BENCH[recipe.name], cohort, Hardware(device, precision), folder)
        return measured, estimate(measured, cohort, device, folder)


def measure_recipe(
    recipe: Recipe, settings: dict[str, object], cohort: Cohort, hardware: Hardware, folder: Path
) -> Iterator[Timing]:
    few = {"*.schedule.steps": 2 * STEPS, "*.schedule.every": STEPS, "*.schedule.batch": 1, "*.monitored": 0.0}
    for part in recipe.with_settings({**few, **settings}).for_organs(cohort.organs).parts:
        cohort.fill([part.grid], organs=bool(part.organs))
        loop = loop_for(part)(part, cohort, cohort.cases, folder, hardware)
        loop.save = lambda: None  # type: ignore[method-assign]  # checkpoints are not what is measured
        loop.run()
        _, seconds, waiting, *_ = loop.history[-1]
        yield Timing(recipe.name, part.role, hardware.precision, 1 / seconds, waiting)


def estimate(measured: list[Timing], cohort: Cohort, device: str, folder: Path) -> str:
    """Hours for four folds of Zhao 2019: steps times seconds a step, times folds, and the evaluation."""
    zhao = recipes.get("zhao2019")
    if device == "cpu":  # blocks of the published size take too long here: as many times as they have more voxels
        rates = {t.role: t.samples_per_second for t in measured if t.recipe == zhao.name and t.precision == "bf16"}
        seconds = {role: _voxels(size) / _voxels(BLOCK) / rates[role] for role, size in TYPICAL.items()}
        how = "scaled from the bench's blocks by their voxels"
    else:
        settings: dict[str, object] = {"*.sampling.kind": "whole", "localizer.grid.decimation": 2}
        settings |= {f"{role}.sampling.size": size for role, size in TYPICAL.items()}
        found = measure_recipe(zhao, settings, cohort, Hardware(device, "bf16"), folder)
        seconds = {timing.role: 1 / timing.samples_per_second for timing in found}
        how = "measured on blocks of this size"
    training = sum(part.schedule.steps * seconds[part.role] for part in zhao.parts)
    # A pass without gradients is about a third of a step; the segmenter makes two.
    evaluating = CASES * (EVALUATION_S + seconds["localizer"] / 3 + 2 * seconds["segmenter"] / 3)
    parts = ", ".join(
        f"{part.role} {part.schedule.steps} steps of {seconds[part.role]:.2f} s on {'x'.join(map(str, size))} voxels"
        for part, size in zip(zhao.parts, TYPICAL.values(), strict=True)
    )
    return (
        f"estimate for zhao2019 in {FOLDS} folds of {CASES} NIH cases at the published settings, {device}, bf16: "
        f"{(FOLDS * training + evaluating) / 3600:.0f} hours ({parts}, {how}; evaluation {evaluating / 3600:.1f} hours)"
    )


def _voxels(size: list[int]) -> int:
    i, j, k = size
    return i * j * k

"""Measures a two-stage model package on phantoms that it was never trained on.

    python -m pancreasseg.lab.training.evaluate PACKAGE_FOLDER [--patients N] [--pipeline two-stage|fast] [--csv FILE]

Every patient is scanned in one of the clinical settings of `SCANS`, in turn.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from pancreasseg.core import Box
from pancreasseg.inference.hardware import choose
from pancreasseg.measure import dice
from pancreasseg.models.package import ModelPackage
from pancreasseg.phantom import Phantom, make_phantom
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.two_stage import TwoStageOptions, TwoStagePipeline

FIRST_SEED = 600_000  # nothing about the shipped weights was chosen by these patients

#: Name and spacing in mm of each setting; "oblique" is turned by 12 degrees around x and 8 around z.
SCANS: dict[str, tuple[float, float, float]] = {
    "thin": (0.75, 0.75, 1.6),
    "usual": (0.8, 0.8, 2.5),
    "thick": (0.8, 0.8, 5.0),
    "oblique": (0.8, 0.8, 2.0),
}


@dataclass(frozen=True)
class Score:
    """The result of one phantom.

    ``recall`` is the share of the pancreas inside the proposed box; ``dsc`` and ``fine_dsc`` are those of the whole
    pipeline and of the segmenter alone in that box; ``seconds`` are those of localize and segment.
    """

    seed: int
    scan: str
    dsc: float
    fine_dsc: float
    recall: float
    true_ml: float
    found_ml: float
    seconds: float


def evaluate(pipeline: TwoStagePipeline, patients: int) -> Iterator[Score]:
    """Run the pipeline on unseen patients."""
    for n in range(patients):
        scan = list(SCANS)[n % len(SCANS)]
        phantom = scanned(FIRST_SEED + n, scan)
        truth = phantom.pancreas
        started = time.perf_counter()
        region = pipeline.localize(phantom.volume)
        mask = pipeline.segment(phantom.volume, region).mask > 0
        seconds = time.perf_counter() - started
        fine = pipeline.segment(phantom.volume, region.box).mask > 0
        voxel_ml = phantom.volume.geometry.voxel_ml
        yield Score(
            seed=FIRST_SEED + n,
            scan=scan,
            dsc=dice(mask, truth),
            fine_dsc=dice(fine, truth),
            recall=_recall(region.box, truth),
            true_ml=float(truth.sum() * voxel_ml),
            found_ml=float(mask.sum() * voxel_ml),
            seconds=seconds,
        )


def scanned(seed: int, scan: str) -> Phantom:
    """A patient in one of the settings of `SCANS`."""
    direction = None
    if scan == "oblique":
        turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), float(np.deg2rad(12)), 0.0, float(np.deg2rad(8)))
        direction = turn.GetMatrix()
    return make_phantom(seed, spacing=SCANS[scan], direction=direction)


def _recall(box: Box, truth: np.ndarray) -> float:
    return float(truth[box.slices].sum()) / max(1.0, float(truth.sum()))


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure a two-stage model package on unseen phantoms.")
    parser.add_argument("package", type=Path, help="folder of the model package")
    parser.add_argument("--patients", type=int, default=16)
    parser.add_argument("--pipeline", choices=("two-stage", "fast"), default="two-stage")
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="also write the scores to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    package = ModelPackage(options.package)
    hardware = choose("cpu", options.precision)
    stages = [Stage(package, package.card.network(role), hardware) for role in ("localizer", "segmenter")]
    settings = TwoStageOptions(boxes=2 if options.pipeline == "two-stage" else 1)
    pipeline = TwoStagePipeline(stages[0], stages[1], settings)
    scores = []
    for score in evaluate(pipeline, options.patients):
        scores.append(score)
        sys.stdout.write(
            f"{score.seed} {score.scan:8s} DSC {score.dsc:.3f}  fine alone {score.fine_dsc:.3f}  "
            f"box recall {score.recall:.3f}  {score.true_ml:5.1f} -> {score.found_ml:5.1f} ml  {score.seconds:.1f} s\n"
        )
        sys.stdout.flush()
    dsc = np.array([score.dsc for score in scores])
    sys.stdout.write(
        f"{len(dsc)} patients: mean DSC {dsc.mean():.4f}, sd {dsc.std(ddof=1) if len(dsc) > 1 else 0:.4f}, "
        f"median {np.median(dsc):.4f}, min {dsc.min():.4f}\n"
    )
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(asdict(scores[0])))
            writer.writeheader()
            writer.writerows(asdict(score) for score in scores)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The figures of one case: overlap and distances of the fine mask, DSC of the coarse one, recall and IoU of boxes."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization
from pancreasseg.grids.resample import from_grid
from pancreasseg.io.atomic import atomic_write
from pancreasseg.measure import boxes
from pancreasseg.measure.compare import compare, dice

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline


@dataclass(frozen=True)
class Score:
    """What a pipeline did on one case. Ratios run from 0 to 1; None where a pipeline has no such thing.

    Attributes:
        method: recipe or package.
        case: its id in the cohort.
        fold: in which it was held out.
        dsc, precision, recall: of the final mask.
        coarse_dsc: of the up-sampled coarse mask.
        hd, hd95, s2s: Hausdorff distance, its 95th percentile and mean surface distance in mm; infinite when nothing
            was found.
        box1_recall, box1_iou, box2_recall, box2_iou: of the candidate boxes against the box of the true mask.
        true_ml, found_ml: volumes.
        seconds: of localization and segmentation.
    """

    method: str
    case: str
    fold: int
    dsc: float
    precision: float
    recall: float
    coarse_dsc: float | None
    hd: float
    hd95: float
    s2s: float
    box1_recall: float | None
    box1_iou: float | None
    box2_recall: float | None
    box2_iou: float | None
    true_ml: float
    found_ml: float
    seconds: float


def score_case(
    pipeline: Pipeline,
    volume: Volume,
    truth: np.ndarray,
    *,
    method: str,
    case: str,
    fold: int,
    progress: Progress | None = None,
) -> tuple[Score, np.ndarray]:
    """Run a pipeline on a case and measure it.

    Args:
        pipeline: what to run.
        volume: the CT.
        truth: (K, J, I) on its grid, non-zero is pancreas.
        method: goes into the score.
        case: goes into the score.
        fold: goes into the score.
        progress: passed on to the pipeline.

    Returns:
        The score, and the mask that was found (uint8, K, J, I).
    """
    started = time.perf_counter()
    region = pipeline.localize(volume, progress)
    mask = pipeline.segment(volume, region, progress).mask
    seconds = time.perf_counter() - started
    measured = {row.name: row.value for row in compare(mask, truth, volume.geometry)}

    def number(name: str) -> float:
        value = measured[name]
        return math.nan if value is None else float(value)

    true_box = Box.of_mask(truth) or Box((0, 0, 0), (0, 0, 0))
    # Only pipelines with a coarse mask propose boxes: for the others the region is the whole body.
    proposed = region.candidates if region.coarse is not None else ()
    places = [(boxes.recall(box, true_box), boxes.iou(box, true_box)) for box in proposed]
    first, second = [*places, (None, None), (None, None)][:2]
    voxel_ml = volume.geometry.voxel_ml
    score = Score(
        method=method,
        case=case,
        fold=fold,
        dsc=number("dsc"),
        precision=number("precision"),
        recall=number("recall"),
        coarse_dsc=_coarse_dsc(region, volume, truth),
        hd=number("hd"),
        hd95=number("hd95"),
        s2s=number("msd"),
        box1_recall=first[0],
        box1_iou=first[1],
        box2_recall=second[0],
        box2_iou=second[1],
        true_ml=float(np.count_nonzero(truth)) * voxel_ml,
        found_ml=float(np.count_nonzero(mask)) * voxel_ml,
        seconds=seconds,
    )
    return score, mask


def _coarse_dsc(region: Localization, volume: Volume, truth: np.ndarray) -> float | None:
    if region.coarse is None or region.coarse_grid is None:
        return None
    whole = Box.whole(volume.geometry)
    return dice(from_grid(region.coarse, region.coarse_grid, volume.geometry, whole) >= 0.5, truth)


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write scores as CSV; what a pipeline does not have is left empty.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [field.name for field in fields(Score)]
        writer.writerow(names)
        for score in scores:
            writer.writerow([_text(getattr(score, name)) for name in names])


def read_scores(path: Path) -> list[Score]:
    """The inverse of `write_scores`.

    Raises:
        InputError: missing, or no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_score(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError("bad-scores", f"{path} is no table of scores.", "Evaluate again to write it anew.") from error


def _text(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def _score(row: dict[str, str]) -> Score:
    values: dict[str, str | int | float | None] = {}
    for field in fields(Score):
        text = row[field.name]
        if field.type == "str":
            values[field.name] = text
        elif field.type == "int":
            values[field.name] = int(text)
        else:
            values[field.name] = float(text) if text else None
    return Score(**values)  # type: ignore[arg-type]


def column(scores: Sequence[Score], name: str) -> np.ndarray:
    """One figure of many scores, float; cases without it are left out."""
    values = [getattr(score, name) for score in scores]
    return np.array([value for value in values if value is not None], dtype=float)

"""What held-out patients show: DSC per patient, and how well the network's own confidence tells it beforehand."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from pancreasseg.inference.hardware import DTYPES, Hardware
from pancreasseg.lab.axial.augmentation import MIDDLE_HU, PIXEL_MM
from pancreasseg.lab.axial.cases import UNKNOWN, SliceCase, bounds
from pancreasseg.lab.axial.training import pancreas_logit
from pancreasseg.measure import dice
from pancreasseg.pipelines.confidence import soft_dice

#: Around the truth, where the box of the published figures lies (mm).
MARGIN_MM = 15
#: Of the neighbouring slices (mm).
DISTANCE_MM = 5.0
#: Confidences that differ by less tell nothing.
SAME = 1e-6


@dataclass(frozen=True)
class PatientScore:
    """One patient.

    Attributes:
        name: of the patient.
        dsc: over all labelled slices, inside the box of the truth and `MARGIN_MM`.
        whole: the same over the whole slices, without any box.
        volume: predicted area as a part of the true one, inside the box.
        confidence: the network's own guess at its DSC, see `soft_dice`.
    """

    name: str
    dsc: float
    whole: float
    volume: float
    confidence: float


def probability(network: nn.Module, case: SliceCase, hardware: Hardware, scales: Sequence[float] = ()) -> np.ndarray:
    """Pancreas probability of every pixel of a case, float32 like ``case.ct``.

    Args:
        network: the network.
        case: the patient.
        hardware: device and precision.
        scales: the network also looks at pixels of these sizes, as parts of its own; the mean of all looks counts, as
            in the pipelines (`AveragedStage`).
    """
    looks = [_look(network, case, hardware, scale * PIXEL_MM) for scale in (1.0, *scales)]
    return np.mean(looks, axis=0)


def _look(network: nn.Module, case: SliceCase, hardware: Hardware, pixel_mm: float) -> np.ndarray:
    height, width = case.ct.shape[1:]
    small = round(height / pixel_mm), round(width / pixel_mm)
    dtype = DTYPES[hardware.precision]
    maps = []
    for index in range(len(case.heights)):
        x = torch.from_numpy(case.ct[case.neighbours(index, DISTANCE_MM)].astype(np.float32))[None]
        x = F.interpolate(x, small, mode="bilinear", antialias=True) / MIDDLE_HU - 1
        with torch.inference_mode(), torch.autocast(hardware.device, dtype, enabled=dtype != torch.float32):
            logits = network(x.to(hardware.device)).float().cpu()
        share = torch.sigmoid(pancreas_logit(logits))[None]
        maps.append(F.interpolate(share, (height, width), mode="bilinear")[0, 0].numpy())
    return np.stack(maps)


def score(
    network: nn.Module, case: SliceCase, hardware: Hardware, threshold: float = 0.5, scales: Sequence[float] = ()
) -> PatientScore:
    """How well a network does on one patient."""
    share = probability(network.eval(), case, hardware, scales) * (case.labels != UNKNOWN)
    mask, truth = share > threshold, case.pancreas
    top, bottom, left, right = bounds(np.asarray(truth.any(0)))
    rows = slice(max(0, top - MARGIN_MM), bottom + MARGIN_MM)
    columns = slice(max(0, left - MARGIN_MM), right + MARGIN_MM)
    found, true = mask[:, rows, columns], truth[:, rows, columns]
    return PatientScore(
        case.name,
        dice(found, true),
        dice(mask, truth),
        float(found.sum() / true.sum()),
        soft_dice(share[:, rows, columns], found, (1.0, 1.0, 1.0)),
    )


def summary(scores: Sequence[PatientScore]) -> str:
    """Mean, median and lowest DSC as a line of text."""
    dsc, whole = (np.array([getattr(s, name) for s in scores]) for name in ("dsc", "whole"))
    return (
        f"{len(scores)} patients: DSC in the box {dsc.mean():.3f} (median {np.median(dsc):.3f}, lowest "
        f"{dsc.min():.3f}), over whole slices {whole.mean():.3f} (median {np.median(whole):.3f})"
    )


def write(path: Path, scores: Iterable[PatientScore]) -> None:
    """A table with one row a patient."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [entry.name for entry in fields(PatientScore)])
        table.writeheader()
        for row in scores:
            table.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()})


def read(path: Path) -> list[PatientScore]:
    """What `write` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [PatientScore(row.pop("name"), **{k: float(v) for k, v in row.items()}) for row in csv.DictReader(file)]


@dataclass(frozen=True)
class Calibration:
    """A line from confidence to the DSC to be expected.

    Attributes:
        offset, slope: expected = offset + slope * confidence.
        error: mean absolute error, each patient left out in turn.
        cases: patients.
    """

    offset: float
    slope: float
    error: float
    cases: int


def calibrate(scores: Sequence[PatientScore]) -> Calibration:
    """Fit the line on held-out patients (least squares)."""
    x, y = (np.array([getattr(s, name) for s in scores]) for name in ("confidence", "dsc"))
    errors = []
    for index in range(len(x)):
        kept = np.arange(len(x)) != index
        slope, offset = _line(x[kept], y[kept])
        errors.append(abs(offset + slope * x[index] - y[index]))
    slope, offset = _line(x, y)
    return Calibration(round(float(offset), 4), round(float(slope), 4), round(float(np.mean(errors)), 4), len(x))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset; through the mean where all confidences are the same, as of a network that finds nothing."""
    if np.ptp(x) < SAME:
        return 0.0, float(y.mean())
    slope, offset = np.polyfit(x, y, 1)
    return float(slope), float(offset)

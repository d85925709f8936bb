"""What is shown beside the package: the tables with a row a patient, and the worst patients as pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.atomic import atomic_write, prepare_folder
from pancreasseg.lab.axial import evaluation
from pancreasseg.lab.axial.cases import UNKNOWN, WINDOW_HU, SliceCase, bounds
from pancreasseg.lab.axial.evaluation import PatientScore

#: Tables that trainings leave in the folder of work.
TABLES = ("first-scores.csv", "folds-scores.csv", "msd-to-nih-scores.csv")
#: Groups whose pictures may be shown, and what has to stand under them.
SHOWN = {
    "nih": "NIH Pancreas-CT, CC BY 3.0, Roth et al. 2016, doi:10.7937/K9/TCIA.2016.tNB1kqBU",
    "msd": "Medical Segmentation Decathlon Task07, CC BY-SA 4.0, Antonelli et al. 2022",
}
#: Patients drawn a group, and slices of each.
WORST, SLICES = 3, 4
_MARGIN_MM = 40
_TRUTH, _FOUND = "#4fd1ff", "#f9b46f"


def write(work: Path, folder: Path, network: nn.Module, hardware: Hardware, threshold: float) -> list[Path]:
    """Copy the tables, and draw the patients of ``first-scores.csv`` with the lowest DSC.

    Args:
        work: folder of the prepared arrays and of the tables.
        folder: of the report; made if it is not there.
        network: of the first training, which has seen none of those patients.
        hardware: device and precision.
        threshold: of the mask.

    Returns:
        The files.

    Raises:
        OutputError: the folder cannot be written to.
    """
    prepare_folder(folder)
    tables = [work / name for name in TABLES if (work / name).is_file()]
    files = [Path(shutil.copyfile(table, folder / table.name)) for table in tables]
    scores = evaluation.read(work / TABLES[0])
    for group, terms in SHOWN.items():
        for score in worst(scores, work / group):
            case = SliceCase.load(work / group / f"{score.name}.npz")
            share = evaluation.probability(network.eval(), case, hardware) * (case.labels != UNKNOWN)
            files.append(folder / f"worst-{score.name}.png")
            draw(files[-1], case, share > threshold, f"{score.name}: DSC {score.dsc:.2f} in the box. {terms}")
    return files


def worst(scores: Sequence[PatientScore], group: Path) -> list[PatientScore]:
    """The patients of a group with the lowest DSC, the worst first."""
    own = [score for score in scores if (group / f"{score.name}.npz").is_file()]
    return sorted(own, key=lambda score: score.dsc)[:WORST]


def draw(path: Path, case: SliceCase, found: np.ndarray, title: str) -> None:
    """Some slices of a patient with both outlines, as PNG.

    Args:
        path: of the picture.
        case: the patient.
        found: bool like ``case.ct``.
        title: stands below.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * SLICES, 3.3), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom, left, right = bounds(np.asarray((case.pancreas | found).any(0)))
    rows = slice(max(0, top - _MARGIN_MM), bottom + _MARGIN_MM)
    columns = slice(max(0, left - _MARGIN_MM), right + _MARGIN_MM)
    for axes, index in zip(figure.subplots(1, SLICES, squeeze=False)[0], _slices(case), strict=True):
        axes.imshow(case.ct[index, rows, columns], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
        for mask, color in ((case.pancreas, _TRUTH), (found, _FOUND)):
            part = mask[index, rows, columns]
            if part.any():
                axes.contour(part, levels=[0.5], colors=[color], linewidths=1)
        axes.set_axis_off()
    figure.supxlabel(f"{title}\nBlue: a person's outline. Orange: the network's.", fontsize=7)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=80, format="png")


def _slices(case: SliceCase) -> list[int]:
    """Evenly among those with the organ."""
    has = np.flatnonzero(case.pancreas.any((1, 2)))
    return [int(has[round(place)]) for place in np.linspace(0, len(has) - 1, SLICES)]

"""A page of augmented samples, to see with one's own eyes whether they are plausible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from pancreasseg.core import Box
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import atomic_write, prepare_folder
from pancreasseg.lab.cohorts import Case, CaseGrid, Cohort, Sample
from pancreasseg.lab.training.augmentation import Augmentation, BoxJitter, jittered_box, view
from pancreasseg.report import style

_NONE = Augmentation.none()
_WINDOW = (-100.0, 240.0)
_EXTENT_MM = (60.0, 150.0, 190.0)  # of the block shown, along z, y, x
_TOGETHER = 3
_BOXES = 5
_CELL_INCHES = (1.9, 1.65)
_SEAM = [withStroke(linewidth=2.2, foreground=style.PANEL)]  # so that text can be read on a picture


def parts(augmentation: Augmentation) -> list[tuple[str, Augmentation]]:
    """Every part of an augmentation alone, happening for certain."""
    a = augmentation
    rows = [
        ("rotation", replace(_NONE, rotation_degrees=a.rotation_degrees)),
        ("scaling", replace(_NONE, scale=a.scale)),
        ("bending", replace(_NONE, elastic_mm=a.elastic_mm, elastic_grid_mm=a.elastic_grid_mm, elastic_probability=1)),
        ("contrast, brightness", replace(_NONE, contrast=a.contrast, shift_hu=a.shift_hu)),
        ("gamma", replace(_NONE, gamma=a.gamma, gamma_probability=1)),
        ("blur", replace(_NONE, blur_mm=a.blur_mm, blur_probability=1)),
        ("low resolution", replace(_NONE, low_resolution=a.low_resolution, low_resolution_probability=1)),
        ("noise", replace(_NONE, noise_hu=a.noise_hu, noise_probability=1)),
    ]
    return [(name, part) for name, part in rows if part != _NONE]


def draw(
    cohort: Cohort,
    cases: Sequence[Case],
    grid: CaseGrid,
    path: Path,
    *,
    augmentation: Augmentation | None = None,
    jitter: BoxJitter | None = None,
    seed: int = 1,
    progress: Progress | None = None,
) -> None:
    """Draw one row a case: as it is with jittered boxes, every part of the augmentation alone, all together.

    Axial slices through the middle of the pancreas, HU -100 to 240, the label outlined where its share is one half.

    Args:
        cohort: where the cases are.
        cases: which.
        grid: what they are resampled to.
        path: of the PNG.
        augmentation: by default the one that recipes use.
        jitter: of the boxes.
        seed: of everything random.
        progress: one step a case, stage "draw".

    Raises:
        OutputError: it cannot be written.
    """
    progress = progress or Progress()
    augmentation, jitter = augmentation or Augmentation(), jitter or BoxJitter()
    columns = [("as it is; jittered boxes", _NONE), *parts(augmentation)]
    columns += [(f"all together, {n + 1}", augmentation) for n in range(_TOGETHER)]
    width, height = _CELL_INCHES
    figure = Figure(figsize=(width * len(columns), height * len(cases) + 0.3), facecolor=style.PAGE)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(cases), len(columns), squeeze=False)
    with progress.stage("draw", len(cases)):
        for row, case in enumerate(cases):
            sample = cohort.sample(case, grid)
            box = Box.of_mask(np.asarray(sample.truth) > 127) or Box.whole(sample.geometry)
            for column, (title, part) in enumerate(columns):
                ax = axes[row, column]
                corner = _draw_view(ax, sample, box, part, np.random.default_rng([seed, row, column]))
                if column == 0:
                    _name(ax, case.id)
                    _draw_boxes(ax, sample, box, jitter, corner, np.random.default_rng([seed, row]))
                if row == 0:
                    ax.set_title(title, color=style.TEXT, fontsize=8, fontfamily=style.FONT)
            progress.advance()
    figure.subplots_adjust(0.003, 0.005, 0.997, 1 - 0.28 / figure.get_figheight(), 0.02, 0.02)
    prepare_folder(path.parent)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=130, format="png", facecolor=style.PAGE)


def _draw_view(ax: Axes, sample: Sample, box: Box, part: Augmentation, random: np.random.Generator) -> np.ndarray:
    """Show the middle slice of a view; returns the index (k, j, i) in the case of the view's first voxel."""
    spacing = sample.geometry.spacing[::-1]
    size = [max(3, round(e / s)) for e, s in zip(_EXTENT_MM, spacing, strict=True)]
    centre = (np.array(box.start[::-1]) + np.array(box.stop[::-1]) - 1) / 2
    hu, share = view(sample, [float(c) for c in centre], size, part, random)
    ax.set_axis_off()
    middle = size[0] // 2
    ax.imshow(hu[middle].numpy(), cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1], aspect=spacing[1] / spacing[2])
    if float(share[middle].max()) > 0.5:
        ax.contour(share[middle].numpy(), [0.5], colors=[style.ORGAN], linewidths=0.9)
    return np.asarray(centre - (np.array(size) - 1) / 2)


def _name(ax: Axes, name: str) -> None:
    """Of the case, in the upper left corner; nothing in it is taken for mathematics."""
    text = ax.text(0.03, 0.97, name, transform=ax.transAxes, va="top", parse_math=False, path_effects=_SEAM)
    text.set(color=style.TEXT, fontsize=8, fontfamily=style.FONT)


def _draw_boxes(
    ax: Axes, sample: Sample, box: Box, jitter: BoxJitter, corner: np.ndarray, random: np.random.Generator
) -> None:
    spacing = sample.geometry.spacing
    boxes = [jittered_box(box, spacing, jitter, random) for _ in range(_BOXES)]
    for one, colour, line in [*[(b, style.BOX, 0.5) for b in boxes], (box, style.REFERENCE, 1.0)]:
        i, j = one.start[0] - corner[2] - 0.5, one.start[1] - corner[1] - 0.5
        ax.add_patch(Rectangle((i, j), one.size[0], one.size[1], fill=False, edgecolor=colour, linewidth=line))

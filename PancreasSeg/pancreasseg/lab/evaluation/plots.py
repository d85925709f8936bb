"""Pictures of an evaluation: box plots per fold, DSC against volume, the worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.io.atomic import atomic_write
from pancreasseg.lab.evaluation.scores import Score, column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRUE, _FOUND = "tab:red", "gold"


def draw_folds(path: Path, methods: Mapping[str, Sequence[Score]]) -> None:
    """Box plots of the DSC, one a fold and method.

    Raises:
        OutputError: the file cannot be written.
    """
    groups = [
        (f"{name}\nfold {fold}", [s for s in scores if s.fold == fold])
        for name, scores in methods.items()
        for fold in sorted({s.fold for s in scores})
    ]
    figure = _figure(max(4.0, 1.1 * len(groups)), 3.6)
    axes = figure.subplots()
    axes.boxplot([100 * column(scores, "dsc") for _, scores in groups])
    axes.set_xticks(range(1, len(groups) + 1), [name for name, _ in groups], fontsize=8)
    axes.set_ylabel("DSC %")
    _save(figure, path)


def draw_volumes(path: Path, methods: Mapping[str, Sequence[Score]]) -> None:
    """DSC against the true volume.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = _figure(5.0, 3.6)
    axes = figure.subplots()
    for name, scores in methods.items():
        axes.plot(column(scores, "true_ml"), 100 * column(scores, "dsc"), "o", alpha=0.6, label=name)
    axes.set_xlabel("true volume, ml")
    axes.set_ylabel("DSC %")
    axes.legend()
    _save(figure, path)


def draw_case(path: Path, title: str, hu: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> None:
    """The slice with the largest area that is only in one of the two masks, with both outlines.

    Args:
        path: PNG.
        title: above the picture.
        hu: (K, J, I).
        truth: the same shape, outlined in red.
        mask: the same shape, outlined in yellow.

    Raises:
        OutputError: the file cannot be written.
    """
    wrong = (truth != 0) != (mask != 0)
    along = min(range(3), key=lambda axis: hu.shape[axis])  # thick slices lie along the shortest axis
    others = tuple(axis for axis in range(3) if axis != along)
    index = int(wrong.sum(axis=others).argmax())
    planes = [np.take(array, index, axis=along) for array in (hu, truth != 0, mask != 0)]
    figure = _figure(4.2, 4.4)
    axes = figure.subplots()
    axes.imshow(planes[0], cmap="gray", vmin=-100, vmax=240)
    for plane, colour in ((planes[1], _TRUE), (planes[2], _FOUND)):
        _outline(axes, plane, colour)
    axes.set_title(f"{title}\nred: reference, yellow: found", fontsize=9)
    axes.set_axis_off()
    _save(figure, path)


def _outline(axes: Axes, plane: np.ndarray, colour: str) -> None:
    if plane.any():
        axes.contour(plane.astype(float), levels=[0.5], colors=[colour], linewidths=1)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=100, format="png")

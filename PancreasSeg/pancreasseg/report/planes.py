"""Axial, coronal and sagittal planes as a radiologist reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pancreasseg.core import Box, Geometry
from pancreasseg.grids.resample import nearest_axes
from pancreasseg.report import style

WINDOW_HU = (-160, 240)  # centre 40, width 400

# name, axis across, axis downwards, axis to the right (of an array along S, P, L), upwards is positive, letters at the
# left, right, top and bottom: anterior above and the patient's left at the right, as everywhere in radiology.
PLANES = (
    ("Axial", 0, 1, 2, False, "RLAP"),
    ("Coronal", 1, 0, 2, True, "RLSI"),
    ("Sagittal", 2, 0, 1, True, "APSI"),
)


@dataclass(frozen=True)
class Upright:
    """Turns arrays of one grid so that their axes run to superior, posterior and left, by the nearest axes.

    Nothing is resampled: an oblique acquisition is shown in its own planes.
    """

    geometry: Geometry

    @property
    def _chosen(self) -> list[tuple[int, int]]:
        return nearest_axes(self.geometry, "SPL")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Mm along S, P, L."""
        s, p, left = (self.geometry.spacing[axis] for axis, _ in self._chosen)
        return (s, p, left)

    def array(self, array: np.ndarray) -> np.ndarray:
        """A view of a (K, J, I) array with axes S, P, L."""
        turned = np.transpose(array, [2 - axis for axis, _ in self._chosen])
        return turned[tuple(slice(None, None, sign) for _, sign in self._chosen)]

    def box(self, box: Box) -> np.ndarray:
        """Start and stop of a box along S, P, L; shape (2, 3)."""
        ranges = []
        for axis, sign in self._chosen:
            start, stop, n = box.start[axis], box.stop[axis], self.geometry.size[axis]
            ranges.append((start, stop) if sign > 0 else (n - stop, n - start))
        return np.array(ranges).T


@dataclass(frozen=True)
class Scene:
    """What the planes show, all along S, P, L.

    Attributes:
        ct, mask, reference: arrays of one shape; reference may be None.
        spacing: mm.
        box: start and stop of the segmented box, shape (2, 3).
        point: the voxel that all three planes pass through.
    """

    ct: np.ndarray
    mask: np.ndarray
    reference: np.ndarray | None
    spacing: tuple[float, float, float]
    box: np.ndarray
    point: tuple[int, int, int]


def draw_plane(ax: Axes, scene: Scene, number: int, view: np.ndarray | None = None, *, bar_mm: float = 50.0) -> None:
    """Draw one of `PLANES` in mm.

    Args:
        ax: where.
        scene: what.
        number: index into `PLANES`.
        view: start and stop in voxels along S, P, L to zoom to, shape (2, 3); the whole plane by default.
        bar_mm: length of the scale bar.
    """
    name, across, down, right, upwards, letters = PLANES[number]
    style.blank(ax, style.PANEL)
    at = scene.point[across]
    rows, columns = scene.ct.shape[down], scene.ct.shape[right]
    step_y, step_x = scene.spacing[down], scene.spacing[right]
    extent = (0.0, columns * step_x, 0.0, rows * step_y) if upwards else (0.0, columns * step_x, rows * step_y, 0.0)
    low, high = WINDOW_HU
    image = _plane(scene.ct, across, at)
    origin = "lower" if upwards else "upper"
    options = {"extent": extent, "origin": origin, "interpolation": "bilinear"}
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, **options)  # type: ignore[arg-type]
    x, y = (np.arange(columns) + 0.5) * step_x, (np.arange(rows) + 0.5) * step_y
    if scene.reference is not None:
        outline(ax, x, y, _plane(scene.reference, across, at), style.REFERENCE, 1.0)
    mask = _plane(scene.mask, across, at)
    if view is not None:
        tint = np.zeros((*mask.shape, 4))
        tint[mask > 0] = (*style.ORGAN, 0.25)
        ax.imshow(tint, extent=extent, origin=origin, interpolation="nearest")  # type: ignore[arg-type]
    outline(ax, x, y, mask, style.ORGAN, 1.3)
    (bottom, left), (top, far) = scene.box[:, [down, right]]
    if scene.box[0, across] <= at < scene.box[1, across]:
        ax.add_patch(
            Rectangle(
                (left * step_x, bottom * step_y),
                (far - left) * step_x,
                (top - bottom) * step_y,
                fill=False,
                edgecolor=style.BOX,
                linewidth=0.9,
                linestyle=(0, (4, 3)),
            )
        )
    size = np.array(scene.ct.shape)
    (y0, x0), (y1, x1) = (_square(size, scene.spacing) if view is None else view)[:, [down, right]] * (step_y, step_x)
    ax.set_xlim(x0, x1)
    ax.set_ylim((y0, y1) if upwards else (y1, y0))
    ax.set_aspect("equal", adjustable="box", anchor="C")
    annotate(ax, name, letters, bar_mm)


def centre(mask: np.ndarray, spacing: tuple[float, float, float], box: np.ndarray) -> tuple[int, int, int]:
    """The voxel of the mask nearest to its centre of mass; the middle of the box, where the mask is empty."""
    organ = Box.of_mask(mask)
    if organ is None:
        s, p, left = (int(n) for n in (box[0] + box[1] - 1) // 2)
        return s, p, left
    voxels = np.argwhere(mask[organ.slices])
    distances = np.linalg.norm((voxels - voxels.mean(axis=0)) * spacing, axis=1)
    s, p, left = (int(n) for n in voxels[distances.argmin()] + organ.start[::-1])
    return s, p, left


def zoom(scene: Scene, margin_mm: float = 15.0) -> np.ndarray:
    """Start and stop along S, P, L around the mask (else the box), the same mm across in every plane."""
    regions = [m for m in (scene.mask, scene.reference) if m is not None and m.any()]
    start, stop = scene.box[0].astype(float), scene.box[1].astype(float)
    if regions:
        boxes = [box for box in map(Box.of_mask, regions) if box is not None]
        start = np.min([box.start[::-1] for box in boxes], axis=0).astype(float)
        stop = np.max([box.stop[::-1] for box in boxes], axis=0).astype(float)
    spacing = np.asarray(scene.spacing)
    side = float(((stop - start) * spacing).max()) + 2 * margin_mm
    middle = (start + stop) / 2
    return np.stack([middle - side / 2 / spacing, middle + side / 2 / spacing])


def _square(size: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Start and stop along S, P, L of a cube in mm around the whole volume."""
    half = float((size * spacing).max()) / 2 / np.asarray(spacing)
    return np.stack([size / 2 - half, size / 2 + half])


def _plane(array: np.ndarray, across: int, at: int) -> np.ndarray:
    return np.take(array, at, axis=across)


def outline(ax: Axes, x: np.ndarray, y: np.ndarray, mask: np.ndarray, color: object, width: float) -> None:
    """The outline of a mask, closed also where it meets the border; only the part around it is looked at."""
    if not mask.any():
        return
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = np.pad((mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0).astype(float), 1)
    steps = (x[1] - x[0] if len(x) > 1 else 1.0, y[1] - y[0] if len(y) > 1 else 1.0)
    px = x[columns[0]] + (np.arange(part.shape[1]) - 1) * steps[0]
    py = y[rows[0]] + (np.arange(part.shape[0]) - 1) * steps[1]
    ax.contour(px, py, part, levels=[0.5], colors=[color], linewidths=width)


def annotate(ax: Axes, name: str, letters: str, bar_mm: float) -> None:
    """Name, direction letters (left, right, top, bottom) and a scale bar; the axes are in mm."""
    places = ((0.015, 0.5, "left", "center"), (0.985, 0.5, "right", "center"), (0.5, 0.985, "center", "top"))
    for letter, (x, y, ha, va) in zip(letters, (*places, (0.5, 0.015, "center", "bottom")), strict=True):
        style.write(ax, x, y, letter, size=9, color=style.TEXT, ha=ha, va=va, fontweight="bold", halo=True)
    style.write(ax, 0.015, 0.985, name, size=8.5, color=style.TEXT, halo=True)
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    x = right - 0.05 * (right - left)
    y = bottom + 0.05 * (top - bottom)
    ax.plot([x - bar_mm, x], [y, y], color=style.TEXT, linewidth=1.5, solid_capstyle="butt")
    style.write(
        ax,
        x - bar_mm / 2,
        y + 0.015 * (top - bottom),
        f"{bar_mm / 10:g} cm",
        size=6.5,
        transform=ax.transData,
        ha="center",
        va="bottom",
        halo=True,
    )

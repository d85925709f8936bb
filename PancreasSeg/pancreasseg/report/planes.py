"""Axial, coronal and sagittal planes as a radiologist reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pancreasseg.core import Box, Geometry
from pancreasseg.grids.resample import nearest_axes
from pancreasseg.report import style
from pancreasseg.report.canvas import Edges, PlaneCanvas

WINDOW_HU = (-160, 240)  # centre 40, width 400
THIN, THICK = 1.5, 2.0  # outlines, in pixels

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


def draw_plane(
    scene: Scene, number: int, side: int, view: np.ndarray | None = None, *, bar_mm: float = 50.0
) -> PlaneCanvas:
    """Draw one of `PLANES` in mm.

    Args:
        scene: what.
        number: index into `PLANES`.
        side: of the square panel in pixels.
        view: start and stop in voxels along S, P, L to zoom to, shape (2, 3), the same mm along each; the whole plane
            by default.
        bar_mm: length of the scale bar.
    """
    name, across, down, right, upwards, letters = PLANES[number]
    at = scene.point[across]
    size = np.array(scene.ct.shape)
    seen = _square(size, scene.spacing) if view is None else view
    step = np.array([scene.spacing[right], scene.spacing[down]])

    def edges(start: np.ndarray, stop: np.ndarray) -> Edges:
        """Of a region along S, P, L."""
        (left, top), (far, bottom) = start[[right, down]] * step, stop[[right, down]] * step
        return (left, bottom, far, top) if upwards else (left, top, far, bottom)

    def plane(array: np.ndarray) -> np.ndarray:
        return np.take(array, at, axis=across)[:: -1 if upwards else 1]

    panel = PlaneCanvas((side, side), edges(*seen))
    whole = edges(size * 0, size)
    panel.picture(windowed(plane(scene.ct)), whole)
    if scene.reference is not None:
        panel.outline(plane(scene.reference), whole, style.REFERENCE, THIN)
    mask = plane(scene.mask)
    if view is not None:
        panel.tint(mask, whole, style.ORGAN, 0.25)
    panel.outline(mask, whole, style.ORGAN, THICK)
    if scene.box[0, across] <= at < scene.box[1, across]:
        panel.box(edges(*scene.box), style.BOX)
    panel.annotate(name, letters, bar_mm)
    return panel


def windowed(hu: np.ndarray) -> Image.Image:
    """A slice (rows, columns) in grey, by `WINDOW_HU`."""
    low, high = WINDOW_HU
    grey = (np.clip(hu, low, high).astype(np.float32) - low) * (255 / (high - low))
    return Image.fromarray(grey.round().astype(np.uint8))


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

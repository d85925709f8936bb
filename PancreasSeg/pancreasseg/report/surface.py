"""The organ's surface, shaded, seen from the front."""

from __future__ import annotations

from itertools import product

import numpy as np
from PIL import Image

from pancreasseg.core import Geometry
from pancreasseg.export.surface import Surface, make_surface
from pancreasseg.report.canvas import PlaneCanvas

_SMOOTHING_MM = 1.5
_EDGE_MM = 12.0
_LIGHT = np.array([-0.35, -0.80, 0.50])  # LPS: in front of the patient, from above and the patient's right
_EYE = np.array([0.0, -1.0, 0.0])
_SHADES = np.array([(0x1D, 0x12, 0x0A), (0x8A, 0x5A, 0x30), (0xF9, 0xB4, 0x6F), (0xFF, 0xF1, 0xE0)])  # dark to bright
_POINTS_AT_ONCE = 1_000_000
_FINER = 2  # drawn so many times as large and made smaller, which smooths the edges


def draw_surface(mask: np.ndarray, geometry: Geometry, side: int) -> PlaneCanvas:
    """Marching cubes on the slightly smoothed mask, seen from the front: patient's left at the right, head above.

    Args:
        mask: (K, J, I), not empty.
        geometry: its grid; the surface is drawn in world mm.
        side: of the square panel in pixels.
    """
    surface = make_surface(mask, geometry, smoothing_mm=_SMOOTHING_MM)
    (left, _, bottom), (right, _, top) = surface.points.min(axis=0), surface.points.max(axis=0)
    half = max(right - left, top - bottom) / 2 + _EDGE_MM
    x, z = (left + right) / 2, (bottom + top) / 2
    panel = PlaneCanvas((side, side), (x - half, z + half, x + half, z - half))
    places = panel.pixels(surface.points[:, [0, 2]]) * _FINER
    shades = _from_the_front(surface, places, side * _FINER)
    steps = np.linspace(0, 1, len(_SHADES))
    colors = np.stack([np.interp(shades, steps, channel, left=0) for channel in _SHADES.T], axis=-1)
    panel.image.paste(Image.fromarray(colors.round().astype(np.uint8)).reduce(_FINER))
    return panel


def _from_the_front(surface: Surface, places: np.ndarray, side: int) -> np.ndarray:
    """Brightness (side, side), 0 to 1, below 0 where there is nothing.

    The triangles that face the eye are filled with points, never more than a pixel apart, the farthest triangle first.
    """
    corners = surface.points[surface.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    bright = _brightness(surface, normals)
    depth = corners[:, :, 1].mean(axis=1)
    front = np.flatnonzero(normals[:, 1] < 0)
    triangles = surface.triangles[front[np.argsort(-depth[front])]]
    flat = places[triangles]
    steps = int(np.ceil(np.abs(flat - np.roll(flat, 1, axis=1)).max())) + 1
    weights = (
        np.array([(a, b, steps - a - b) for a, b in product(range(steps + 1), repeat=2) if a + b <= steps]) / steps
    )
    shades = np.full((side, side), -1.0)
    for some in np.array_split(np.arange(len(flat)), 1 + len(flat) * len(weights) // _POINTS_AT_ONCE):
        x, y = (np.clip(flat[some, :, axis] @ weights.T, 0, side - 1).astype(np.intp) for axis in (0, 1))
        shades[y, x] = bright[triangles[some]] @ weights.T  # of several points in a pixel the last stays: the nearest
    return shades


def _brightness(surface: Surface, normals: np.ndarray) -> np.ndarray:
    """Of every point, 0 to 1; its normal is the mean of those of the triangles around it."""
    smooth = np.stack(
        [
            np.bincount(surface.triangles.ravel(), np.repeat(normals[:, axis], 3), len(surface.points))
            for axis in range(3)
        ],
        axis=1,
    )
    smooth = smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    half = light + _EYE
    diffuse = np.clip(smooth @ light, 0, 1)
    shine = np.clip(smooth @ (half / np.linalg.norm(half)), 0, 1) ** 20
    return np.clip(0.22 + 0.55 * diffuse + 0.2 * shine, 0, 1)

"""The organ's surface, shaded, seen from the front."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.tri import Triangulation

from pancreasseg.core import Geometry
from pancreasseg.export.surface import make_surface
from pancreasseg.report import style

_SMOOTHING_MM = 1.5
_LIGHT = np.array([-0.35, -0.80, 0.50])  # LPS: in front of the patient, from above and the patient's right
_SHADES = LinearSegmentedColormap.from_list("organ", ["#1d120a", "#8a5a30", "#f9b46f", "#fff1e0"])


def draw_surface(ax: Axes, mask: np.ndarray, geometry: Geometry) -> None:
    """Marching cubes on the slightly smoothed mask, seen from the front: patient's left at the right, head above.

    Args:
        ax: where.
        mask: (K, J, I), not empty.
        geometry: its grid; the surface is drawn in world mm.
    """
    style.blank(ax, style.PANEL)
    surface = make_surface(mask, geometry, smoothing_mm=_SMOOTHING_MM)
    points, triangles = surface.points, surface.triangles
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.zeros_like(points)
    for corner in range(3):
        np.add.at(smooth, triangles[:, corner], normals)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    diffuse = np.clip(smooth @ light, 0, 1)
    half = light + np.array([0.0, -1.0, 0.0])
    shine = np.clip(smooth @ (half / np.linalg.norm(half)), 0, 1) ** 20
    front = normals[:, 1] < 0
    depth = corners[:, :, 1].mean(axis=1)
    order = np.argsort(-depth[front])  # the farthest first, so that the nearer ones cover them
    mesh = Triangulation(points[:, 0], points[:, 2], triangles[front][order])
    ax.tripcolor(mesh, 0.22 + 0.55 * diffuse + 0.2 * shine, cmap=_SHADES, vmin=0, vmax=1, shading="gouraud")
    (x0, _, y0), (x1, _, y1) = points.min(axis=0), points.max(axis=0)
    side = max(x1 - x0, y1 - y0) / 2 + 12
    ax.set_xlim((x0 + x1) / 2 - side, (x0 + x1) / 2 + side)
    ax.set_ylim((y0 + y1) / 2 - side, (y0 + y1) / 2 + side)
    ax.set_aspect("equal", adjustable="box", anchor="C")

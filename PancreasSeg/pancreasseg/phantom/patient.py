"""One patient's build: sizes, position and tissue HU, all drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pancreasseg.phantom.parts import Tissue
from pancreasseg.phantom.shapes import Balls, Noise, Rough, curve

# Mean HU in the portal-venous phase, spread between patients (one standard deviation), texture inside one organ.
_PORTAL_VENOUS: dict[str, tuple[float, float, float]] = {
    "pancreas": (95, 9, 8),
    "spleen": (120, 7, 4),
    "liver": (110, 8, 5),
    "gut wall": (84, 9, 8),
    "fluid": (14, 8, 4),
    "bile": (10, 5, 2),
    "cortex": (176, 12, 5),
    "medulla": (142, 12, 5),
    "artery": (155, 12, 3),
    "vein": (158, 12, 3),
    "cava": (140, 14, 6),
    "muscle": (58, 4, 6),
    "adrenal": (72, 8, 5),
    "heart": (138, 12, 12),
}
_ENHANCING = frozenset(_PORTAL_VENOUS) - {"fluid", "bile"}


@dataclass
class PhantomPatient:
    """Draws a patient from a seed and places canonical anatomy into that patient's frame.

    The patient's frame is LPS with its origin in the midline, in front of the spine, at the neck of the pancreas.
    """

    seed: int
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng([self.seed, 0])
        r = self.random
        fatness = r.beta(2.0, 2.6)  # 0 lean, 1 obese
        self.frame_size = float(np.clip(r.normal(1.0, 0.06), 0.86, 1.15))  # skeleton
        self.organ_size = float(np.clip(self.frame_size * r.normal(1.0, 0.04), 0.85, 1.16))
        self.cavity = self.frame_size * np.array([126 + 22 * fatness, 78 + 26 * fatness]) * r.normal(1, 0.025, 2)
        self.subcutaneous = float(7 + 26 * fatness * r.uniform(0.6, 1.3))
        self.wall = float(np.clip(r.normal(13, 2), 9, 18))
        self.back = float(r.normal(30, 3)) * self.frame_size
        # Positions follow the cavity, sizes the organs: an obese abdomen has more fat between the same organs.
        self.spread = np.array([self.cavity[0] / 134, self.cavity[1] / 88, self.frame_size * r.normal(1.0, 0.03)])
        self._bend = [self.noise(100 + axis, 95.0) for axis in range(3)]
        self._bend_amplitude = np.array([3.5, 3.0, 5.0])
        self.strands = float(r.uniform(0.4, 1.0))
        self.tissues = self._draw_tissues()

    def _draw_tissues(self) -> dict[str, Tissue]:
        r = self.random
        enhancement = float(np.clip(r.normal(1.0, 0.07), 0.84, 1.16))
        tissues = {}
        for name, (mean, spread, texture) in _PORTAL_VENOUS.items():
            value = float(np.clip(r.normal(mean, spread), mean - 2 * spread, mean + 2 * spread))
            if name in _ENHANCING:
                value = 45 + (value - 45) * enhancement
            tissues[name] = Tissue(value, texture)
        fat = float(r.normal(-104, 4))
        tissues |= {
            "fat": Tissue(fat, 5),
            "visceral fat": Tissue(fat + 4, 6),
            "skin": Tissue(15, 8),
            "cortical bone": Tissue(float(r.normal(420, 60)), 60),
            "marrow": Tissue(float(r.normal(170, 30)), 35),
            "disc": Tissue(85, 6),
            "canal": Tissue(28, 4),
            "lung": Tissue(float(r.normal(-840, 20)), 22),
            "gas": Tissue(-960, 10),
            "stool": Tissue(float(r.normal(10, 25)), 90),
        }
        return tissues

    def noise(self, key: int, wavelength: float) -> Noise:
        """Smooth noise that belongs to this patient and ``key``."""
        return Noise([self.seed, 1, key], wavelength)

    def rough(self, key: int, wavelength: float, amplitude: float) -> Rough:
        """Bumps that belong to this patient and ``key``."""
        return Rough(self.noise(key, wavelength), amplitude)

    def place(self, points: Sequence[Sequence[float]] | np.ndarray, jitter: float = 0.0) -> np.ndarray:
        """Canonical points (n, 3) in this patient: spread over the cavity, bent together, each jittered alone."""
        canonical = np.asarray(points, dtype=float)
        bent = np.stack([noise.at(canonical) for noise in self._bend], axis=1) * self._bend_amplitude
        return canonical * self.spread + bent + self.random.normal(0, jitter, canonical.shape)

    def tube(
        self,
        points: Sequence[Sequence[float]],
        *,
        jitter: float = 0.0,
        size: float = 1.0,
        stretch: Sequence[float] = (1.0, 1.0, 1.0),
        rough: tuple[Rough, ...] = (),
    ) -> Balls:
        """A tube through canonical control points (x, y, z, radius mm), its section stretched along x, y, z."""
        control = np.asarray(points, dtype=float)
        placed = np.column_stack([self.place(control[:, :3], jitter), control[:, 3] * self.organ_size * size])
        path = curve(placed, max(1.5, 0.25 * float(placed[:, 3].min())))
        return Balls(path[:, :3], np.outer(np.maximum(path[:, 3], 0.8), stretch), rough=rough)

    def lumps(
        self,
        lumps: Sequence[tuple[Sequence[float], Sequence[float]]],
        *,
        jitter: float = 0.0,
        size: float = 1.0,
        blend: float = 0.0,
        rough: tuple[Rough, ...] = (),
    ) -> Balls:
        """Ellipsoids given as (canonical centre, semi-axes in mm)."""
        centres = self.place([centre for centre, _ in lumps], jitter)
        axes = np.array([axes for _, axes in lumps], dtype=float) * self.organ_size * size
        return Balls(centres, axes, blend, rough)

"""The trunk around the organs: skin, fat, muscle, bones, lungs, and the cavity that holds the organs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pancreasseg.phantom.parts import LABELS, BodyPart, Layer
from pancreasseg.phantom.patient import PhantomPatient
from pancreasseg.phantom.shapes import Balls, Frame, Noise, curve


@dataclass(frozen=True)
class Column:
    """A long body along z: a superellipse in x and y, dented by smooth noise.

    Attributes:
        centre: x, y in mm.
        axes: semi-axes in mm along x and y (front and back may differ: ``back`` replaces y behind the centre).
        noise, amplitude: dents, mm.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    back: float
    noise: Noise
    amplitude: float
    power: float = 2.3

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Two corners; unlimited along z."""
        reach = max(*self.axes, self.back) + 40
        centre, half = np.array([*self.centre, 0.0]), np.array([reach, reach, 1e4])
        return centre - half, centre + half

    def distance(self, frame: Frame) -> np.ndarray:
        """Signed distance in mm, float32 (K, J, I)."""
        x = (frame.x - self.centre[0])[None, :]
        y = (frame.y - self.centre[1])[:, None]
        depth = np.where(y > 0, self.back, self.axes[1])
        p = self.power
        inside = (np.abs(x / self.axes[0]) ** p + np.abs(y / depth) ** p) ** (1 / p) + 1e-6
        gx = np.abs(x / self.axes[0]) ** (p - 1) / self.axes[0]
        gy = np.abs(y / depth) ** (p - 1) / depth
        slope = np.hypot(gx, gy) * inside ** (1 - p)
        flat = ((inside - 1) / np.maximum(slope, 1e-4)).astype(np.float32)
        return np.asarray(flat[None] + self.noise.on(frame) * np.float32(self.amplitude))


@dataclass(frozen=True)
class Below:
    """Everything under the two domes of the diaphragm; between and around them it stands at ``lowest`` mm."""

    domes: Balls
    lowest: float

    def distance(self, frame: Frame) -> np.ndarray:
        """Signed distance in mm, negative below the diaphragm, float32 (K, J, I)."""
        height: np.ndarray = np.full((frame.y.size, frame.x.size), self.lowest, dtype=np.float32)
        for (cx, cy, cz), (ax, ay, az) in zip(self.domes.centres, self.domes.axes, strict=True):
            q = 1 - ((frame.x - cx) / ax)[None, :] ** 2 - ((frame.y - cy) / ay)[:, None] ** 2
            np.maximum(height, cz + az * np.sqrt(np.maximum(q, 0)), out=height)
        slope = np.hypot(*np.gradient(height, frame.step)) if min(height.shape) > 1 else np.zeros_like(height)
        return np.asarray((frame.z[:, None, None] - height) / np.sqrt(1 + slope * slope)).astype(np.float32)


@dataclass(frozen=True)
class Trunk:
    """Body outline, inner side of the abdominal wall, diaphragm, and the parts of the wall itself."""

    body: Column
    muscles: Column
    cavity: Column
    diaphragm: Below
    parts: tuple[BodyPart, ...]


def build_trunk(patient: PhantomPatient) -> Trunk:
    """The trunk of a patient."""
    width, depth = patient.cavity
    middle = (0.0, -10.0 * patient.spread[1])
    back = 72.0 * patient.frame_size
    bend = patient.noise(200, 120.0)
    wall, fat = patient.wall, patient.subcutaneous
    cavity = Column(middle, (width, depth), back, bend, 4.0)
    muscles = Column(middle, (width + wall, depth + 0.8 * wall), back + patient.back, bend, 4.0)
    body = Column(
        middle,
        (width + wall + 0.8 * fat + 4, depth + 0.8 * wall + fat),
        back + patient.back + 0.55 * fat + 3,
        patient.noise(201, 140.0),
        3.0,
    )
    s = patient.spread
    top = 104 * s[2] + patient.random.normal(0, 6)
    domes = Balls(
        np.array([[-0.52 * width, middle[1] - 4, top - 62], [0.5 * width, middle[1], top - 74]]),
        np.array([[0.62 * width, 1.05 * depth, 62.0], [0.62 * width, 1.05 * depth, 62.0]]),
    )
    return Trunk(body, muscles, cavity, Below(domes, top - 34), tuple(_bones(patient, muscles)))


def _bones(patient: PhantomPatient, muscles: Column) -> list[BodyPart]:
    """Psoas and crura, spine with discs and canal, ribs, iliac wings."""
    tissue, size = patient.tissues, patient.frame_size
    bone, muscle = LABELS["bone"], LABELS["muscle"]
    front = 24.0  # y of the front of the vertebral bodies
    parts = []
    psoas = [(34, front + 22, 30, 8), (40, front + 24, -30, 15), (50, front + 20, -95, 21), (62, front + 4, -190, 24)]
    for side in (-1, 1):
        mirrored = [(side * x, y, z, r) for x, y, z, r in psoas]
        parts.append(BodyPart(muscle, patient.tube(mirrored, size=0.95), (Layer(tissue["muscle"]),)))
        crus = [(side * 12 + 3, front - 6, 70, 5), (side * 15 + 3, front + 2, 20, 5), (side * 14, front + 8, -25, 3)]
        parts.append(BodyPart(muscle, patient.tube(crus, stretch=(0.8, 1.7, 1.0)), (Layer(tissue["muscle"]),)))

    cortical, marrow = Layer(tissue["cortical bone"]), Layer(tissue["marrow"], depth=2.2)
    pitch = 33.0 * size
    first = patient.random.uniform(-0.5, 0.5) * pitch
    heights = [first + n * pitch for n in range(-9, 10)]
    levels = np.linspace(-340, 340, 35)
    offsets = 2.5 * patient.noise(210, 160.0).at(
        np.column_stack([0 * levels, 0 * levels, levels])
    )  # a slight scoliosis

    def at(x: float, y: float, z: float) -> list[float]:
        return [x * size + float(np.interp(z, levels, offsets)), (front + y) * size, z]

    discs = np.array([at(0, 18, z + pitch / 2) for z in heights])
    disc_axes = np.tile([20.0, 15.5, 6.0], (len(discs), 1)) * size
    parts.append(BodyPart(None, Balls(discs, disc_axes, 0.0), (Layer(tissue["disc"]),)))
    bodies, axes = [], []
    for z in heights:
        for dz in np.linspace(-9.5, 9.5, 5):
            waist = 1 - 0.10 * (1 - (dz / 9.5) ** 2)
            bodies.append(at(0, 18, z + dz * size))
            axes.append([21.0 * waist, 16.5 * waist, 4.5])
    parts.append(BodyPart(bone, Balls(np.array(bodies), np.array(axes) * size), (cortical, marrow)))

    arches: list[list[float]] = []
    arch_axes: list[list[float]] = []
    for z in heights:
        for side in (-1, 1):
            arches += [at(side * 13, 38, z), at(side * 15, 48, z - 4), at(side * 7, 57, z - 6)]
            arch_axes += [[4, 8, 6], [6, 7, 10], [8, 4, 7]]
            for n in range(6):
                arches.append(at(side * (18 + 4.5 * n), 46 + 1.2 * n, z))
                arch_axes.append([4, 3, 4])
        for n in range(8):
            arches.append(at(0, 58 + 3.6 * n, z - 6 - 1.3 * n))
            arch_axes.append([3.2, 4, 8])
    layers = (cortical, Layer(tissue["marrow"], depth=2.0))
    parts.append(BodyPart(bone, Balls(np.array(arches), np.array(arch_axes, dtype=float) * size), layers))
    canal = np.array([at(0, 42.5, z) for z in np.arange(-300, 301, 4.0)])
    parts.append(
        BodyPart(None, Balls(canal, np.tile([9.5, 7.5, 6.0], (len(canal), 1)) * size), (Layer(tissue["canal"]),))
    )
    parts += _ribs(patient, muscles, heights, layers)
    wings = []
    for side in (-1, 1):
        for t in np.linspace(0, 1, 14):
            for u in np.linspace(0, 1, 8):
                x = side * (62 + 48 * u * (0.5 + t))
                wings.append([x * size, (62 - 78 * u) * size, (-255 + 90 * t * (1 - 0.5 * abs(u - 0.45))) * size])
    wing_axes = np.full((len(wings), 3), 7.0 * size)
    parts.append(BodyPart(bone, Balls(np.array(wings), wing_axes), layers, within="body"))
    return parts


def _ribs(patient: PhantomPatient, muscles: Column, heights: list[float], layers: tuple[Layer, ...]) -> list[BodyPart]:
    """Ribs in the wall: from each thoracic vertebra round the side, falling towards the front."""
    size = patient.frame_size
    lowest = min((z for z in heights if z > 35 * size), default=35.0)
    centres = []
    inset = 0.55 * patient.wall
    for n in range(7):
        start = lowest + n * 27 * size
        reach = [0.35, 0.55, 0.80, 0.92, 1.0, 1.0, 1.0][n]  # floating ribs end early
        for side in (-1, 1):
            angles = np.linspace(np.deg2rad(78), np.deg2rad(78 - 150 * reach), 34)
            dip = np.linspace(0, 1, 34) * reach
            x = side * (muscles.axes[0] - inset) * np.cos(angles)
            depth = np.where(np.sin(angles) > 0, muscles.back - 14, muscles.axes[1] - inset)
            y = muscles.centre[1] + depth * np.sin(angles)
            z = start - 62 * size * np.sin(dip * np.pi / 2)
            centres.append(curve(np.column_stack([x, y, z]), 2.5))
    path = np.vstack(centres)
    axes = np.tile([3.6, 3.6, 6.0], (len(path), 1)) * size
    return [BodyPart(LABELS["bone"], Balls(path, axes), layers, within="body")]

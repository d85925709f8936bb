"""A patient's anatomy, painted on a frame and sampled on any grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk

from pancreasseg.core.geometry import Geometry
from pancreasseg.phantom.organs import build_organs
from pancreasseg.phantom.parts import LABELS, PANCREAS, BodyPart, Layer
from pancreasseg.phantom.patient import PhantomPatient
from pancreasseg.phantom.shapes import FAR, Frame
from pancreasseg.phantom.trunk import Trunk, build_trunk

AIR = -1000.0


@dataclass
class Painting:
    """Tissue on a frame, before scanning.

    Attributes:
        frame: the grid.
        hu: float32 (K, J, I), with soft edges about one step wide.
        labels: uint8, everything but the pancreas.
        pancreas: signed distance to what is visible of the pancreas, mm.
    """

    frame: Frame
    hu: np.ndarray
    labels: np.ndarray
    pancreas: np.ndarray


class Anatomy:
    """One patient's abdomen, defined in space; deterministic per seed.

    Attributes:
        patient: sizes and tissues.
        rotation: 3x3, from the patient's frame to LPS world (a patient never lies quite straight).
        position: LPS mm of the patient's origin, in front of the spine at the neck of the pancreas.
    """

    def __init__(self, seed: int) -> None:
        self.patient = PhantomPatient(seed)
        self.trunk: Trunk = build_trunk(self.patient)
        self.organs: tuple[BodyPart, ...] = build_organs(self.patient)
        r = np.random.default_rng([seed, 2])
        angles = np.deg2rad(r.normal(0, (2.0, 2.0, 3.5)))
        transform = sitk.Euler3DTransform((0.0, 0.0, 0.0), *(float(a) for a in angles))
        self.rotation = np.asarray(transform.GetMatrix()).reshape(3, 3)
        self.position = r.normal(0, (12.0, 12.0, 20.0))
        self._table = float(r.uniform(4, 12))
        self._gap = float(r.uniform(-0.5, 2.0))  # mm of fat between the pancreas and its neighbours; lean ones touch

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """LPS mm of points (..., 3) in the patient's frame."""
        return np.asarray(points) @ self.rotation.T + self.position

    def to_patient(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_world`."""
        return (np.asarray(points) - self.position) @ self.rotation

    def pancreas_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Two corners (x, y, z mm in the patient's frame) around the pancreas."""
        shape = next(part.shape for part in self.organs if part.label == PANCREAS)
        low, high = shape.bounds()
        return low + FAR, high - FAR

    def scan_centre(self) -> np.ndarray:
        """LPS mm of the middle of a usual abdominal scan of this patient."""
        body = self.trunk.body
        return self.to_world(np.array([body.centre[0], body.centre[1] + (body.back - body.axes[1]) / 2, -20.0]))

    def paint(self, frame: Frame) -> Painting:
        """All tissue on a frame."""
        t = self.patient.tissues
        body = self.trunk.body.distance(frame)
        muscles = np.maximum(self.trunk.muscles.distance(frame), body + 4)
        cavity = np.maximum(self.trunk.cavity.distance(frame), body + 8)
        diaphragm = self.trunk.diaphragm.distance(frame)
        fine, coarse = self.patient.noise(10, 3.5).on(frame), self.patient.noise(11, 11.0).on(frame)
        texture = np.float32(0.75) * fine + np.float32(0.66) * coarse
        hu: np.ndarray = np.full(frame.shape, AIR, dtype=np.float32)
        labels: np.ndarray = np.zeros(frame.shape, dtype=np.uint8)
        whole = (slice(None),) * 3

        def layer(
            window: tuple[slice, ...], distance: np.ndarray, layers: tuple[Layer, ...], label: int | None
        ) -> None:
            _apply(frame.crop(window), hu[window], labels[window], texture[window], distance, layers, label)

        self._paint_table(frame, hu)
        skin = (Layer(t["skin"]), Layer(t["fat"], depth=2.0))
        layer(whole, body, skin, LABELS["subcutaneous fat"])
        layer(whole, muscles, (Layer(t["muscle"]),), LABELS["muscle"])
        seams = (np.abs(coarse + np.float32(0.3) * fine) - np.float32(0.16)) * 8
        layer(whole, np.maximum(muscles + 3, seams), (Layer(t["fat"], opacity=0.55),), None)
        layer(whole, cavity, (Layer(t["visceral fat"]),), LABELS["visceral fat"])
        strands = np.maximum(cavity + 2, (np.abs(coarse - np.float32(0.5) * fine) - np.float32(0.09)) * 8)
        layer(whole, strands, (Layer(t["muscle"], opacity=0.35 * self.patient.strands),), None)
        lung = np.maximum(cavity, 4 - diaphragm)
        layer(whole, np.maximum(cavity, -diaphragm), (Layer(t["muscle"]),), LABELS["muscle"])
        layer(whole, lung, (Layer(t["lung"]),), LABELS["lung"])

        limits = {
            "cavity": np.maximum(cavity + 1, diaphragm + 3),
            "body": body + 5,
            "chest": np.maximum(cavity + 3, 5 - diaphragm),
        }
        visible = self._pancreas_distance(frame, limits["cavity"])
        limits["retroperitoneum"] = np.float32(self._gap) - visible
        limits["beside the pancreas"] = np.maximum(limits["cavity"], limits["retroperitoneum"])
        painted = False  # the pancreas; what comes after hides it
        for part in (*self.trunk.parts, *self.organs):
            window = frame.window(*part.shape.bounds())
            near = frame.crop(window)
            if 0 in near.shape:
                continue
            distance = part.shape.distance(near)
            if part.within is not None:
                distance = np.maximum(distance, limits[part.within][window])
            if part.label == PANCREAS:
                layer(window, distance, part.layers, None)
                painted = True
            else:
                layer(window, distance, part.layers, part.label)
                if painted and part.label is not None:
                    visible[window] = np.maximum(visible[window], -distance)
        return Painting(frame, hu, labels, visible)

    def _pancreas_distance(self, frame: Frame, cavity: np.ndarray) -> np.ndarray:
        """Signed distance to the whole pancreas on a frame."""
        shape = next(part.shape for part in self.organs if part.label == PANCREAS)
        distance: np.ndarray = np.full(frame.shape, FAR, dtype=np.float32)
        window = frame.window(*shape.bounds())
        near = frame.crop(window)
        if 0 not in near.shape:
            distance[window] = np.maximum(shape.distance(near), cavity[window])
        return distance

    def _paint_table(self, frame: Frame, hu: np.ndarray) -> None:
        """A curved shell of a table beneath the back."""
        body = self.trunk.body
        top = body.centre[1] + body.back + self._table
        y = frame.y[:, None] - (top - (frame.x[None, :] / 26) ** 2)
        plate = (np.abs(frame.x)[None, :] < 210) & (y > 0) & (y < 28)
        shell = plate & ((y < 3) | (y > 25) | (np.abs(frame.x)[None, :] > 207))
        hu[:, plate] = -930
        hu[:, shell] = -300


def _apply(
    frame: Frame,
    hu: np.ndarray,
    labels: np.ndarray,
    texture: np.ndarray,
    distance: np.ndarray,
    layers: tuple[Layer, ...],
    label: int | None,
) -> None:
    """Paint one part in place; arrays are views of the part's window."""
    # In slabs that fit the cache; whole arrays would take twice as long.
    thick = max(1, 150_000 // max(1, frame.y.size * frame.x.size))
    for start in range(0, frame.z.size, thick):
        slab = (slice(start, start + thick), slice(None), slice(None))
        for layer in layers:
            _apply_layer(frame.crop(slab), hu[slab], texture[slab], distance[slab], layer)
    if label is not None:
        labels[distance < 0] = label


def _apply_layer(frame: Frame, hu: np.ndarray, texture: np.ndarray, distance: np.ndarray, layer: Layer) -> None:
    alpha = np.float32(0.5) - (distance + np.float32(layer.depth)) * np.float32(1 / max(frame.step, 1.2))
    if alpha.max() <= 0:
        return
    if layer.level is not None:
        np.minimum(alpha, (np.float32(layer.level) - frame.y)[None, :, None], out=alpha)
    if layer.blotches is not None:
        noise, threshold = layer.blotches
        np.minimum(alpha, (noise.on(frame) - np.float32(threshold)) * np.float32(0.3 * noise.wavelength), out=alpha)
    np.clip(alpha, 0, 1, out=alpha)
    alpha *= np.float32(layer.opacity)
    change = texture * np.float32(layer.tissue.texture)
    change += np.float32(layer.tissue.hu)
    change -= hu
    change *= alpha
    hu += change


def frame_over(anatomy: Anatomy, geometry: Geometry, step: float) -> Frame:
    """The frame that covers a scan's field of view, as far as there is anything to see."""
    corners = geometry.to_world(np.array(list(product(*[(-0.5, n - 0.5) for n in geometry.size]))))
    inside = anatomy.to_patient(corners)
    body = anatomy.trunk.body
    side, front = body.axes[0] + 12, body.centre[1] - body.axes[1] - 12
    low = np.array([-side, front, -330.0])
    high = np.array([side, body.centre[1] + body.back + 45, 330.0])
    return Frame.covering(np.clip(inside.min(axis=0), low, high), np.clip(inside.max(axis=0), low, high), step)


def frame_geometry(anatomy: Anatomy, frame: Frame) -> Geometry:
    """Where a frame lies in the world."""
    ox, oy, oz = (float(c) for c in anatomy.to_world(np.array([frame.x[0], frame.y[0], frame.z[0]])))
    nk, nj, ni = frame.shape
    directions = tuple(float(d) for d in anatomy.rotation.ravel())
    return Geometry((ni, nj, nk), (float(frame.step),) * 3, (ox, oy, oz), directions)

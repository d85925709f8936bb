"""The pancreas and the vessels that run along it. Coordinates as in `organs`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pancreasseg.phantom.parts import LABELS, PANCREAS, BodyPart, Layer, Tissue
from pancreasseg.phantom.patient import PhantomPatient
from pancreasseg.phantom.shapes import Balls, curve

_FLATTENING = 0.98  # section area relative to a circle, from the stretch in `pancreas_parts`


def pancreas_course(p: PhantomPatient) -> np.ndarray:
    """Centreline of the pancreas from the uncinate process to the tail: (n, 4), mm and radius, in the patient."""
    r = p.random
    lift = float(r.normal(22, 11))  # how far the tail climbs; some lie flat, some hang
    arch = float(r.normal(0, 5))
    head, body, tail = np.clip(r.normal(1, 0.13, 3), 0.7, 1.35)
    control = np.array(
        [
            (-14, -1, -42, 6.5 * head),
            (-26, -6, -38, 11.0 * head),
            (-34, -13, -24, 14.5 * head),
            (-31, -20, -8, 13.5 * head),
            (-19, -27, 1, 9.0),
            (-6, -31, 4 + 0.15 * lift, 7.8 * body),
            (12, -32 - 0.3 * arch, 9 + 0.35 * lift, 9.2 * body),
            (33, -24, 9 + 0.5 * lift + arch, 9.6 * body),
            (54, -8, 10 + 0.7 * lift + arch, 10.0 * tail),
            (72, 10, 11 + 0.9 * lift, 9.8 * tail),
            (82, 20, 12 + 1.0 * lift, 7.0 * tail),
        ]
    )
    placed = np.column_stack([p.place(control[:, :3], jitter=2.5), control[:, 3]])
    path = curve(placed, 2.0)
    # Fit the radii to a volume drawn from the adult distribution (72 +- 26 ml); the outline's lobules add a little.
    target = float(np.clip(r.normal(74, 19), 44, 112)) * 1000
    lengths = np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1)
    section = np.pi * path[:, 3] ** 2 * _FLATTENING
    swept = float((0.5 * (section[1:] + section[:-1]) * lengths).sum())
    path[:, 3] *= np.sqrt(target / swept)
    return path


def pancreas_parts(p: PhantomPatient, path: np.ndarray) -> Iterator[BodyPart]:
    """The pancreas around its course: lobulated, with fatty clefts, in some patients with a visible duct."""
    r = p.random
    lobules = float(r.uniform(0.5, 1.5))
    tissue = p.tissues["pancreas"]
    clefts = float(r.uniform(1.2, 2.6))  # fatty clefts: rare to many
    shape = Balls(
        path[:, :3],
        np.outer(path[:, 3], (0.95, 0.9, 1.12)),
        rough=(p.rough(700, 7.0, lobules), p.rough(701, 20.0, 1.0)),
    )
    layers = (
        Layer(Tissue(tissue.hu, float(r.uniform(6, 12)))),
        Layer(p.tissues["visceral fat"], depth=0.5, blotches=(p.noise(702, 5.5), clefts), opacity=0.6),
    )
    yield BodyPart(PANCREAS, shape, layers, "cavity")
    if r.random() < 0.35:  # a visible duct
        duct = curve(path[4:-4:6], 1.5)
        yield BodyPart(
            None, Balls(duct[:, :3], np.full((len(duct), 3), float(r.uniform(0.9, 2.2)))), (Layer(Tissue(25, 3)),)
        )


def portal_parts(p: PhantomPatient, path: np.ndarray) -> Iterator[BodyPart]:
    """Splenic vein along the back of the pancreas, superior mesenteric vein behind its neck, portal vein upwards."""
    t, label = p.tissues["vein"], LABELS["portal and splenic vein"]
    neck = int(np.argmin(np.abs(path[:, 0] + 8 * p.spread[0]) + np.where(path[:, 2] < path[:, 2].mean() - 12, 1e3, 0)))
    confluence = path[neck, :3] + [0, path[neck, 3] * 0.9 + 4.5, -2]
    behind = path[neck + 4 :: 4]
    backwards = _backwards(path[:, :3])[neck + 4 :: 4]
    course = np.column_stack([behind[:, :3] + backwards * (0.9 * behind[:, 3:] + 2.0), np.full(len(behind), 4.2)])
    spleen = p.place([(88, 34, 48)])[0]
    splenic = np.vstack([[*confluence, 5.5], course, [*spleen, 3.5]])
    yield BodyPart(label, _tube_in_place(p, splenic), (Layer(t),))
    x, y, z = confluence
    mesenteric = np.array(
        [
            (x, y, z, 6.2),
            (x - 1, y, z - 18, 6),
            (x - 2, y - 4, z - 50, 5.2),
            (x, y - 14, z - 95, 4),
            (x + 4, y - 24, z - 130, 3),
        ]
    )
    yield BodyPart(label, _tube_in_place(p, mesenteric), (Layer(t),))
    (hilum, right, left) = p.place([(-40, -14, 42), (-72, -2, 50), (-24, -42, 62)], jitter=2)
    portal = np.array([(x, y, z, 6.6), (*(0.5 * (confluence + hilum) + [0, 2, 0]), 7), (*hilum, 6.4)])
    yield BodyPart(label, _tube_in_place(p, portal), (Layer(t),))
    for branch in (right, left):
        yield BodyPart(None, _tube_in_place(p, np.array([(*hilum, 5.5), (*branch, 3.5)])), (Layer(t),))
    bile = np.array(
        [
            (*(hilum + np.array([-8, -6, -2])), 2.4),
            (x - 16, y + 2, z + 6, 2.6),
            (x - 22, y + 6, z - 16, 2.4),
            (x - 32, y + 4, z - 34, 1.8),
        ]
    )
    yield BodyPart(None, _tube_in_place(p, bile), (Layer(p.tissues["bile"]),))
    # Mesenteric branches: small vessels in the fat below the pancreas.
    for n in range(9):
        root = mesenteric[2 + n % 3, :3]
        reach = p.random.normal(0, 1, 3) * (34, 16, 14) + (12, -14, -10)
        yield BodyPart(
            None,
            _tube_in_place(
                p,
                np.array(
                    [(*root, 2.2), (*(root + 0.5 * reach + p.random.normal(0, 5, 3)), 1.7), (*(root + reach), 1.2)]
                ),
            ),
            (Layer(t),),
        )


def _backwards(points: np.ndarray) -> np.ndarray:
    """Unit vectors at the points of a curve, square to it and as posterior (and a little upwards) as that allows."""
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    wanted = np.array([0.0, 1.0, 0.2])
    square = wanted - along * (along @ wanted)[:, None]
    return np.asarray(square / np.linalg.norm(square, axis=1, keepdims=True))


def artery_parts(p: PhantomPatient, path: np.ndarray) -> Iterator[BodyPart]:
    """Superior mesenteric artery, coeliac trunk, winding splenic artery, hepatic and gastroduodenal artery."""
    label, layers = LABELS["arteries"], (Layer(p.tissues["artery"]),)
    yield BodyPart(
        label,
        p.tube([(5, 6, 16, 3.8), (4, -5, 6, 3.6), (2, -9, -20, 3.5), (0, -12, -60, 3), (4, -24, -110, 2.4)]),
        layers,
    )
    trunk = p.place([(6, 6, 28), (6, -8, 32)])
    yield BodyPart(label, _tube_in_place(p, np.column_stack([trunk, [3.6, 3.2]])), layers)
    above = path[len(path) // 2 :: 5]
    wave = 3.0 * np.sin(np.arange(len(above)) * 1.7)
    splenic = np.column_stack(
        [above[:, 0], above[:, 1] + wave + 3, above[:, 2] + above[:, 3] * 1.1 + 3, np.full(len(above), 2.7)]
    )
    yield BodyPart(label, _tube_in_place(p, np.vstack([[*trunk[1], 3.0], splenic])), layers)
    hepatic = p.place([(-12, -22, 26), (-30, -22, 30), (-42, -20, 44)], jitter=1.5)
    yield BodyPart(
        label, _tube_in_place(p, np.vstack([[*trunk[1], 2.9], np.column_stack([hepatic, [2.6, 2.4, 2.0]])])), layers
    )
    down = p.place([(-24, -30, 22), (-30, -32, 2)])
    yield BodyPart(label, _tube_in_place(p, np.column_stack([down, [2.0, 1.6]])), layers)


def _tube_in_place(p: PhantomPatient, control: np.ndarray) -> Balls:
    """A tube through points that are already in the patient's frame: (n, 4) mm and canonical radius."""
    path = curve(control, max(1.2, 0.3 * float(control[:, 3].min())))
    radii = np.maximum(path[:, 3] * p.organ_size, 0.8)
    return Balls(path[:, :3], np.repeat(radii[:, None], 3, axis=1))

"""The organs and vessels of the upper abdomen, in the order in which they are painted.

Coordinates are canonical: mm, x to the patient's left, y to the back, z up; the origin lies in the midline at the
neck of the pancreas, 24 mm in front of the spine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pancreasseg.phantom.pancreas import artery_parts, pancreas_course, pancreas_parts, portal_parts
from pancreasseg.phantom.parts import LABELS, BodyPart, Layer, Tissue
from pancreasseg.phantom.patient import PhantomPatient

Path = list[Sequence[float]]


def build_organs(patient: PhantomPatient) -> tuple[BodyPart, ...]:
    """All parts inside the abdominal cavity and the chest above it."""
    course = pancreas_course(patient)
    return (
        *_chest(patient),
        *_bowel(patient),
        *_stomach(patient),
        *_solid_organs(patient),
        *_great_vessels(patient),
        *_duodenum(patient),
        *pancreas_parts(patient, course),
        *portal_parts(patient, course),
        *artery_parts(patient, course),
    )


def _chest(p: PhantomPatient) -> Iterator[BodyPart]:
    heart = p.lumps([((22, -45, 150), (58, 42, 44)), ((-5, -35, 165), (45, 38, 40))], jitter=3, blend=10)
    yield BodyPart(
        LABELS["heart"], heart, (Layer(p.tissues["visceral fat"]), Layer(p.tissues["heart"], depth=5)), "chest"
    )


def _content(p: PhantomPatient, key: int, wall: float) -> tuple[Layer, ...]:
    """Layers of a gut segment: wall, fluid or oral contrast, bubbles of gas, or collapsed."""
    r = p.random
    kind = r.choice(["fluid", "contrast", "collapsed", "mixed"], p=[0.35, 0.15, 0.2, 0.3])
    layers = [Layer(p.tissues["gut wall"])]
    if kind == "contrast":
        layers.append(Layer(Tissue(float(r.uniform(120, 380)), 25), depth=wall))
    elif kind == "fluid":
        layers.append(Layer(Tissue(float(r.normal(20, 10)), 8), depth=wall))
    elif kind == "mixed":
        layers.append(Layer(Tissue(float(r.normal(35, 15)), 25), depth=wall))
    if kind != "collapsed":
        layers.append(
            Layer(p.tissues["gas"], depth=wall + 1, blotches=(p.noise(key, 26.0), float(r.uniform(0.9, 2.0))))
        )
    return tuple(layers)


def _loops(p: PhantomPatient, centre: Sequence[float], reach: Sequence[float], turns: int, radius: float) -> Path:
    """Control points of bowel wound up in an ellipsoid region."""
    r = p.random
    path: Path = []
    for n in range(turns):
        swing = 1 if n % 2 else -1
        u = -1 + 2 * (n + 0.5) / turns
        point = np.array([swing * r.uniform(0.3, 0.95), r.uniform(-0.9, 0.9), -u + r.normal(0, 0.12)])
        x, y, z = np.asarray(centre) + point * np.asarray(reach)
        path.append((float(x), float(y), float(z), radius * float(r.uniform(0.85, 1.15))))
    return path


def _bowel(p: PhantomPatient) -> Iterator[BodyPart]:
    r = p.random
    small, colon = LABELS["small bowel"], LABELS["colon"]
    regions = [
        ((52, -48, -42), (48, 30, 36), 11, 11.5),
        ((45, -30, -95), (58, 42, 34), 14, 12.0),
        ((-25, -45, -95), (60, 35, 30), 12, 12.0),
        ((15, -40, -150), (85, 45, 28), 14, 12.0),
        ((0, -30, -205), (90, 50, 28), 14, 12.0),
        ((58, -22, -5), (30, 16, 22), 5, 10.5),
    ]
    for n, (centre, reach, turns, radius) in enumerate(regions):
        for half in range(2):
            path = _loops(p, centre, reach, max(3, turns // 2), radius)
            folds = p.rough(300 + n, 9.0, 0.9)
            shape = p.tube(path, size=float(r.uniform(0.85, 1.1)), rough=(folds,))
            yield BodyPart(small, shape, _content(p, 310 + 2 * n + half, 2.4), "beside the pancreas")

    sag = float(r.uniform(-75, -15))
    segments: list[tuple[Path, float]] = [
        ([(-92, 22, -200, 26), (-98, 24, -140, 25), (-100, 28, -80, 23), (-92, 15, -38, 21), (-80, -22, -30, 20)], 0.5),
        ([(-80, -22, -30, 20), (-55, -68, -38, 19), (0, -78, sag, 18), (55, -70, -25, 18), (98, -20, 48, 18)], 1.0),
        ([(98, -20, 48, 18), (112, 18, 35, 16), (108, 36, -20, 14), (106, 34, -100, 14), (96, 28, -200, 15)], 0.4),
    ]
    haustra = p.noise(330, 17.0)
    for n, (path, gas) in enumerate(segments):
        shape = p.tube(
            path, jitter=5, size=float(r.uniform(0.75, 1.1)), rough=(replace(p.rough(0, 17, 2.4), noise=haustra),)
        )
        filling = p.tissues["stool"] if r.random() < 0.75 else p.tissues["fluid"]
        layers = (
            Layer(p.tissues["gut wall"]),
            Layer(filling, depth=2.2),
            Layer(p.tissues["gas"], depth=2.4, blotches=(p.noise(340 + n, 34.0), float(r.normal(0.9 - gas, 0.5)))),
        )
        yield BodyPart(colon, shape, layers, "beside the pancreas")


def _stomach(p: PhantomPatient) -> Iterator[BodyPart]:
    r = p.random
    fill = float(np.clip(r.normal(0.95, 0.2), 0.6, 1.3))
    course: Path = [
        (58, 8, 92, 30), (66, -8, 78, 34), (70, -30, 52, 33), (60, -50, 24, 28),
        (35, -62, 0, 22), (8, -58, -10, 18), (-16, -46, -4, 15), (-32, -38, 4, 9),
    ]  # fmt: skip
    shape = p.tube(course, jitter=4, size=fill, rough=(p.rough(400, 22, 1.5),))
    inside = Tissue(float(r.choice([r.normal(20, 10), r.normal(60, 15), r.uniform(150, 350)], p=[0.6, 0.25, 0.15])), 14)
    middle = float(shape.centres[:, 1].mean())
    gullet = p.tube([(16, 8, 190, 7), (15, 6, 125, 7), (26, 4, 108, 8), (50, 4, 96, 9)])
    yield BodyPart(LABELS["stomach"], gullet, (Layer(p.tissues["gut wall"]),))
    layers = (
        Layer(p.tissues["gut wall"]),
        Layer(inside, depth=3.6),
        Layer(p.tissues["gas"], depth=3.8, level=middle - float(r.uniform(-8, 22))),
    )
    yield BodyPart(LABELS["stomach"], shape, layers, "beside the pancreas")


def _solid_organs(p: PhantomPatient) -> Iterator[BodyPart]:
    t, r = p.tissues, p.random
    liver_size = float(np.clip(r.normal(1.0, 0.06), 0.86, 1.14))
    liver = p.lumps(
        [
            ((-78, 8, 52), (54, 60, 66)),
            ((-84, -14, 12), (42, 52, 58)),
            ((-48, -38, 58), (48, 44, 46)),
            ((2, -58, 66), (52, 30, 34)),
            ((-22, -6, 56), (17, 17, 24)),
        ],
        jitter=4, size=liver_size, blend=16, rough=(p.rough(500, 40, 2.0),),
    )  # fmt: skip
    yield BodyPart(LABELS["liver"], liver, (Layer(t["liver"]),), "beside the pancreas")
    for course in (
        [(-24, 6, 98, 6), (-50, 0, 80, 4.5), (-85, 6, 55, 3)],
        [(-24, 4, 98, 6), (-45, -35, 75, 4), (-60, -55, 45, 2.5)],
        [(-20, 2, 98, 5.5), (0, -40, 82, 3.5), (15, -58, 70, 2)],
    ):
        yield BodyPart(None, p.tube(course, jitter=3), (Layer(t["vein"]),), "beside the pancreas")
    bladder = p.lumps(
        [((-58, -50, 0), (13, 19, 15)), ((-52, -40, 10), (9, 12, 10))], jitter=4, size=r.uniform(0.7, 1.3), blend=6
    )
    yield BodyPart(
        LABELS["gallbladder"], bladder, (Layer(t["gut wall"]), Layer(t["bile"], depth=1.6)), "beside the pancreas"
    )
    spleen = p.lumps(
        [((96, 34, 66), (24, 36, 36)), ((106, 22, 48), (20, 34, 38)), ((92, 48, 44), (22, 26, 32))],
        jitter=4, size=float(np.clip(r.normal(1, 0.12), 0.75, 1.35)), blend=10, rough=(p.rough(510, 26, 1.4),),
    )  # fmt: skip
    yield BodyPart(LABELS["spleen"], spleen, (Layer(t["spleen"]),), "beside the pancreas")

    for side, name, height in ((1, "left kidney", -8.0), (-1, "right kidney", -22.0)):
        size = float(np.clip(r.normal(1.0, 0.07), 0.82, 1.18))
        arc = [
            (side * 48, 25, height + 34),
            (side * 57, 29, height + 14),
            (side * 62, 29, height - 10),
            (side * 64, 27, height - 32),
        ]
        radii = [20, 26, 27, 22]
        kidney = p.tube(
            [(*c, q) for c, q in zip(arc, radii, strict=True)],
            jitter=2,
            size=size,
            rough=(p.rough(520 + side, 20, 0.8),),
        )
        pyramids = (p.noise(530 + side, 13.0), -0.35)
        layers = (Layer(t["cortex"]), Layer(t["medulla"], depth=6.0, blotches=pyramids))
        yield BodyPart(LABELS[name], kidney, layers, "retroperitoneum")
        sinus = p.tube(
            [(side * 34, 20, height, 8), (side * 47, 26, height + 1, 9), (side * 55, 29, height - 2, 8)],
            size=size,
            stretch=(1, 0.8, 1.5),
        )
        yield BodyPart(None, sinus, (Layer(t["visceral fat"]), Layer(Tissue(30, 10), depth=4.5)))
        gland = [
            (side * 30, 26, height + 48, 2.2),
            (side * 36, 16, height + 58, 3.0),
            (side * 46, 28, height + 52, 2.2),
        ]
        yield BodyPart(LABELS["adrenal glands"], p.tube(gland, jitter=1.5, stretch=(1, 1, 2.4)), (Layer(t["adrenal"]),))


def _great_vessels(p: PhantomPatient) -> Iterator[BodyPart]:
    t, r = p.tissues, p.random
    width = float(np.clip(r.normal(1.0, 0.1), 0.8, 1.3))
    aorta = [(14, 8, 200, 11.5), (10, 9, 120, 11), (6, 10, 50, 10.5), (4, 11, -30, 9.5), (3, 11, -95, 8.5)]
    yield BodyPart(LABELS["aorta"], p.tube(aorta, size=width), (Layer(t["artery"]),))
    cava = [(-20, -4, 150, 11), (-22, 2, 95, 12), (-22, 7, 40, 11), (-21, 10, -20, 10.5), (-19, 11, -105, 10)]
    flat = float(r.uniform(0.65, 1.0))
    yield BodyPart(LABELS["inferior vena cava"], p.tube(cava, jitter=1.5, stretch=(1.1, flat, 1)), (Layer(t["cava"]),))
    for side in (-1, 1):
        yield BodyPart(
            LABELS["arteries"],
            p.tube([(3, 11, -95, 6.5), (side * 20 + 2, 12, -130, 5.5), (side * 42, 18, -190, 5)]),
            (Layer(t["artery"]),),
        )
        yield BodyPart(
            None,
            p.tube([(-19, 12, -105, 7), (side * 22 - 6, 20, -140, 7), (side * 46, 26, -200, 6.5)]),
            (Layer(t["cava"]),),
        )
    yield BodyPart(
        None, p.tube([(-19, 8, -8, 5), (4, -3, -10, 3.6), (30, 12, -10, 4.5), (44, 24, -8, 4)]), (Layer(t["vein"]),)
    )
    yield BodyPart(None, p.tube([(-20, 8, -20, 5), (-34, 15, -20, 5), (-46, 25, -21, 4)]), (Layer(t["vein"]),))
    yield BodyPart(
        LABELS["arteries"], p.tube([(5, 10, -12, 3), (26, 20, -13, 2.8), (44, 26, -10, 2.4)]), (Layer(t["artery"]),)
    )
    yield BodyPart(
        LABELS["arteries"], p.tube([(4, 10, -16, 3), (-22, 24, -20, 2.6), (-44, 27, -22, 2.4)]), (Layer(t["artery"]),)
    )


def _duodenum(p: PhantomPatient) -> Iterator[BodyPart]:
    course: Path = [
        (-32, -38, 4, 10), (-44, -32, 8, 12), (-53, -16, 2, 12.5), (-54, -6, -22, 12.5), (-50, -2, -46, 12.5),
        (-34, -4, -60, 12), (-8, -7, -62, 10.5), (16, -10, -54, 10.5), (28, -16, -34, 11), (36, -26, -24, 11.5),
    ]  # fmt: skip
    size = float(np.clip(p.random.normal(1.0, 0.1), 0.75, 1.25))
    shape = p.tube(course, jitter=2, size=size, rough=(p.rough(600, 10, 0.9),))
    yield BodyPart(LABELS["duodenum"], shape, _content(p, 610, 2.6), "beside the pancreas")

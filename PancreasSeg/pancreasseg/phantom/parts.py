"""What the phantom's anatomy is built from: labelled parts, each painted in layers of tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pancreasseg.phantom.shapes import Frame, Noise

NAMES: dict[int, str] = {
    1: "pancreas",
    2: "spleen",
    3: "liver",
    4: "stomach",
    5: "duodenum",
    6: "small bowel",
    7: "colon",
    8: "gallbladder",
    9: "left kidney",
    10: "right kidney",
    11: "aorta",
    12: "inferior vena cava",
    13: "portal and splenic vein",
    14: "arteries",
    15: "bone",
    16: "muscle",
    17: "lung",
    18: "adrenal glands",
    19: "heart",
    20: "visceral fat",
    21: "subcutaneous fat",
}
LABELS: dict[str, int] = {name: label for label, name in NAMES.items()}
PANCREAS = LABELS["pancreas"]


class Shape(Protocol):
    """Anything with an inside."""

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Two corners (x, y, z mm) around everything near the shape."""
        ...

    def distance(self, frame: Frame) -> np.ndarray:
        """Signed distance in mm on a frame, negative inside, float32 (K, J, I)."""
        ...


@dataclass(frozen=True)
class Tissue:
    """HU of a tissue: a mean and the standard deviation of its texture."""

    hu: float
    texture: float = 0.0


@dataclass(frozen=True)
class Layer:
    """A tissue that fills the part of a shape deeper than ``depth`` mm.

    Attributes:
        tissue: what it is made of.
        depth: mm below the surface.
        level: only in front of this plane (y in mm), as gas lies on fluid in a patient on the back.
        blotches: (noise, threshold): only where the noise exceeds the threshold.
        opacity: 1 replaces what lies beneath; less blends.
    """

    tissue: Tissue
    depth: float = 0.0
    level: float | None = None
    blotches: tuple[Noise, float] | None = None
    opacity: float = 1.0


@dataclass(frozen=True)
class BodyPart:
    """A labelled shape with its layers, painted over everything painted before.

    Attributes:
        label: key of `NAMES`; None leaves the labels alone.
        shape: where it is.
        layers: tissues from the surface inwards.
        within: painted only inside this other region: "cavity" (below the diaphragm, inside the abdominal wall),
            "beside the pancreas" (there, but not where the pancreas lies), "retroperitoneum" (wherever the pancreas
            is not), "chest", "body", or None for no limit.
    """

    label: int | None
    shape: Shape
    layers: tuple[Layer, ...]
    within: str | None = None

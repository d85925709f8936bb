"""One number about a segment, with its unit and its code."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

PRIVATE = "99PANCREASSEG"

# UCUM code: (meaning for DICOM, how people write it, decimals shown)
_UNITS = {
    "ml": ("milliliter", "ml", 1),
    "mm": ("millimeter", "mm", 1),
    "cm2": ("square centimeter", "cm²", 1),
    "[hnsf'U]": ("Hounsfield unit", "HU", 1),
    "%": ("percent", "%", 1),
    "1": ("no units", "", 3),
    "{voxels}": ("voxels", "voxels", 0),
}


@dataclass(frozen=True)
class Code:
    """A DICOM coded concept, in pydicom's order; `PRIVATE` is the scheme where no standard code says the same."""

    value: str
    scheme: str
    meaning: str


def private(value: str, meaning: str) -> Code:
    """A concept that no standard scheme has."""
    return Code(value, PRIVATE, meaning)


@dataclass(frozen=True)
class Measurement:
    """One number about a segment.

    Attributes:
        name: stable identifier for programs, e.g. ``"volume"``.
        title: for people, e.g. ``"Volume"``.
        value: the number; infinite where that is the definition (a distance to an empty mask); None where there is
            nothing to measure (HU of an empty mask). Never NaN.
        unit: UCUM code.
        code: what is measured.
        note: definition, reference range or what makes the value special; may be empty.
    """

    name: str
    title: str
    value: float | None
    unit: str
    code: Code
    note: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and math.isnan(self.value):
            raise ValueError(f"{self.name} is not a number")
        if self.unit not in _UNITS:
            raise ValueError(f"unknown unit {self.unit!r}")

    @property
    def unit_code(self) -> Code:
        """The unit as DICOM writes it."""
        return Code(self.unit, "UCUM", _UNITS[self.unit][0])

    @property
    def unit_text(self) -> str:
        """The unit as people write it; empty for ratios."""
        return _UNITS[self.unit][1]

    @property
    def value_text(self) -> str:
        """The value as people read it, without unit: ``"61.1"``, ``"∞"``, or ``"-"`` where there is none."""
        if self.value is None:
            return "-"
        if math.isinf(self.value):
            return "∞" if self.value > 0 else "-∞"
        return f"{self.value:.{_UNITS[self.unit][2]}f}"

    @property
    def text(self) -> str:
        """Value and unit: ``"61.1 ml"``."""
        return self.value_text if self.value is None else f"{self.value_text} {self.unit_text}".strip()

    def as_dict(self) -> dict[str, object]:
        """For CSV and JSON: name, title, value, unit, code (scheme, value, meaning), note.

        An infinite value stays ``inf`` here: JSON has no such number, and `pancreasseg.io.write.json_ready` writes the
        string "inf" in its place. The note says why it is infinite.
        """
        return asdict(self)

"""What is exported: masks with the names and codes that other systems read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.measurement import PRIVATE, Code
from pancreasseg.core.structures import structure
from pancreasseg.io.seg_nrrd import COLOUR, SEGMENT_NAME, TERMINOLOGY_OF

MARGIN_COLOUR = (111, 184, 210)


class Algorithm(str, Enum):
    """How a segment came about, in DICOM's words (Segment Algorithm Type, ROI Generation Algorithm)."""

    AUTOMATIC = "AUTOMATIC"
    SEMIAUTOMATIC = "SEMIAUTOMATIC"
    MANUAL = "MANUAL"


ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
PANCREAS = Code("15776009", "SCT", "Pancreas")
# No public scheme has a code for a margin in mm; names that start with 99 are DICOM's room for private ones.
MARGIN = Code("margin", PRIVATE, "Margin around the pancreas")


@dataclass(frozen=True)
class ExportSegment:
    """One segment to export.

    Attributes:
        mask: non-zero inside, shape (K, J, I).
        name: what people read in the other program, at most 64 characters.
        algorithm: AUTOMATIC as the network made it, SEMIAUTOMATIC once a person has edited it, MANUAL if drawn by hand.
        category, code: DICOM's property category and type.
        colour: red, green, blue, 0-255.
    """

    mask: np.ndarray
    name: str = SEGMENT_NAME
    algorithm: Algorithm = Algorithm.AUTOMATIC
    category: Code = ANATOMICAL_STRUCTURE
    code: Code = PANCREAS
    colour: tuple[int, int, int] = COLOUR

    @property
    def terminology(self) -> str:
        """Slicer's text form of the codes."""
        category, code = ("^".join((c.scheme, c.value, c.meaning)) for c in (self.category, self.code))
        return TERMINOLOGY_OF.format(category=category, code=code)

    @classmethod
    def structure(
        cls, mask: np.ndarray, name: str, algorithm: Algorithm = Algorithm.AUTOMATIC, title: str = ""
    ) -> ExportSegment:
        """A structure beside the pancreas, by the name of its class; ``title`` where a person has renamed it."""
        known = structure(name)
        category = ABNORMAL_STRUCTURE if known.tumour else ANATOMICAL_STRUCTURE
        code = Code(known.code, "SCT", known.title)
        return cls(mask, title or known.title, algorithm, category, code, known.colour)

    @classmethod
    def margin(cls, mask: np.ndarray, name: str, algorithm: Algorithm = Algorithm.AUTOMATIC) -> ExportSegment:
        """A margin or ring around the pancreas; ``algorithm`` is that of the pancreas it was grown from."""
        return cls(mask, name, algorithm, SPATIAL_CONCEPT, MARGIN, MARGIN_COLOUR)


def check_segments(segments: Sequence[ExportSegment], geometry: Geometry) -> None:
    """Refuse what no format can hold.

    Raises:
        InputError: nothing to export, a segment without voxels, equal margins, or two segments of one name.
        ValueError: a mask that does not fit ``geometry``.
    """
    if not segments:
        raise InputError("nothing-to-export", "There is no segment to export.", "Segment the pancreas first.")
    _check_names(segments)
    for segment in segments:
        if segment.mask.shape != geometry.shape:
            raise ValueError(f"mask {segment.mask.shape} does not fit the grid {geometry.shape}")
        if not segment.mask.any():
            raise InputError(
                "segment-empty",
                f"The segment {segment.name} has no voxels, so there is nothing to export.",
                "Segment the pancreas first, or leave this segment out.",
            )


def _check_names(segments: Sequence[ExportSegment]) -> None:
    first: dict[str, ExportSegment] = {}
    for segment in segments:
        if segment.name in first and first[segment.name].code == segment.code == MARGIN:
            raise InputError("margins-equal", f"The margin '{segment.name}' is there twice.", "Leave one of them out.")
        if segment.name in first:
            raise InputError("segments-same-name", "Two segments have the same name.", "Rename one of them.")
        first[segment.name] = segment


def as_dicom_code(code: Code) -> Any:
    """The code as pydicom and highdicom want it."""
    from pydicom.sr.coding import Code as DicomCode

    return DicomCode(code.value, code.scheme, code.meaning)

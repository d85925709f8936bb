"""What an export format says about itself, for the panel, the command line and the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg import __version__
from pancreasseg.core import Geometry
from pancreasseg.core.finding import Finding

if TYPE_CHECKING:
    from pancreasseg.export.segment import ExportSegment
    from pancreasseg.export.series import Source


@dataclass(frozen=True)
class Order:
    """What a writer has to know beside the segments.

    Attributes:
        geometry: grid of the masks.
        source: the CT's DICOM folder or files; None where there is none.
        series: which series of a folder that holds several.
        algorithm_name: pipeline and model, for the formats that record it.
        algorithm_version: of that.
        smoothing_mm: of surfaces.
    """

    geometry: Geometry
    source: Source = None
    series: int | str | None = None
    algorithm_name: str = "PancreasSeg"
    algorithm_version: str = __version__
    smoothing_mm: float = 0.0

    @property
    def algorithm(self) -> str:
        """Name and version."""
        return f"{self.algorithm_name} {self.algorithm_version}"


@dataclass(frozen=True)
class Format:
    """An export format by name. The module that makes it lists it in its ``DECLARATIONS``; nothing else knows it.

    Attributes:
        name: what a person types.
        title: what a button says.
        file: name of a file of the pancreas; those of all formats can lie in one folder.
        ending: what every file of the format ends with.
        words: one line for people: what is in it and what it needs.
        encode: the file of one segment; of several segments each gets a file. Or:
        write: writes all segments into one file, and returns what a person should know about it.
        rehearse: does all that ``write`` does but write the file, from what `preflight.prepare` has found.
        needs_series: it refers to the DICOM series of the CT.
        states_origin: it says how a mask was made.
        place: where it stands in lists; the lowest first.
    """

    name: str
    title: str
    file: str
    ending: str
    words: str
    encode: Callable[[ExportSegment, Order], bytes] | None = None
    write: Callable[[Path, Sequence[ExportSegment], Order], tuple[Finding, ...]] | None = None
    rehearse: Callable[[Any, Sequence[ExportSegment]], None] | None = None
    needs_series: bool = False
    states_origin: bool = False
    place: int = 100

    def __post_init__(self) -> None:
        if (self.encode is None) == (self.write is None):
            raise ValueError(f"the format {self.name} needs either encode or write")

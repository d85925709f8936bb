"""What a paper printed, as cells of our tables."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """The figures of a paper on NIH Pancreas-CT in four folds.

    Attributes:
        source: where they stand.
        figures: column of the table of methods to text.
        folds: rows for the end of the table of folds, "-" where the paper says nothing.
        boxes: the same for the table of boxes.
    """

    source: str
    figures: dict[str, str] = field(default_factory=dict)
    folds: tuple[tuple[str, ...], ...] = ()
    boxes: tuple[tuple[str, ...], ...] = ()

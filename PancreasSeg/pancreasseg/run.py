"""One run as everyone does it: the command line, the worker and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pancreasseg.progress import Progress
from pancreasseg.results import Localization, Segmentation
from pancreasseg.volume import Box, Volume

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline


def segment(
    volume: Volume, pipeline: Pipeline, region: Localization | Box | None = None, progress: Progress | None = None
) -> Segmentation:
    """Segment, after localizing where no region is given.

    Args:
        volume: the CT.
        pipeline: from `pancreasseg.pipelines.create`.
        region: a localization of this pipeline, or a box placed by a person.
        progress: receives progress, notices and cancels.

    Returns:
        The result with all its findings.

    Raises:
        InputError: the box does not meet the volume.
        RunError: out of memory on every rung of the ladder.
        Cancelled: the person cancelled.
    """
    progress = progress or Progress()
    if region is None:
        region = pipeline.localize(volume, progress)
    return pipeline.segment(volume, region, progress)

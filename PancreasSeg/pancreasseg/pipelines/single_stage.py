"""The baseline: the segmenter slides over the whole body, without a localizer."""

from __future__ import annotations

from dataclasses import dataclass

from pancreasseg.core import Box, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization, Segmentation
from pancreasseg.grids.body import body_box
from pancreasseg.grids.resample import from_grid
from pancreasseg.pipelines.base import Costs, Pipeline, Stage, brought_along
from pancreasseg.pipelines.declaration import Declaration
from pancreasseg.pipelines.fusion import fuse
from pancreasseg.pipelines.postprocess import JOIN_MM, clean, surroundings


@dataclass(frozen=True)
class SingleStageOptions:
    """Settings of the single-stage pipeline.

    Attributes:
        threshold: probability above which a voxel is pancreas, on the native grid.
    """

    threshold: float = 0.5


class SingleStagePipeline(Pipeline):
    """One network in a sliding window over the body box.

    Args:
        segmenter: the network.
        options: its threshold.
    """

    name = "single-stage"

    def __init__(self, segmenter: Stage, options: SingleStageOptions | None = None) -> None:
        super().__init__(segmenter)
        self.segmenter = segmenter
        self.options = options or SingleStageOptions()

    @property
    def localizing(self) -> Costs:
        """The localizer over the body, or the search for the box."""
        return (("body", 0.1),)

    @property
    def segmenting(self) -> Costs:
        """The networks, then fusion and the way back to the native grid."""
        return (("window", 3.0), ("fusion", 0.5))

    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        """The body box; there is no localizer to ask."""
        progress = progress or Progress()
        progress.plan(self.localizing)
        with progress.stage("body"):
            box = body_box(volume)
        return Localization(box, 1.0, (box,), timings=dict(progress.timings))

    def segment(self, volume: Volume, region: Localization | Box, progress: Progress | None = None) -> Segmentation:
        """The segmenter in overlapping windows over the region, blended with Gaussian weights."""
        progress = progress or Progress()
        progress.plan(self.segmenting)
        box = region.clip(volume.geometry) if isinstance(region, Box) else region.box
        findings, timings = brought_along(region)
        with progress.stage("window"):
            coarse, grid = self.segmenter.pancreas(volume, box, progress, sliding=True)
        with progress.stage("fusion"):
            # Only the surroundings of the pancreas are brought back to the native grid.
            inner = surroundings(coarse >= self.options.threshold, grid, volume.geometry, box, JOIN_MM)
            fused = fuse([from_grid(coarse, grid, volume.geometry, inner)], threshold=self.options.threshold)
            organ = clean(fused.mask, volume.geometry.spacing, JOIN_MM)
        return self.result(volume, inner, fused, organ, progress, findings=findings, timings=timings)


DECLARATIONS = (
    Declaration(
        name="single-stage",
        title="Sliding window, no localizer",
        roles=("segmenter",),
        pipeline=SingleStagePipeline,
        options=SingleStageOptions,
        steps={
            "body": "Finding the body",
            "window": "Segmenting",
            "fusion": "Combining the masks",
        },
        place=40,
    ),
)

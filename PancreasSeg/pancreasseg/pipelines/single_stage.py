"""The baseline: the segmenter slides over the whole body, without a localizer."""

from __future__ import annotations

from dataclasses import dataclass

from pancreasseg.pipelines.base import Costs, Pipeline, Stage
from pancreasseg.pipelines.body import body_box, map_box
from pancreasseg.pipelines.fusion import fuse
from pancreasseg.pipelines.postprocess import JOIN_MM, clean
from pancreasseg.progress import Progress
from pancreasseg.results import Localization, Segmentation
from pancreasseg.volume import Box, Volume
from pancreasseg.volume.resample import from_grid, paste

#: Margin around the found pancreas in the reported box.
MARGIN_MM = 10.0


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
        box, found, timings = (
            (region.clip(volume.geometry), (), {})
            if isinstance(region, Box)
            else (region.box, region.findings, region.timings)
        )
        with progress.stage("window"):
            coarse, grid = self.segmenter.pancreas(volume, box, progress, sliding=True)
        with progress.stage("fusion"):
            # Only the surroundings of the pancreas are brought back to the native grid.
            found_at = Box.of_mask(clean(coarse >= self.options.threshold, grid.spacing, JOIN_MM).mask)
            inner = box
            if found_at is not None:
                inner = map_box(found_at, grid, volume.geometry).grow(MARGIN_MM, volume.geometry).intersect(box)
            fused = fuse([from_grid(coarse, grid, volume.geometry, inner)], threshold=self.options.threshold)
            organ = clean(fused.mask, volume.geometry.spacing, JOIN_MM)
        return Segmentation(
            mask=paste(organ.mask, inner, volume.geometry),
            box=inner,
            probability=fused.probability,
            agreement=fused.agreement,
            findings=(*found, *progress.notices),
            timings={**timings, **progress.timings},
            provenance=self.provenance(inner),
            second_largest=organ.second_largest,
        )

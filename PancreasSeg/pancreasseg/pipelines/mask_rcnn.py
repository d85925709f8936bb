"""Dogan 2021: boxes and masks in axial slices make a volume box with a margin; a 3D U-Net segments it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pancreasseg.core import Box, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization
from pancreasseg.grids.body import body_box, map_box
from pancreasseg.grids.resample import AIR_HU
from pancreasseg.pipelines.base import Costs, Stage
from pancreasseg.pipelines.declaration import Declaration
from pancreasseg.pipelines.postprocess import JOIN_MM, Organ, clean, smooth
from pancreasseg.pipelines.two_stage import TwoStageOptions, TwoStagePipeline, nothing_found, unsure

if TYPE_CHECKING:
    from pancreasseg.networks.mask_rcnn import Detections


@dataclass(frozen=True)
class MaskRcnnOptions:
    """Settings of the pipeline. Published is the margin alone; the others are ours.

    Attributes:
        score: detections are sure from this score.
        faint_score: those that continue a chain of sure ones count from this score; where nothing is sure, they are
            taken by themselves before giving up. As large as ``score``, it changes nothing.
        persistence: slices in which a chain has to be sure.
        overlap: intersection over union of boxes in neighbouring slices that are the same thing.
        edge_percentile: the box starts at this percentile of the low edges of all detections and stops at 100 minus it
            of the high ones, so that single stray ones do not count.
        margin_mm: around that box (Dogan 2021: 20 pixels, about 16 mm).
        threshold: probability above which a voxel is pancreas, on the native grid.
        growth_mm: how far a face of the box grows, once, when the fine mask touches it.
        coarse_join_mm: pieces of the pasted masks with at most this gap are one pancreas; other pieces are dropped.
        join_mm: the same for the result.
        smoothing_mm: radius of the closing and opening of the result; nothing happens below the size of a voxel.
    """

    score: float = 0.7
    faint_score: float = 0.3
    persistence: int = 3
    overlap: float = 0.2
    edge_percentile: float = 5.0
    margin_mm: float = 16.0
    threshold: float = 0.5
    growth_mm: float = 20.0
    coarse_join_mm: float = 60.0
    join_mm: float = JOIN_MM
    smoothing_mm: float = 1.0

    def __post_init__(self) -> None:
        if self.persistence < 1 or not 0 <= self.edge_percentile < 50:
            raise ValueError("persistence is at least one slice, and the percentile of the edges 0 to 50")


class Found(NamedTuple):
    """Detections of a volume: slices (n,), boxes (n, 4) in pixels, scores (n,), probabilities (n, m, m) in them."""

    slices: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray

    def only(self, chosen: np.ndarray) -> Found:
        """Those of a bool array (n,)."""
        return Found(*(values[chosen] for values in self))


class MaskRcnnPipeline(TwoStagePipeline):
    """Mask R-CNN over the slices of the body, 3D U-Net in one box, connected components and morphology.

    Args:
        localizer: Mask R-CNN.
        segmenter: the fine network.
        options: how slices become a box, margins and thresholds.

    Raises:
        ValueError: the localizer is no Mask R-CNN.
    """

    def __init__(self, localizer: Stage, segmenter: Stage, options: MaskRcnnOptions | None = None) -> None:
        from pancreasseg.inference.slices import SliceDetector

        self.rules = rules = options or MaskRcnnOptions()
        after = TwoStageOptions(
            boxes=1,
            margin_mm=rules.margin_mm,
            threshold=rules.threshold,
            growth_mm=rules.growth_mm,
            join_mm=rules.join_mm,
        )
        super().__init__(localizer, segmenter, after)
        self.name = "mask-rcnn"
        self.detector = SliceDetector(localizer.predictor.networks, localizer.predictor.hardware)

    @property
    def localizing(self) -> Costs:
        """Mask R-CNN over the slices."""
        return (("coarse", 2.0),)

    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        """The robust union of the boxes that persist over several slices, with a margin."""
        progress = progress or Progress()
        progress.plan(self.localizing)
        array, grid = self.localizer.prepare(volume, body_box(volume))
        with progress.stage("coarse", self.detector.passes(len(array))):
            air = float(self.localizer.card.preprocessing.normalise(np.array(AIR_HU)))
            everything = gather(self.detector.detect(array, air, progress))
            findings = []
            found = self._pancreas(everything, self.rules.score, grid.shape, grid.spacing)
            if found is None:
                found = self._pancreas(everything, self.rules.faint_score, grid.shape, grid.spacing)
                findings.append(unsure(float(everything.scores.max(initial=0))))
            if found is None:
                coarse = np.zeros(grid.shape, dtype=np.float32)
                return nothing_found(volume, float(everything.scores.max(initial=0)), coarse, grid, progress)
            detections, coarse = found
            region = robust_box(detections, self.rules.edge_percentile).clip(grid)
            box = map_box(region, grid, volume.geometry).grow(self.rules.margin_mm, volume.geometry)
        return Localization(
            box=box,
            score=float(detections.scores.mean()),
            candidates=(box,),
            coarse=coarse,
            coarse_grid=grid,
            findings=tuple(findings),
            timings=dict(progress.timings),
        )

    def _pancreas(
        self, everything: Found, score: float, shape: Sequence[int], spacing: Sequence[float]
    ) -> tuple[Found, np.ndarray] | None:
        """Detections of the pancreas from a score on, and their masks pasted into the grid; None if there are none."""
        seen = everything.only(everything.scores >= min(score, self.rules.faint_score))
        least = min(self.rules.persistence, shape[0])
        chained = seen.only(persistent(seen, seen.scores >= score, least, self.rules.overlap))
        coarse = pasted(chained, shape)
        organ = clean(coarse >= 0.5, spacing, self.rules.coarse_join_mm).mask
        # What persists elsewhere, in the bowel for example, must neither enlarge the box nor vote.
        held = np.array(
            [_holds(organ[place], edges) for place, edges in zip(chained.slices, chained.boxes, strict=True)], bool
        )
        if not held.any():
            return None
        kept = chained.only(held)
        return kept, pasted(kept, shape)

    def _organ(self, mask: np.ndarray, spacing: Sequence[float]) -> Organ:
        """Morphology, then the largest component (Dogan 2021)."""
        return super()._organ(smooth(mask, spacing, self.rules.smoothing_mm), spacing)


def gather(detections: Sequence[Sequence[Detections]]) -> Found:
    """Detections by slice and member, as one table."""
    import torch

    flat = [(place, one) for place, members in enumerate(detections) for one in members]
    slices = [np.full(len(one.scores), place) for place, one in flat]
    if sum(map(len, slices)) == 0:
        return Found(np.zeros(0, int), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 1, 1)))
    columns = (torch.cat([one[field] for _, one in flat]).numpy() for field in range(3))
    return Found(np.concatenate(slices), *columns)


def persistent(found: Found, sure: np.ndarray, least: int, overlap: float) -> np.ndarray:
    """Which detections are in a chain of boxes that overlap from slice to slice, sure in ``least`` slices; bool (n,).

    Args:
        found: detections.
        sure: which of them are, bool (n,).
        least: slices.
        overlap: intersection over union.
    """
    import torch
    from scipy.sparse.csgraph import connected_components

    from pancreasseg.networks.mask_rcnn.boxes import iou

    if len(found.slices) == 0:
        return np.zeros(0, dtype=bool)
    boxes = torch.from_numpy(found.boxes)
    next_to = np.abs(found.slices[:, None] - found.slices[None]) == 1
    _, chains = connected_components(next_to & (iou(boxes, boxes).numpy() >= overlap), directed=False)
    lengths = np.array([len(np.unique(found.slices[sure & (chains == chain)])) for chain in range(chains.max() + 1)])
    return np.asarray(lengths[chains] >= least)


def robust_box(found: Found, percentile: float) -> Box:
    """From the given percentile of the low edges to 100 minus it of the high ones, outwards to whole voxels.

    Args:
        found: at least one detection.
        percentile: 0 gives the plain union.
    """
    low = np.column_stack([found.boxes[:, :2], found.slices])
    high = np.column_stack([found.boxes[:, 2:], found.slices + 1])
    start = np.floor(np.percentile(low, percentile, axis=0) + 1e-6).astype(int)
    stop = np.ceil(np.percentile(high, 100 - percentile, axis=0) - 1e-6).astype(int)
    return Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))


def pasted(found: Found, shape: Sequence[int]) -> np.ndarray:
    """The probabilities laid into a volume (K, J, I), float32; the largest where several lie on each other."""
    import torch

    from pancreasseg.networks.mask_rcnn import paste

    result = np.zeros(tuple(shape), dtype=np.float32)
    for place in np.unique(found.slices):
        here = found.slices == place
        masks, boxes = (torch.from_numpy(values[here]).float() for values in (found.masks, found.boxes))
        result[place] = paste(masks, boxes, shape[1:]).numpy()
    return result


def _holds(plane: np.ndarray, edges: np.ndarray) -> bool:
    """Whether the mask (J, I) has a pixel inside the box."""
    low, high = np.floor(edges[:2]).astype(int), np.ceil(edges[2:]).astype(int)
    return bool(plane[low[1] : high[1], low[0] : high[0]].any())


DECLARATIONS = (
    Declaration(
        name="mask-rcnn",
        title="Box from axial slices (Mask R-CNN), then 3D",
        roles=("localizer", "segmenter"),
        takes=lambda role, card: role != "localizer" or card.network == "mask-rcnn",
        votes=True,
        pipeline=MaskRcnnPipeline,
        options=MaskRcnnOptions,
        steps={
            "coarse": "Finding the pancreas",
            "fine": "Segmenting",
            "recrop": "Segmenting again",
            "fusion": "Combining the masks",
        },
        place=60,
    ),
)

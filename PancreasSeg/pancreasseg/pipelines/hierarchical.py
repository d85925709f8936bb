"""Roth 2017: a network looks at the body, a second one looks again at what the first found and around it.

Roth, Oda et al. 2017, "Hierarchical 3D fully convolutional networks for multi-organ segmentation" (arXiv:1704.06382).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.lazy import Library
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization, Segmentation
from pancreasseg.grids.body import TISSUE_HU, body_box, eroded_body, map_box
from pancreasseg.grids.resample import AIR_HU, from_grid, paste, to_grid
from pancreasseg.pipelines.base import Costs, Pipeline, Stage, brought_along
from pancreasseg.pipelines.declaration import Declaration
from pancreasseg.pipelines.fusion import fuse
from pancreasseg.pipelines.postprocess import clean, surroundings
from pancreasseg.pipelines.two_stage import nothing_found
from pancreasseg.pipelines.winners import winners

if TYPE_CHECKING:
    from scipy import ndimage

    from pancreasseg.models.network_card import NetworkCard
else:
    ndimage = Library("scipy.ndimage")


@dataclass(frozen=True)
class HierarchicalOptions:
    """Settings of the hierarchical pipeline.

    Attributes:
        body_hu: threshold of the body mask (the paper prints none; ours).
        body_steps: voxels of erosion before the largest piece is taken, and of dilation after (Roth 2017: 2).
        candidate_steps: voxels by which the first network's foreground is dilated (Roth 2017: 5).
        tile: output voxels of one pass along x, y, z (Roth 2017: 44, 44, 28).
        overlap: let the tiles of the second network overlap by half and average them; in the paper this gave a point.
        threshold: probability above which a voxel is pancreas, on the native grid.
        organs: resolve all classes of networks for several organs into ``labels``.
    """

    body_hu: float = TISSUE_HU
    body_steps: int = 2
    candidate_steps: int = 5
    tile: tuple[int, int, int] = (44, 44, 28)
    overlap: bool = True
    threshold: float = 0.5
    organs: bool = True


class HierarchicalPipeline(Pipeline):
    """Body mask, first network inside it, second network inside the dilated foreground of the first.

    The second network sees the same grid as the first. Networks of valid convolutions get real surroundings for every
    tile, air beyond the scan; for others tiles are cut without. Of a first network for several organs the foreground is
    all of them, as in the paper; the box that is shown is around the pancreas all the same.

    Args:
        localizer: the first network.
        segmenter: the second.
        options: masks and tiles.
    """

    name = "hierarchical"

    def __init__(self, localizer: Stage, segmenter: Stage, options: HierarchicalOptions | None = None) -> None:
        from pancreasseg.networks.fcn3d import FCN3d

        super().__init__(localizer, segmenter)
        self.localizer = localizer
        self.segmenter = segmenter
        self.options = options or HierarchicalOptions()
        for stage in self.stages:
            for network in stage.predictor.networks:
                if isinstance(network, FCN3d):
                    network.padded = False

    @property
    def localizing(self) -> Costs:
        """The body mask, then the first network inside it."""
        return (("body", 0.5), ("coarse", 3.0))

    @property
    def segmenting(self) -> Costs:
        """The second network, then the way back to the native grid."""
        return (("fine", 3.0), ("fusion", 0.5))

    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        """The box around the first network's pancreas, dilated; around all of its organs where it found no pancreas."""
        progress = progress or Progress()
        progress.plan(self.localizing)
        box = body_box(volume)
        with progress.stage("body"):
            surroundings = self._surroundings(self.localizer, volume, box)
            array, grid = self.localizer.prepare(volume, surroundings)
            hu = to_grid(volume.array[surroundings.slices], volume.geometry.crop(surroundings), grid)
            body = eroded_body(hu, self.options.body_hu, self.options.body_steps)
        with progress.stage("coarse"):
            classes = self.tiled(self.localizer, array, body, progress, overlap=False)
        coarse = classes[self.localizer.card.pancreas]
        foreground = classes[1:].sum(axis=0) if len(classes) > 2 else None
        found = Box.of_mask(self._candidate(coarse))
        if found is None and foreground is not None:
            found = Box.of_mask(self._candidate(foreground))
        surest = float(coarse.max())
        if found is None:
            return nothing_found(volume, surest, coarse, grid, progress)
        region = map_box(found, grid, volume.geometry)
        sure = coarse[coarse >= self.options.threshold]
        score = float(sure.mean()) if len(sure) else surest
        timings = dict(progress.timings)
        return Localization(region, score, (region,), coarse, grid, timings=timings, foreground=foreground)

    def segment(self, volume: Volume, region: Localization | Box, progress: Progress | None = None) -> Segmentation:
        """The second network inside the candidate region; in a person's box everywhere."""
        progress = progress or Progress()
        progress.plan(self.segmenting)
        box = region.clip(volume.geometry) if isinstance(region, Box) else self._candidate_box(region, volume)
        findings, timings = brought_along(region)
        with progress.stage("fine"):
            array, grid = self.segmenter.prepare(volume, self._surroundings(self.segmenter, volume, box))
            if isinstance(region, Box):
                inside = np.ones(box.shape, dtype=np.float32)
                candidate = to_grid(inside, volume.geometry.crop(box), grid, 0.0, antialias=False) >= 0.5
            else:
                candidate = self._candidate_on(region, grid)
            classes = self.tiled(self.segmenter, array, candidate, progress, overlap=self.options.overlap)
            fine = classes[self.segmenter.card.pancreas]
        with progress.stage("fusion"):
            inner = surroundings(fine >= self.options.threshold, grid, volume.geometry, box)
            fused = fuse([from_grid(fine, grid, volume.geometry, inner)], threshold=self.options.threshold)
            organ = clean(fused.mask)
            labels = None
            if self.options.organs and len(classes) > 2:
                labels = paste(*winners(classes, grid, volume.geometry, box), volume.geometry)
        return self.result(volume, inner, fused, organ, progress, findings=findings, timings=timings, labels=labels)

    def _surroundings(self, stage: Stage, volume: Volume, box: Box) -> Box:
        """The box with all that a network sees beyond it."""
        return box.grow(max(stage.grid(volume.geometry, box).spacing) * _margin(stage), volume.geometry)

    def _candidate(self, coarse: np.ndarray) -> np.ndarray:
        """The foreground, dilated; bool, shaped as ``coarse``."""
        foreground = coarse >= self.options.threshold
        if not foreground.any():
            return foreground
        steps = self.options.candidate_steps
        return np.asarray(ndimage.binary_dilation(foreground, iterations=steps)) if steps else foreground

    def _candidate_box(self, region: Localization, volume: Volume) -> Box:
        """The box around all that the second network looks at."""
        if region.foreground is None or region.coarse_grid is None:
            return region.box
        found = Box.of_mask(self._candidate(region.foreground))
        return region.box if found is None else map_box(found, region.coarse_grid, volume.geometry).union(region.box)

    def _candidate_on(self, region: Localization, grid: Geometry) -> np.ndarray:
        """The candidate region on the second network's grid."""
        if not region.candidates or region.coarse is None or region.coarse_grid is None:
            return np.zeros(grid.shape, dtype=bool)
        candidate = self._candidate(region.coarse if region.foreground is None else region.foreground)
        return to_grid(candidate.astype(np.float32), region.coarse_grid, grid, 0.0, antialias=False) >= 0.5

    def tiled(
        self, stage: Stage, array: np.ndarray, where: np.ndarray, progress: Progress, *, overlap: bool
    ) -> np.ndarray:
        """Class probabilities (classes, K, J, I) where ``where`` is set, 0 elsewhere; other tiles are not run."""
        margin = _margin(stage)
        air = float(stage.card.preprocessing.normalise(np.array([AIR_HU]))[0])
        around = np.pad(array, margin, constant_values=air)
        total = np.zeros((len(stage.card.classes), *array.shape), dtype=np.float32)
        count = np.zeros(array.shape, dtype=np.uint8)
        tile = [min(t, n) for t, n in zip(self.options.tile[::-1], array.shape, strict=True)]
        corners = [
            corner
            for corner in itertools.product(*(_starts(n, t, overlap) for n, t in zip(array.shape, tile, strict=True)))
            if where[tuple(slice(c, c + t) for c, t in zip(corner, tile, strict=True))].any()
        ]
        progress.extend(max(len(corners) * stage.predictor.members - 1, 0))
        for corner in corners:
            region = tuple(slice(c, c + t) for c, t in zip(corner, tile, strict=True))
            seen = tuple(slice(c, c + t + 2 * margin) for c, t in zip(corner, tile, strict=True))
            output = stage.run(np.ascontiguousarray(around[seen]), progress)
            total[(slice(None), *region)] += output
            count[region] += 1
        total *= where / np.maximum(count, 1)
        return total


def _margin(stage: Stage) -> int:
    """Voxels around a tile that a network of valid convolutions needs; 0 for others."""
    from pancreasseg.networks.fcn3d import FCN3d

    network = stage.predictor.networks[0]
    return network.margin if isinstance(network, FCN3d) else 0


def _starts(length: int, tile: int, overlap: bool) -> list[int]:
    """First voxels of the tiles along an axis; the last tile ends at the end."""
    step = max(tile // 2, 1) if overlap else tile
    return sorted({min(start, length - tile) for start in range(0, length, step)})


def _takes(_role: str, card: NetworkCard) -> bool:
    """Its tiles are blocks, not slices."""
    return card.preprocessing.neighbours_mm is None and card.network != "mask-rcnn"


DECLARATIONS = (
    Declaration(
        name="hierarchical",
        title="Two networks, the second around what the first found",
        roles=("localizer", "segmenter"),
        takes=_takes,
        pipeline=HierarchicalPipeline,
        options=HierarchicalOptions,
        steps={
            "body": "Finding the body",
            "coarse": "Finding the pancreas",
            "fine": "Segmenting",
            "fusion": "Combining the masks",
        },
        place=50,
    ),
)

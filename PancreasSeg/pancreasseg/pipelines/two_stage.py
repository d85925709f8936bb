"""Zhao 2019: a coarse network finds the pancreas, a fine one segments it in two boxes, and three masks vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization, Segmentation
from pancreasseg.grids.body import body_box, map_box
from pancreasseg.grids.resample import from_grid, nearest_axes, paste
from pancreasseg.pipelines.averaged_stage import AveragedStage
from pancreasseg.pipelines.base import Costs, Pipeline, Stage
from pancreasseg.pipelines.declaration import Declaration
from pancreasseg.pipelines.fusion import METHODS, Fused, Opinion, agreement, fuse
from pancreasseg.pipelines.postprocess import JOIN_MM, Organ, clean, touched_faces

if TYPE_CHECKING:
    from pancreasseg.models.network_card import NetworkCard

#: A DSC of two passes below this is a warning; on phantoms the passes of a good network agree above 0.95.
PASSES_AGREE_DSC = 0.9
#: So many classes of a segmenter cost little to bring to the CT's grid.
FEW_CLASSES = 8


@dataclass(frozen=True)
class TwoStageOptions:
    """Settings of the two-stage pipeline.

    Attributes:
        coarse_margin_voxels: margin of box 1 around the coarse mask, in coarse voxels (Zhao 2019: 2).
        margin_mm: margin of box 2 around the up-sampled coarse mask (Zhao 2019: 10 voxels, about 8 mm on NIH scans).
        threshold: probability above which a voxel is pancreas, on the native grid.
        fusion: "majority" (Zhao 2019) or "soft".
        growth_mm: how far a face of the box grows, once, when the fine mask touches it.
        boxes: 2 for Zhao's vote of three, 1 for the fast variant.
        coarse_join_mm: pieces of the coarse mask with at most this gap are one pancreas; it often breaks at the neck.
        join_mm: the same for the result.
        faint_threshold: a coarse map that nowhere reaches ``threshold`` is read again at this one before giving up.
        recrops: how often the region is cropped anew, ``margin_mm`` around the fine mask, and segmented again. The last
            mask stands, as in the fixed-point model of Zhou 2017 (MICCAI, arXiv:1612.08230); it helps where the
            localizer is weak. A box that a person placed is never cropped.
        scales: the segmenter also looks at pixels of these sizes, as parts of its own (e.g. 0.87 and 1.33); the mean of
            all looks counts. None by default: on held-out cases it was not worth the time.
        shifts_hu: it also looks at the CT with these HU added (e.g. -15 and 15).
        structures: tell the segmenter's other classes too, however many; up to `FEW_CLASSES` are told anyway.
    """

    coarse_margin_voxels: int = 2
    margin_mm: float = 10.0
    threshold: float = 0.5
    fusion: str = "majority"
    growth_mm: float = 20.0
    boxes: int = 2
    coarse_join_mm: float = 30.0
    join_mm: float = JOIN_MM
    faint_threshold: float = 0.2
    recrops: int = 0
    scales: tuple[float, ...] = ()
    shifts_hu: tuple[float, ...] = ()
    structures: bool = False

    def __post_init__(self) -> None:
        if self.fusion not in METHODS:
            raise ValueError(f"unknown fusion method {self.fusion!r}")
        if self.boxes not in (1, 2):
            raise ValueError("the two-stage pipeline segments one or two boxes")
        if self.recrops < 0:
            raise ValueError("the number of re-crops cannot be negative")
        if not all(_is_number(value) and 0.2 <= value <= 5 for value in self.scales):
            raise ValueError("scales are numbers from 0.2 to 5")
        if not all(_is_number(value) and abs(value) <= 500 for value in self.shifts_hu):
            raise ValueError("shifts_hu are numbers from -500 to 500")


def _is_number(value: object) -> bool:
    """Whether it is one, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class TwoStagePipeline(Pipeline):
    """Localizer on the down-sampled volume, segmenter on one or two boxes, vote.

    Args:
        localizer: the coarse network.
        segmenter: the fine network.
        options: margins, thresholds and fusion.
    """

    def __init__(self, localizer: Stage, segmenter: Stage, options: TwoStageOptions | None = None) -> None:
        self.options = options = options or TwoStageOptions()
        if options.scales or options.shifts_hu:
            segmenter = AveragedStage(segmenter, options.scales, options.shifts_hu)
        super().__init__(localizer, segmenter)
        self.localizer = localizer
        self.segmenter = segmenter
        self.name = "two-stage" if self.options.boxes == 2 else "fast"

    @property
    def localizing(self) -> Costs:
        """The localizer over the body, or the search for the box."""
        return (("coarse", 1.0),)

    @property
    def segmenting(self) -> Costs:
        """The networks, then fusion and the way back to the native grid."""
        again = (("recrop", 1.5 * self.options.recrops),) if self.options.recrops else ()
        return (("fine", 1.5 * self.options.boxes), ("fusion", 0.5), *again)

    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        """Box 1 from the coarse mask, box 2 from the up-sampled coarse mask (Zhao 2019, section 2.2.2)."""
        progress = progress or Progress()
        progress.plan(self.localizing)
        geometry = volume.geometry
        with progress.stage("coarse", self.localizer.predictor.members):
            coarse, grid = self.localizer.pancreas(volume, body_box(volume), progress)
            threshold = self.options.threshold
            findings: list[Finding] = []
            if not (coarse >= threshold).any() and (coarse >= self.options.faint_threshold).any():
                threshold = self.options.faint_threshold
                findings.append(unsure(float(coarse.max())))
            mask = clean(coarse >= threshold, grid.spacing, self.options.coarse_join_mm).mask
            found = Box.of_mask(mask)
            if found is None:
                return nothing_found(volume, float(coarse.max()), coarse, grid, progress)
            score = float(coarse[mask].mean())
            margin = (self.options.coarse_margin_voxels,) * 3
            near = found.pad(margin, margin).clip(grid)
            # Isolated false positives far away must not vote.
            coarse = paste(coarse[near.slices], near, grid, np.float32)
            first = map_box(near, grid, geometry)
            upsampled = from_grid(coarse, grid, geometry, first) >= threshold
            fine_box = Box.of_mask(upsampled)
            second = first if fine_box is None else fine_box.out_of(first).grow(self.options.margin_mm, geometry)
        candidates = (first, second) if self.options.boxes == 2 else (second,)
        return Localization(
            box=first.union(second) if self.options.boxes == 2 else second,
            score=score,
            candidates=candidates,
            coarse=coarse,
            coarse_grid=grid,
            findings=tuple(findings),
            timings=dict(progress.timings),
        )

    def segment(self, volume: Volume, region: Localization | Box, progress: Progress | None = None) -> Segmentation:
        """The segmenter in every candidate box; majority vote with the up-sampled coarse mask (Zhao 2019)."""
        progress = progress or Progress()
        progress.plan(self.segmenting)
        if isinstance(region, Box):
            return self._inside(volume, region.clip(volume.geometry), progress)
        if not region.candidates:
            return self._nothing(volume, region, progress)
        findings = list(region.findings)
        maps: list[tuple[Box, Opinion]] = []
        with progress.stage("fine", len(region.candidates) * self.segmenter.predictor.members):
            for box in region.candidates:
                maps.append(self._grown(volume, box, progress, findings))
        with progress.stage("fusion"):
            result = self._vote(volume, region, maps, findings, progress)
        if self.options.recrops and result.mask.any():
            with progress.stage("recrop", self.options.recrops * self.segmenter.predictor.members):
                for _ in range(self.options.recrops):
                    result = self._again(volume, result, progress, findings)
        return replace(result, timings={**region.timings, **progress.timings})

    def _vote(
        self,
        volume: Volume,
        region: Localization,
        maps: list[tuple[Box, Opinion]],
        findings: list[Finding],
        progress: Progress,
    ) -> Segmentation:
        """What the candidate boxes, and with several of them the coarse mask, make together."""
        if len(maps) == 1:
            return self._finish(volume, *maps[0], findings, progress)
        union = maps[0][0]
        for box, _ in maps[1:]:
            union = union.union(box)
        voters = [paste_map(opinion.probability, box.relative_to(union), union) for box, opinion in maps]
        coarse = []
        if region.coarse is not None and region.coarse_grid is not None:
            coarse = [from_grid(region.coarse, region.coarse_grid, volume.geometry, union)]
        fused = fuse([*voters, *coarse], self.options.fusion, self.options.threshold)
        votes = [paste_map(vote, box.relative_to(union), union) for box, opinion in maps for vote in opinion.votes]
        if votes:  # of several models: it is they who agree, or do not
            share = agreement([*votes, *coarse], fused.mask, self.options.threshold)
            fused = replace(fused, agreement=share)
        return self._complete(volume, union, fused, findings, progress)

    def _inside(self, volume: Volume, box: Box, progress: Progress) -> Segmentation:
        """The segmenter alone, in a box that a person placed."""
        with progress.stage("fine", self.segmenter.predictor.members):
            opinion = self._opinion(volume, box, progress)
        with progress.stage("fusion"):
            result = self._finish(volume, box, opinion, [], progress)
        return replace(result, timings=dict(progress.timings))

    def _nothing(self, volume: Volume, region: Localization, progress: Progress) -> Segmentation:
        """An empty mask, when the localizer found no pancreas."""
        empty = np.zeros(region.box.shape, dtype=np.float32)
        return self._finish(volume, region.box, Opinion(empty), list(region.findings), progress)

    def _grown(self, volume: Volume, box: Box, progress: Progress, findings: list[Finding]) -> tuple[Box, Opinion]:
        """Segment; when the mask touches a face of the box, grow that face once and segment again."""
        opinion = self._opinion(volume, box, progress)
        mask = opinion.probability >= self.options.threshold
        low, high = touched_faces(mask, box, volume.geometry)
        if any(low + high):  # by the organ, or by something that cleaning takes away
            organ = clean(mask, volume.geometry.spacing, self.options.join_mm)
            low, high = touched_faces(organ.mask, box, volume.geometry)
        if not any(low + high):
            return box, opinion
        steps = [int(np.ceil(self.options.growth_mm / s)) for s in volume.geometry.spacing]
        grown = box.pad(
            [n * face for n, face in zip(steps, low, strict=True)],
            [n * face for n, face in zip(steps, high, strict=True)],
        ).clip(volume.geometry)
        progress.extend(self.segmenter.predictor.members)
        if not any(finding.code == "box-grown" for finding in findings):
            findings.append(
                Finding(
                    "box-grown",
                    Severity.INFO,
                    "The pancreas reached the edge of the box, so the box was enlarged there and segmented again.",
                    self.options.growth_mm,
                )
            )
        return grown, self._opinion(volume, grown, progress)

    def _opinion(self, volume: Volume, box: Box, progress: Progress) -> Opinion:
        classes = len(self.segmenter.card.classes)
        structures = self.options.structures or classes <= FEW_CLASSES
        return self.segmenter.opinion_on_box(volume, box, progress, structures=structures and classes > 2)

    def _again(self, volume: Volume, first: Segmentation, progress: Progress, findings: list[Finding]) -> Segmentation:
        """Crop around a mask and segment once more; the DSC of the two passes is a finding.

        The new mask stands, unless it is empty. The agreement of each voxel is that of the two passes, or that of the
        models which vote, whichever is less.
        """
        from pancreasseg.measure.compare import dice

        organ = Box.of_mask(first.mask)
        assert organ is not None  # noqa: S101 - neither the vote nor a pass before left an empty mask
        box, opinion = self._grown(volume, organ.grow(self.options.margin_mm, volume.geometry), progress, findings)
        again = self._finish(volume, box, opinion, findings, progress)
        before, now = first.mask[box.slices], again.mask[box.slices]
        told = (*again.findings, _of_passes(dice(before, now)))
        if not now.any():
            return replace(first, findings=told)
        passes = np.where(before == now, 1, 0.5).astype(np.float32)
        return replace(again, agreement=np.minimum(passes, again.agreement), findings=told)

    def _finish(
        self, volume: Volume, box: Box, opinion: Opinion, findings: list[Finding], progress: Progress
    ) -> Segmentation:
        """The result of a single box."""
        fused = opinion.fused(self.options.threshold)
        return self._complete(volume, box, fused, findings, progress, opinion.labels)

    def _complete(
        self,
        volume: Volume,
        box: Box,
        fused: Fused,
        findings: list[Finding],
        progress: Progress,
        labels: np.ndarray | None = None,
    ) -> Segmentation:
        organ = self._organ(fused.mask, volume.geometry.spacing)
        if labels is not None:
            # What belongs to the pancreas, such as a tumour, keeps its label; what was cleaned away loses its own.
            inside = np.isin(labels, self.segmenter.card.organ)
            labels = np.where(organ.mask & ~inside, self.segmenter.card.pancreas, labels)
            labels = paste(np.where(inside & ~organ.mask, 0, labels).astype(np.uint8), box, volume.geometry)
        return self.result(volume, box, fused, organ, progress, findings=findings, labels=labels)

    def ask_for_structures(self) -> None:
        """Give all classes of the segmenter, however many."""
        self.options = replace(self.options, structures=True)

    def _organ(self, mask: np.ndarray, spacing: Sequence[float]) -> Organ:
        """The fused mask (K, J, I) as one organ."""
        return clean(mask, spacing, self.options.join_mm)


def unsure(score: float) -> Finding:
    """The localizer found something only when asked to be less strict."""
    sentence = "The localizer is unsure where the pancreas is; check the box before you trust the mask."
    return Finding("faint-localization", Severity.WARNING, sentence, round(score, 3))


def nothing_found(volume: Volume, score: float, coarse: np.ndarray, grid: Geometry, progress: Progress) -> Localization:
    """No pancreas: a box in the middle of the body, for the person to drag, and the finding that says so."""
    from pancreasseg.findings.result import no_pancreas

    findings = (no_pancreas(round(score, 3)),)
    return Localization(_middle(volume), score, (), coarse, grid, findings, dict(progress.timings))


def _of_passes(dsc: float) -> Finding:
    """How well two passes agree: a quality of the result that needs no reference."""
    if dsc >= PASSES_AGREE_DSC:
        sentence = f"Segmented again in a box around its own result, the pancreas stayed the same (DSC {dsc:.2f})."
        return Finding("passes-agree", Severity.INFO, sentence, dsc)
    sentence = (
        f"Segmented again in a box around its own result, the pancreas changed (DSC {dsc:.2f}, usually above "
        f"{PASSES_AGREE_DSC}). Check the mask's outline on every slice."
    )
    return Finding("passes-disagree", Severity.WARNING, sentence, dsc)


def paste_map(values: np.ndarray, inner: Box, outer: Box) -> np.ndarray:
    """``values`` of ``inner`` (in the index frame of ``outer``) as float32 on ``outer``; 0 elsewhere."""
    result = np.zeros(outer.shape, dtype=np.float32)
    result[inner.slices] = values
    return result


def _middle(volume: Volume) -> Box:
    """A box of the size of a large pancreas in the middle of the body, for the person to drag."""
    body = body_box(volume)
    geometry = volume.geometry
    start, stop = list(body.start), list(body.stop)
    for (axis, _), reach_mm in zip(nearest_axes(geometry), (90.0, 60.0, 60.0), strict=True):
        centre = (body.start[axis] + body.stop[axis]) / 2
        start[axis] = int(centre - reach_mm / geometry.spacing[axis])
        stop[axis] = int(centre + reach_mm / geometry.spacing[axis]) + 1
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])).clip(geometry)


def _takes(_role: str, card: NetworkCard) -> bool:
    """Not what marks boxes on single slices: a map of probabilities is wanted."""
    return card.network != "mask-rcnn"


_STEPS = {
    "coarse": "Finding the pancreas",
    "fine": "Segmenting",
    "recrop": "Segmenting again",
    "fusion": "Combining the masks",
}
DECLARATIONS = (
    Declaration(
        name="two-stage",
        title="Two stages, three opinions (accurate)",
        roles=("localizer", "segmenter"),
        takes=_takes,
        votes=True,
        pipeline=TwoStagePipeline,
        options=TwoStageOptions,
        steps=_STEPS,
        faster="fast",
        place=10,
    ),
    Declaration(
        name="fast",
        title="Two stages, one box (fast)",
        roles=("localizer", "segmenter"),
        takes=_takes,
        votes=True,
        pipeline=TwoStagePipeline,
        options=TwoStageOptions,
        steps=_STEPS,
        preset={"boxes": 1},
        place=20,
    ),
)

"""One run as everyone does it: segment, remark, measure, write. For the command line, the worker and the demo."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.beside import beside
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Attention, Localization, Segmentation

if TYPE_CHECKING:
    from pancreasseg.core.measurement import Measurement
    from pancreasseg.findings.result import CtLook
    from pancreasseg.pipelines.base import Pipeline


@dataclass(frozen=True)
class FinishedRun:
    """Everything about one result.

    Attributes:
        volume: what was segmented.
        segmentation: the result, with all findings in it.
        measurements: of the mask, and against the reference where there is one.
        reference: the mask to compare with, or None.
        dsc: against the reference, 0-1, or None without one.
    """

    volume: Volume
    segmentation: Segmentation
    measurements: tuple[Measurement, ...]
    reference: np.ndarray | None
    dsc: float | None


def announce(pipeline: Pipeline, progress: Progress, *, localize: bool) -> None:
    """Tell ``progress`` all stages of `segment`, so that its fraction and seconds left speak of the whole run."""
    progress.plan([*(pipeline.localizing if localize else ()), *pipeline.segmenting, ("review", 0.3)])


class _Looks:
    """The last look at a CT: moving the box does not change what is to be said of the CT itself."""

    def __init__(self) -> None:
        self._last: tuple[weakref.ref[Volume], CtLook] | None = None

    def at(self, volume: Volume, *, again: bool) -> CtLook:
        """What is to be said of a CT; with ``again`` what was said of this very one, if it was the last."""
        from pancreasseg.findings.result import CtLook

        last = self._last
        if again and last is not None and last[0]() is volume:
            return last[1]
        look = CtLook.at(volume)
        self._last = (weakref.ref(volume), look)
        return look


_LOOKS = _Looks()


def segment(
    volume: Volume,
    pipeline: Pipeline,
    region: Localization | Box | None = None,
    progress: Progress | None = None,
    look: CtLook | None = None,
) -> Segmentation:
    """Segment, after localizing where no region is given, and review the result.

    Args:
        volume: the CT.
        pipeline: from `pancreasseg.pipelines.create`.
        region: a localization by this pipeline, or a box placed by a person.
        progress: receives progress, notices and cancels.
        look: at this CT, where there was one already.

    Returns:
        The result with the findings of reading, localizing, segmenting and reviewing.

    Raises:
        InputError: the box does not meet the volume.
        RunError: out of memory on every rung of the ladder.
        Cancelled: the person cancelled.
    """
    from pancreasseg.findings.result import review

    progress = progress or Progress()
    announce(pipeline, progress, localize=region is None)
    again = region is not None
    looking = beside(lambda: look or _LOOKS.at(volume, again=again))
    if region is None:
        region = pipeline.localize(volume, progress)
    result = pipeline.segment(volume, region, progress)
    result = replace(result, expected_overlap=_expected_overlap(pipeline, result, volume.geometry))
    with progress.stage("review"):
        known = (*volume.findings, *result.findings)
        phases = {package.card.contrast_phase for package in pipeline.models}
        new = review(
            result.mask,
            volume,
            look=looking.result(),
            box=result.box,
            by_hand=isinstance(region, Box),
            stage_dsc=_stage_dsc(region, result, volume.geometry),
            expected=result.expected_overlap,
            second_largest=result.second_largest,
            labels=result.labels,
            classes=result.classes,
            phase=phases.pop() if len(phases) == 1 else "any",
            known=known,
        )
    timings = {**result.timings, "review": progress.timings["review"]}
    return replace(result, findings=(*known, *new), timings=timings)


def _expected_overlap(pipeline: Pipeline, result: Segmentation, geometry: Geometry) -> float | None:
    """The DSC to be expected, where the model that made the mask says how to tell."""
    # Such a line is drawn for the probabilities of the card's own pipeline; the mean of several voters has lower ones.
    if pipeline.stages and len(pipeline.stages[-1].packages) > 1:
        return None
    own = [package.card for package in pipeline.models if package.card.pipeline == pipeline.name]
    line = next((card.expected_overlap for card in reversed(own) if card.expected_overlap is not None), None)
    if line is None or not result.mask.any():
        return None
    from pancreasseg.pipelines.confidence import soft_dice

    return line.of(soft_dice(result.probability, result.mask[result.box.slices] > 0, geometry.spacing))


def _stage_dsc(region: Localization | Box, result: Segmentation, geometry: Geometry) -> float | None:
    """DSC between the coarse mask and the result, where there are two stages."""
    if isinstance(region, Box) or region.coarse is None or region.coarse_grid is None:
        return None
    from pancreasseg.grids.resample import from_grid
    from pancreasseg.measure import dice

    coarse = from_grid(region.coarse, region.coarse_grid, geometry, result.box) >= 0.5
    return dice(coarse, result.mask[result.box.slices])


def measurements_of(mask: np.ndarray, volume: Volume, reference: np.ndarray | None = None) -> tuple[Measurement, ...]:
    """The measurements of a mask (K, J, I) on its CT, and against a reference mask on the same grid if there is one."""
    from pancreasseg.measure.measurements import compare, measure

    own = measure(mask, volume)
    return (*own, *(compare(mask, reference, volume.geometry) if reference is not None else ()))


def complete(volume: Volume, segmentation: Segmentation, reference: np.ndarray | None = None) -> FinishedRun:
    """Measure a result, against a reference mask on the same grid where there is one."""
    measurements = (*measurements_of(segmentation.mask, volume, reference), *_expectation(segmentation))
    dsc = None if reference is None else dsc_among(measurements)
    return FinishedRun(volume, segmentation, measurements, reference, dsc)


def _expectation(segmentation: Segmentation) -> tuple[Measurement, ...]:
    """The expected overlap as a row of the statistics, where there is one."""
    from pancreasseg.core.measurement import Measurement, private

    value = segmentation.expected_overlap
    if value is None:
        return ()
    code = private("expected-overlap", "Expected Dice similarity coefficient")
    note = "DSC with a person's outline in the box, as the model expects it; false islands far away are not foreseen"
    return (Measurement("expected_overlap", "Expected overlap", value, "1", code, note),)


def dsc_among(measurements: tuple[Measurement, ...]) -> float:
    """The DSC, 0-1, among measurements against a reference."""
    return next(entry.value for entry in measurements if entry.name == "dsc" and entry.value is not None)


def write(
    folder: Path,
    outcome: FinishedRun,
    timings: Mapping[str, float] | None = None,
    attention: Attention | None = None,
) -> dict[str, Any]:
    """Write all files of a result, or none.

    Args:
        folder: where they go.
        outcome: the result.
        timings: in seconds, added to those of the segmentation.
        attention: maps to write and to draw beside it.

    Returns:
        What result.json holds.

    Raises:
        OutputError: a file cannot be written.
    """
    from pancreasseg.io.write import write_results
    from pancreasseg.report.attention import write_attention_sheet
    from pancreasseg.report.figure import write_report

    volume, measurements = outcome.volume, outcome.measurements
    segmentation = replace(outcome.segmentation, timings={**outcome.segmentation.timings, **(timings or {})})
    return write_results(
        folder,
        volume,
        segmentation,
        measurements,
        segmentation.findings,
        dsc=outcome.dsc,
        report=lambda path: write_report(path, volume, segmentation, measurements, reference=outcome.reference),
        attention=attention,
        sheet=None if attention is None else lambda path: write_attention_sheet(path, volume, segmentation, attention),
    )

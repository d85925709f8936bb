"""One network, or an ensemble, that sees the whole upper abdomen at once (OBELISK-Net and its like)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization, Segmentation
from pancreasseg.grids.resample import from_grid, nearest_axes, paste
from pancreasseg.pipelines.abdomen import Abdomen, find_abdomen
from pancreasseg.pipelines.base import Costs, Pipeline, Stage
from pancreasseg.pipelines.declaration import Declaration
from pancreasseg.pipelines.postprocess import JOIN_MM, clean
from pancreasseg.pipelines.winners import reach, winners

#: Margin around the found pancreas in the reported box.
MARGIN_MM = 10.0
#: A person's box that is narrower than this part of the body's box cannot be the network's input.
LEAST_SHARE = 0.75
#: Where the pancreas lies in a good window, from its bottom: the median of 18 public label maps (Zenodo 1169361).
CENTRE = 0.5
#: Probabilities below this are not brought back to the native grid.
FAINT = 0.01


@dataclass(frozen=True)
class WholeVolumeOptions:
    """Settings of the whole-volume pipeline; the defaults are those of OBELISK-Net.

    Attributes:
        window_mm: length of the box from head to foot.
        search_beyond_mm: scans of up to this length are taken whole; in longer ones the window is searched.
        least_mm: shorter scans are beyond what the network can do.
        step_mm: distance of neighbouring windows when all of a scan is searched; half of it while climbing.
        sure: mean organ probability that a window must reach to be believed without searching all of the scan.
        organs: resolve all classes into ``labels``; without, only the surroundings of the pancreas (quicker).
    """

    window_mm: float = 200.0
    search_beyond_mm: float = 230.0
    least_mm: float = 150.0
    step_mm: float = 70.0
    sure: float = 0.75
    organs: bool = True


@dataclass(frozen=True)
class ViewMaps:
    """What the members made of one view of a volume.

    Attributes:
        mean: mean class probabilities, (classes, K, J, I) on ``grid``.
        votes: each member's pancreas map, (K, J, I).
        grid: the network's.
    """

    mean: np.ndarray
    votes: tuple[np.ndarray, ...]
    grid: Geometry


@dataclass(frozen=True)
class _Kept:
    """The last maps, and everything that they depend on."""

    volume: weakref.ref[Volume]
    view: Box
    hardware: tuple[str, str]
    maps: ViewMaps


class WholeVolumePipeline(Pipeline):
    """Body box, window search in z, mean softmax of the members, argmax on the native grid.

    The network's answer depends on all that it sees, so another view needs another run. What a person's smaller box
    only cuts out of the same view does not: the maps of the last view stay in memory (about 150 MB for the four folds
    of OBELISK-Net) until another view or precision is asked for or the volume is gone, and moving such a box costs
    fusion and cleaning alone. The result is the one that a new run would give, to the bit. In scans that are taken
    whole this holds for all smaller boxes; in longer ones the view follows the box up and down the body, so it holds
    while the box moves within a slice.

    Args:
        network: the one network, with its members.
        options: window and search.

    Attributes:
        kept: the maps of the view that was computed last, as long as its volume lives; None while there are none.
    """

    name = "whole-volume"

    def __init__(self, network: Stage, options: WholeVolumeOptions | None = None) -> None:
        super().__init__(network)
        self.network = network
        self.options = options or WholeVolumeOptions()
        self.kept: _Kept | None = None

    @property
    def localizing(self) -> Costs:
        """The localizer over the body, or the search for the box."""
        return (("body", 0.2),)

    @property
    def segmenting(self) -> Costs:
        """The networks, then fusion and the way back to the native grid."""
        return (("organs", float(self.network.predictor.members)), ("fusion", 0.5))

    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        """The body's box over about 200 mm from just above the liver dome.

        The lungs tell roughly where that is. The first member then looks at neighbouring windows: how sure it is of
        its organs rises and falls smoothly over more than 10 cm around the right one. Short scans need no search.
        """
        progress = progress or Progress()
        progress.plan(self.localizing)
        with progress.stage("body"):
            abdomen = find_abdomen(volume)
        if abdomen is None:
            finding = Finding("no-body", Severity.SERIOUS, "No body was found in this volume; check that it is a CT.")
            return Localization(Box.whole(volume.geometry), 0.0, (), None, None, (finding,), dict(progress.timings))
        bottom, top, score = abdomen.first, abdomen.last, 1.0
        if abdomen.length_mm > self.options.search_beyond_mm:
            with progress.stage("search", 4):
                bottom, top, score = self._search(volume, abdomen, progress)
        box = abdomen.box(volume.geometry, bottom, top)
        return Localization(box, score, (box,), findings=self._length_findings(abdomen), timings=dict(progress.timings))

    def segment(self, volume: Volume, region: Localization | Box, progress: Progress | None = None) -> Segmentation:
        """All members over the region; the class with the largest mean probability wins on the native grid.

        A box too small for the network only limits the result: the network itself then sees the body's box around it.
        """
        progress = progress or Progress()
        members = self.network.predictor.members
        progress.plan(self.segmenting)
        if isinstance(region, Localization):
            seen, limit, findings = region.box, None, list(region.findings)
            timings = region.timings
        else:
            limit = region.clip(volume.geometry)
            seen, findings = self._context(volume, limit, progress)
            timings = {}
        with progress.stage("organs", members):
            maps = self._maps(volume, seen, progress)
        with progress.stage("fusion"):
            result = self._resolve(volume, maps, seen, limit)
        return replace(result, findings=(*findings, *progress.notices), timings={**timings, **progress.timings})

    def _search(self, volume: Volume, abdomen: Abdomen, progress: Progress) -> tuple[int, int, float]:
        """(bottom, top, score) of the window in which the first member is surest of its organs."""
        step = abdomen.grid.spacing[2]
        length = round(self.options.window_mm / step)

        def score(top: int) -> float:
            return self._sureness(volume, abdomen.box(volume.geometry, top - length, top), progress)

        lowest, highest = abdomen.first + length, abdomen.last
        stride = max(1, round(self.options.step_mm / 2 / step))
        seen: dict[int, float] = {}
        dome = abdomen.dome()
        if dome is not None:
            best = climb(score, min(max(dome, lowest), highest), stride, lowest, highest, seen)
        if dome is None or best[1] < self.options.sure:
            for top in {*range(highest, lowest, -2 * stride), lowest}:
                if top not in seen:
                    seen[top] = score(top)
            best = climb(score, max(seen, key=lambda top: seen[top]), stride, lowest, highest, seen)
        return best[0] - length, best[0], best[1]

    def _sureness(self, volume: Volume, box: Box, progress: Progress) -> float:
        """Mean over all organs of their mean probability where they win; an absent organ counts as 0."""
        probability, _ = self.network.probabilities(volume, box, progress, members=[0])
        winner = probability.argmax(axis=0)
        count = np.bincount(winner.ravel(), minlength=len(probability))
        # Fewer voxels than this are noise.
        least = winner.size // 50_000
        sums = [float(p[winner == c].sum()) for c, p in enumerate(probability)]
        organs = [sums[c] / count[c] if count[c] > least else 0.0 for c in range(1, len(probability))]
        return float(np.mean(organs))

    def _length_findings(self, abdomen: Abdomen) -> tuple[Finding, ...]:
        if abdomen.length_mm >= self.options.least_mm:
            return ()
        sentence = (
            f"The scan covers {abdomen.length_mm:.0f} mm from head to foot; this model needs about "
            f"{self.options.least_mm:.0f} mm, so do not rely on its result."
        )
        return (Finding("short-scan", Severity.SERIOUS, sentence, round(abdomen.length_mm, 1)),)

    def _context(self, volume: Volume, box: Box, progress: Progress) -> tuple[Box, list[Finding]]:
        """The box that the network sees for a person's box, and why it is another one."""
        with progress.stage("body"):
            abdomen = find_abdomen(volume)
        if abdomen is None:
            return box, []
        body = abdomen.box(volume.geometry, abdomen.first, abdomen.last)
        findings = list(self._length_findings(abdomen))
        height = min(self.options.least_mm, abdomen.length_mm)
        _, _, (axis, _) = nearest_axes(volume.geometry)
        wide = all(
            n >= (height / spacing if a == axis else LEAST_SHARE * whole) - 1
            for a, (n, whole, spacing) in enumerate(zip(box.size, body.size, volume.geometry.spacing, strict=True))
        )
        if wide:
            return box, findings
        findings.append(
            Finding(
                "box-smaller-than-view",
                Severity.INFO,
                "The box is smaller than what this model has to see, so it looked at the whole upper abdomen and "
                "the result was cut to the box.",
            )
        )
        if abdomen.length_mm <= self.options.search_beyond_mm:
            return body, findings
        return self._around(abdomen, volume.geometry, box), findings

    def _around(self, abdomen: Abdomen, geometry: Geometry, box: Box) -> Box:
        """The body's box over a window that has the person's box where the pancreas usually lies: in the middle."""
        step = abdomen.grid.spacing[2]
        length = round(self.options.window_mm / step)
        middle = geometry.to_world([(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)])
        centre = round(float(abdomen.grid.to_index(middle)[2]))
        bottom = min(max(centre - round(CENTRE * length), abdomen.first), abdomen.last - length)
        return abdomen.box(geometry, bottom, bottom + length)

    def _maps(self, volume: Volume, view: Box, progress: Progress) -> ViewMaps:
        """What the members make of a view; from memory when they saw it last."""
        kept = self.kept
        hardware = (self.device, self.precision)
        if kept is not None and kept.volume() is volume and (kept.view, kept.hardware) == (view, hardware):
            return kept.maps
        self.kept = None  # before there are new ones: both at once could be too much
        maps = self.run_members(volume, view, progress)
        self.kept = _Kept(weakref.ref(volume, self._forget), view, (self.device, self.precision), maps)
        return maps

    def _forget(self, gone: weakref.ref[Volume]) -> None:
        """A volume is gone; its maps serve nobody."""
        if self.kept is not None and self.kept.volume is gone:
            self.kept = None

    def run_members(self, volume: Volume, box: Box, progress: Progress) -> ViewMaps:
        """Run all members over a box."""
        array, grid = self.network.prepare(volume, box)
        mean = self.network.run(array, progress, members=[0])
        votes = [mean[self.network.card.pancreas].copy()]
        for index in range(1, self.network.predictor.members):
            output = self.network.run(array, progress, members=[index])
            votes.append(output[self.network.card.pancreas].copy())
            mean += output
        mean /= len(votes)
        return ViewMaps(mean, tuple(votes), grid)

    def _resolve(
        self,
        volume: Volume,
        maps: ViewMaps,
        seen: Box,
        limit: Box | None,
    ) -> Segmentation:
        geometry, pancreas = volume.geometry, self.network.card.pancreas
        mean, votes, grid = maps.mean, maps.votes, maps.grid
        region = seen if limit is None else limit
        only = None if self.options.organs else pancreas
        labels, window = winners(mean, grid, geometry, region, only)
        organ = clean(labels == pancreas, geometry.spacing, JOIN_MM)
        box = region
        found = Box.of_mask(organ.mask)
        if limit is None and found is not None:
            box = found.out_of(window).grow(MARGIN_MM, geometry).intersect(seen)
        mask = paste(organ.mask, window, geometry)
        inside = mask[box.slices]
        agreeing = np.zeros(box.shape, dtype=np.float32)
        for vote in votes:
            agreeing += (_near(vote, grid, geometry, box, 0.5) >= 0.5) == inside
        return Segmentation(
            mask=mask,
            box=box,
            probability=_near(mean[pancreas], grid, geometry, box, FAINT),
            agreement=agreeing / len(votes),
            findings=(),
            timings={},
            provenance=self.provenance(seen if limit is None else limit),
            labels=paste(labels, window, geometry) if self.options.organs else None,
            second_largest=organ.second_largest,
        )


def climb(
    score: Callable[[int], float], start: int, stride: int, lowest: int, highest: int, seen: dict[int, float]
) -> tuple[int, float]:
    """The top of a smooth hill: steps of ``stride`` while they lead upwards, then the vertex of a parabola.

    Args:
        score: asked once for every position.
        start: where to begin.
        stride: how far to step.
        lowest: first position of the range.
        highest: last position of the range.
        seen: scores that are known already; filled further.

    Returns:
        Position of the vertex, and the highest score seen (near it).
    """

    def at(position: int) -> float:
        if position not in seen:
            seen[position] = score(position)
        return seen[position]

    best = start
    while True:
        below, above = max(best - stride, lowest), min(best + stride, highest)
        better = max((best, below, above), key=at)
        if better == best:
            break
        best = better
    if not below < best < above:
        return best, at(best)
    # The parabola through the three; with unequal steps at the ends of the range.
    left, right = (at(best) - at(below)) / (best - below), (at(above) - at(best)) / (above - best)
    curvature = (right - left) / (above - below)
    if curvature >= 0:
        return best, at(best)
    vertex = (below + best) / 2 - left / (2 * curvature)
    return round(min(max(vertex, below), above)), at(best)


def _near(probability: np.ndarray, grid: Geometry, geometry: Geometry, box: Box, least: float) -> np.ndarray:
    """A map in the native voxels of ``box``; 0 beyond the surroundings of where it reaches ``least``."""
    result = np.zeros(box.shape, dtype=np.float32)
    around = reach(probability >= least, grid, geometry, box)
    if around is not None:
        result[around.relative_to(box).slices] = from_grid(probability, grid, geometry, around)
    return result


DECLARATIONS = (
    Declaration(
        name="whole-volume",
        title="Whole volume in one go",
        roles=("whole-volume",),
        pipeline=WholeVolumePipeline,
        options=WholeVolumeOptions,
        steps={
            "body": "Finding the body",
            "search": "Finding the abdomen",
            "organs": "Segmenting",
            "fusion": "Combining the masks",
        },
        place=30,
    ),
)

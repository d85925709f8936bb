"""A network that was trained by nnU-Net, in a box: it sees what it would see of the whole CT, and runs nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.grids.conventions import Conventions
from pancreasseg.grids.resample import from_grid
from pancreasseg.grids.whole_grid import WholeGrid, Window
from pancreasseg.pipelines.base import Stage
from pancreasseg.pipelines.fusion import Opinion

if TYPE_CHECKING:
    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.inference.predictor import Read
    from pancreasseg.inference.tiles import Tiles
    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.models.package import ModelPackage

#: So many logits (half a GB) are kept of overlapping tiles; of a region with more, as of 118 classes over a whole body,
#: the margins of the tiles are averaged instead, which is good enough for a box.
LOGITS_LIMIT = 1 << 27
#: No margin is larger that makes a difference.
SURE = 30.0


class TrainedStage(Stage):
    """A network whose card has `Conventions`.

    Its patch keeps the size that it was trained with, and real surroundings: instance norm makes an answer depend on
    all that is in the patch. A box smaller than the patch is one pass.

    Args:
        package: where the weights come from.
        card: the network in it; it states conventions, a spacing and a patch.
        hardware: device and precision to begin with.

    Raises:
        ValueError: it does not.
    """

    def __init__(self, package: ModelPackage, card: NetworkCard, hardware: Hardware) -> None:
        from pancreasseg.inference.evidence import Ensemble
        from pancreasseg.inference.load import load_networks
        from pancreasseg.inference.predictor import Predictor

        if card.conventions is None or card.preprocessing.patch is None:
            raise ValueError("the card states no conventions, or no patch")
        self.package = package
        self.card = card
        self.conventions: Conventions = card.conventions
        self.patch = self._along(card.preprocessing.patch)
        self.predictor = Predictor([Ensemble(load_networks(package, card))], hardware, tiles=False)

    def whole(self, volume: Volume) -> WholeGrid:
        """The network's grid over a CT."""
        return WholeGrid(volume, self.card.preprocessing, self.conventions)

    def probabilities(
        self,
        volume: Volume,
        box: Box,
        progress: Progress,
        *,
        members: Sequence[int] | None = None,  # noqa: ARG002  (they answer together)
        sliding: bool = False,  # noqa: ARG002  (always)
    ) -> tuple[np.ndarray, Geometry]:
        """Class probabilities over ``box``; the background is what the others leave.

        Each class is judged against its strongest rival, see `pancreasseg.inference.evidence.Evidence`.
        """
        channels = tuple(range(1, len(self.card.classes)))
        margins, grid = self.margins(volume, box, progress, channels)
        ours = _sigmoid(margins[1 : 1 + len(channels)])
        rest = np.maximum(1 - ours.sum(axis=0, keepdims=True), 0)
        return np.concatenate([rest, ours]), grid

    def pancreas(
        self,
        volume: Volume,
        box: Box,
        progress: Progress,
        *,
        sliding: bool = False,  # noqa: ARG002  (always)
    ) -> tuple[np.ndarray, Geometry]:
        """Probability of the pancreas, and of what belongs to it, on the network's own grid (K, J, I), and the grid."""
        margins, grid = self.margins(volume, box, progress)
        return _sigmoid(margins[0]), grid

    def pancreas_on_box(self, volume: Volume, box: Box, progress: Progress) -> np.ndarray:
        """Pancreas probability in the volume's own voxels inside ``box``, float32 of ``box.shape``."""
        return self.opinion_on_box(volume, box, progress).probability

    def opinion_on_box(self, volume: Volume, box: Box, progress: Progress, *, structures: bool = False) -> Opinion:
        """Pancreas probability in the volume's own voxels; the folds' votes, and on request the winning classes."""
        classes = tuple(range(1, len(self.card.classes))) if structures else ()
        margins, grid = self.margins(volume, box, progress, classes)

        def native(margin: np.ndarray) -> np.ndarray:
            return self._on_box(margin, grid, volume.geometry, box)

        votes = tuple(native(margin) for margin in margins[1 + len(classes) :])
        labels = _winners(margins[1 : 1 + len(classes)], box.shape, native) if structures else None
        return Opinion(native(margins[0]), votes, labels)

    def trial(self) -> np.ndarray:
        """What the networks make of the smallest input that their strides allow: (outputs, A, B, C)."""
        from pancreasseg.inference.evidence import logits_of

        if "strides" not in self.card.arguments:  # a network in a file, which may want its patch and nothing else
            noise = np.random.default_rng(0).normal(size=self.patch).astype(np.float32)
            return self.predictor.probabilities(noise, Progress(), read=logits_of)
        steps = np.array(
            [np.broadcast_to(step, self.conventions.dimensions) for step in self.card.arguments["strides"]]
        )
        shape = [2, *(2 * steps.prod(axis=0))][-3:]
        noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        return self.predictor.probabilities(noise, Progress(), read=logits_of)

    def margins(
        self, volume: Volume, box: Box, progress: Progress, classes: Sequence[int] = ()
    ) -> tuple[np.ndarray, Geometry]:
        """How far classes are ahead of all others over ``box``.

        Args:
            volume: the CT.
            box: region to look at.
            progress: advanced after every pass.
            classes: indices in the card's classes that are wanted besides the pancreas.

        Returns:
            float32 (1 + classes + members, K, J, I), the pancreas first; and the grid.
        """
        import torch

        from pancreasseg.inference.evidence import Evidence

        regions = self.card.regions
        organ, wanted = self._channels(self.card.organ), self._channels(classes)
        outputs = len(self.card.classes) - regions
        evidence = Evidence(outputs, organ, wanted, regions)
        whole = self.whole(volume)
        low, high = window = whole.window_of(box)
        voxels = math.prod(b - a for a, b in zip(low, high, strict=True))
        if len(self._tiles(whole, window)[0].corners) == 1 or outputs * voxels > LOGITS_LIMIT:
            return self.look(whole, box, progress, evidence)
        logits, grid = self.look(whole, box, progress, evidence.logits)
        return evidence.margins(torch.from_numpy(logits)[None])[0].numpy(), grid

    def _on_box(self, margin: np.ndarray, grid: Geometry, geometry: Geometry, box: Box) -> np.ndarray:
        """Probability in the CT's own voxels of a margin on the network's grid.

        nnU-Net interpolates logits and judges them in the CT, so margins are interpolated here: with the same tiles
        hardly a voxel differs from its labels. TotalSegmentator judges on the network's grid.
        """
        if self.conventions.scheme == "nnunet":
            return _sigmoid(from_grid(margin, grid, geometry, box, outside=-SURE))
        return from_grid(_sigmoid(margin), grid, geometry, box)

    def look(self, whole: WholeGrid, box: Box, progress: Progress, read: Read) -> tuple[np.ndarray, Geometry]:
        """What ``read`` takes from the networks over ``box``, float32 (outputs, K, J, I), and the grid."""
        window = whole.window_of(box)
        tiles, seen = self._tiles(whole, window)
        output = self.predictor.probabilities(whole.values(seen), progress, tiles=tiles, read=read)
        return np.ascontiguousarray(whole.to_kji(output)), whole.geometry(window)

    def _tiles(self, whole: WholeGrid, window: Window) -> tuple[Tiles, Window]:
        """The tiles over a window, counted from the first voxel of all that they cover, and that."""
        from pancreasseg.inference.tiles import Tiles, gaussian, lay

        low, high = window
        flat = self.conventions.dimensions == 2
        a, b, c = self.patch
        patch = (min(a, high[0] - low[0]) if flat else a, b, c)
        steps = [1.0 if flat else self.conventions.step, self.conventions.step, self.conventions.step]
        corners = np.array(lay(low, high, whole.shape, patch, steps))
        first, last = corners.min(axis=0), corners.max(axis=0) + patch
        moved = tuple(_shape(corner) for corner in corners - first)
        wanted = (_shape(np.array(low) - first), _shape(np.array(high) - first))
        return Tiles(patch, moved, gaussian(patch, flat), wanted), (_shape(first), _shape(last))

    def _along(self, letters: tuple[int, int, int]) -> tuple[int, int, int]:
        """Numbers along x, y, z of the orientation as numbers along the network's axes."""
        a, b, c = (letters[2 - axis] for axis in self.conventions.transposition)
        return (a, b, c)

    def _channels(self, classes: Sequence[int]) -> tuple[int, ...]:
        """Output channels of classes of the card; regions have none for the background."""
        return tuple(index - 1 if self.card.regions else index for index in classes)


def _shape(numbers: np.ndarray) -> tuple[int, int, int]:
    a, b, c = (int(number) for number in numbers)
    return a, b, c


def _winners(
    margins: np.ndarray, shape: tuple[int, int, int], native: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The class that is ahead in every voxel of a box; of regions that hold each other the last.

    Args:
        margins: of the classes, (classes, K, J, I) on the network's grid.
        shape: of the box.
        native: brings a margin to the CT's own voxels in the box, as a probability.
    """
    labels = np.zeros(shape, dtype=np.uint8)
    for number, margin in enumerate(margins, start=1):
        if (margin > 0).any():  # most of many organs are not in the box
            labels[native(margin) >= 0.5] = number
    return labels


def _sigmoid(margins: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(margins, -SURE, SURE))), dtype=np.float32)

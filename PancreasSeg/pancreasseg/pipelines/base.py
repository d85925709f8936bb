"""What every pipeline is: two calls, and the parts they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg import __version__
from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.finding import Finding
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Localization, Provenance, Segmentation
from pancreasseg.grids.body import map_box
from pancreasseg.grids.resample import from_grid, paste
from pancreasseg.pipelines.fusion import Fused, Opinion
from pancreasseg.pipelines.postprocess import Organ
from pancreasseg.pipelines.winners import winners

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.inference.predictor import Read
    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.models.package import ModelPackage

Costs = tuple[tuple[str, float], ...]

#: Voxels along each edge of the input that a network is tried on: enough for five halvings.
TRIAL_EDGE = 64


class Stage:
    """One network of a model package, ready to run on boxes of a volume.

    Args:
        package: where the weights come from.
        card: the network in it.
        hardware: device and precision to begin with.
    """

    def __init__(self, package: ModelPackage, card: NetworkCard, hardware: Hardware) -> None:
        from pancreasseg.inference.load import load_networks
        from pancreasseg.inference.predictor import Predictor

        self.package = package
        self.card = card
        # A region resampled to one fixed size is a network's whole world; cut into tiles it would mean something else.
        whole_view = card.preprocessing.size is not None
        self.predictor = Predictor(load_networks(package, card), hardware, tiles=not whole_view)

    @property
    def packages(self) -> tuple[ModelPackage, ...]:
        """The packages that its networks come from."""
        return (self.package,)

    def grid(self, geometry: Geometry, box: Box) -> Geometry:
        """The network's input grid over ``box``."""
        return self.card.preprocessing.grid(geometry, box)

    def probabilities(
        self,
        volume: Volume,
        box: Box,
        progress: Progress,
        *,
        members: Sequence[int] | None = None,
        sliding: bool = False,
    ) -> tuple[np.ndarray, Geometry]:
        """Class probabilities over ``box`` on the network's own grid.

        Args:
            volume: the CT.
            box: region to look at.
            progress: advanced after every forward pass.
            members: members of an ensemble to use; all by default.
            sliding: slide the card's patch over the region instead of one pass.

        Returns:
            float32 of shape (classes, K, J, I) on the grid, and the grid.
        """
        array, grid = self.prepare(volume, box)
        return self.run(array, progress, members=members, sliding=sliding), grid

    def prepare(self, volume: Volume, box: Box) -> tuple[np.ndarray, Geometry]:
        """The network's input over ``box``: float32 in the network's own axis order, and its grid.

        Channels come first where the network sees the neighbours of a slice.
        """
        array, grid = self.card.preprocessing.prepare(volume, box)
        return (array.transpose(2, 1, 0) if self._turned else array), grid

    def run(
        self,
        array: np.ndarray,
        progress: Progress,
        *,
        members: Sequence[int] | None = None,
        sliding: bool = False,
        read: Read | None = None,
    ) -> np.ndarray:
        """Class probabilities (classes, K, J, I) of a prepared input, or what else ``read`` takes from the networks.

        Arguments as for `probabilities`.
        """
        patch = None
        if sliding and self.card.preprocessing.patch is not None:
            i, j, k = self.card.preprocessing.patch
            patch = (i, j, k) if self._turned else (k, j, i)
        output = self.predictor.probabilities(array, progress, patch=patch, members=members, read=read)
        return output.transpose(0, 3, 2, 1) if self._turned else output

    def trial(self) -> np.ndarray:
        """What the networks make of a small input of noise, to see that they run: (outputs, ...)."""
        card = self.card.preprocessing
        shape = [min(TRIAL_EDGE, edge) for edge in card.patch or card.size or (TRIAL_EDGE,) * 3]
        edges = shape[:: -1 if card.array_axes == "kji" else 1]
        channels = () if card.neighbours_mm is None else (len(card.neighbours_mm),)
        hu = np.random.default_rng(0).uniform(-100, 200, (*channels, *edges))
        return self.run(card.normalise(hu.astype(np.float32)), Progress())

    @property
    def _turned(self) -> bool:
        return self.card.preprocessing.array_axes == "ijk"

    def pancreas(
        self, volume: Volume, box: Box, progress: Progress, *, sliding: bool = False
    ) -> tuple[np.ndarray, Geometry]:
        """Pancreas probability over ``box`` on the network's own grid (K, J, I), and the grid."""
        array, grid = self.prepare(volume, box)
        return self._pancreas_of(array, progress, sliding=sliding), grid

    def _pancreas_of(
        self, array: np.ndarray, progress: Progress, *, sliding: bool = False, part: Box | None = None
    ) -> np.ndarray:
        """Pancreas probability (K, J, I) of a prepared input, or of the rows and columns of a part of it."""
        from pancreasseg.inference.predictor import class_probabilities

        window = None if part is None else part.slices[1:]

        def one_class(network: nn.Module, image: Tensor) -> Tensor:
            whole = image.shape[2:] == array.shape[1:]  # and not a tile of it
            return class_probabilities(network, image, window if whole else None)[:, [self.card.pancreas]]

        found = self.run(array, progress, sliding=sliding, read=one_class)[0]
        if window is not None and found.shape[1:] == array.shape[-2:]:
            found = found[(slice(None), *window)]
        return np.ascontiguousarray(found)

    def pancreas_on_box(self, volume: Volume, box: Box, progress: Progress) -> np.ndarray:
        """Pancreas probability in the volume's own voxels inside ``box``, float32 of ``box.shape``."""
        seen = self.card.preprocessing.context(box, volume.geometry)
        if not getattr(self.predictor.networks[0], "windows", False):
            probability, grid = self.pancreas(volume, seen, progress)
            return from_grid(probability, grid, volume.geometry, box)
        array, grid = self.prepare(volume, seen)
        part = map_box(box, volume.geometry, grid).pad((1, 1, grid.size[2]), (1, 1, grid.size[2])).clip(grid)
        probability = self._pancreas_of(array, progress, part=part)
        return from_grid(probability, grid.crop(part), volume.geometry, box)

    def opinion_on_box(self, volume: Volume, box: Box, progress: Progress, *, structures: bool = False) -> Opinion:
        """Pancreas probability in the volume's own voxels inside ``box``, and what else the network has to say.

        Args:
            volume: the CT.
            box: region to look at.
            progress: advanced after every forward pass.
            structures: also tell the other classes of the network.
        """
        if not structures:
            return Opinion(self.pancreas_on_box(volume, box, progress))
        seen = self.card.preprocessing.context(box, volume.geometry)
        output, grid = self.probabilities(volume, seen, progress)
        labels = np.zeros(box.shape, dtype=np.uint8)
        won, where = winners(output, grid, volume.geometry, box)
        labels[where.relative_to(box).slices] = won
        return Opinion(from_grid(output[self.card.pancreas], grid, volume.geometry, box), labels=labels)


def brought_along(region: Localization | Box) -> tuple[tuple[Finding, ...], dict[str, float]]:
    """Findings and timings of a localization; a box placed by a person has none."""
    return ((), {}) if isinstance(region, Box) else (region.findings, region.timings)


class Pipeline(ABC):
    """Localizer, segmenter, fusion and post-processing under one name.

    `localize` finds the box, `segment` the pancreas inside it; one click is both.
    """

    name: str

    def __init__(self, *stages: Stage) -> None:
        self.stages = stages

    @property
    def models(self) -> tuple[ModelPackage, ...]:
        """The packages in use, each once."""
        used = [package for stage in self.stages for package in stage.packages]
        return tuple({package.card.name: package for package in used}.values())

    @property
    def device(self) -> str:
        """The device in use now; it can change when memory runs out."""
        return self.stages[-1].predictor.hardware.device

    @property
    def precision(self) -> str:
        """The precision in use now."""
        return self.stages[-1].predictor.hardware.precision

    @property
    @abstractmethod
    def localizing(self) -> Costs:
        """The stages of `localize` with their relative cost, for announcing a whole run before it starts."""

    @property
    @abstractmethod
    def segmenting(self) -> Costs:
        """The stages of `segment` with their relative cost, on the same scale."""

    @abstractmethod
    def localize(self, volume: Volume, progress: Progress | None = None) -> Localization:
        """Find the box around the pancreas.

        Raises:
            RunError: out of memory on every rung of the ladder.
            Cancelled: the person cancelled.
        """

    @abstractmethod
    def segment(self, volume: Volume, region: Localization | Box, progress: Progress | None = None) -> Segmentation:
        """Segment the pancreas.

        Args:
            volume: the CT.
            region: what `localize` returned, with all its candidate boxes; or a box placed by a person, which is
                obeyed as it stands: the segmenter runs inside it alone and the box does not grow.
            progress: receives progress and cancels.

        Raises:
            InputError: the box does not meet the volume.
            RunError: out of memory on every rung of the ladder.
            Cancelled: the person cancelled.
        """

    def result(
        self,
        volume: Volume,
        box: Box,
        fused: Fused,
        organ: Organ,
        progress: Progress,
        *,
        findings: Sequence[Finding] = (),
        timings: Mapping[str, float] | None = None,
        labels: np.ndarray | None = None,
    ) -> Segmentation:
        """What was found in a box, on the volume's own grid.

        Args:
            volume: the CT.
            box: the region that was segmented.
            fused: the voters' verdict on it.
            organ: the mask that was made of it.
            progress: whose notices and timings count so far.
            findings: those before them.
            timings: those before them.
            labels: of several organs, on the volume's grid.
        """
        return Segmentation(
            mask=paste(organ.mask, box, volume.geometry),
            box=box,
            probability=fused.probability,
            agreement=fused.agreement,
            findings=(*findings, *progress.notices),
            timings={**(timings or {}), **progress.timings},
            provenance=self.provenance(box),
            labels=labels,
            classes=() if labels is None else self.stages[-1].card.classes,
            second_largest=organ.second_largest,
        )

    def ask_for_structures(self) -> None:  # noqa: B027  (most pipelines have nothing to add)
        """From now on give all classes of the network, where that is not done anyway because it costs more time."""

    def provenance(self, box: Box) -> Provenance:
        """How a result over ``box`` came about."""
        models = tuple(
            {"name": p.card.name, "version": p.card.version, "sha256": p.card.weights.sha256} for p in self.models
        )
        return Provenance(self.name, models, self.device, self.precision, box.bounds(), __version__)

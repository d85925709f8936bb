"""What the worker keeps in memory between requests: pipelines, the loaded CT, and where its pancreas was found."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError, RunError
from pancreasseg.core.results import Localization
from pancreasseg.core.setup import Setup
from pancreasseg.io.checks import check_ct
from pancreasseg.io.values import to_hu

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline

#: Pipelines kept at once: enough to change between accurate and fast, few enough for small computers.
KEPT_PIPELINES = 2


def create(setup: Setup) -> Pipeline:
    """A pipeline from installed model packages; imports torch."""
    from pancreasseg import pipelines

    return pipelines.create(setup)


def identify(setup: Setup) -> list[str]:
    """The weights that `create` would use now: a package that was replaced since gets a fresh pipeline."""
    from pancreasseg import pipelines

    return [package.card.weights.sha256 for package in pipelines.choose(setup)]


def no_volume() -> RunError:
    """The error of a run without its CT."""
    return RunError("no-volume", "This CT is not loaded in the segmentation process.", "Load the CT again.")


class WorkerMemory:
    """Pipelines, volume and localizations of one worker.

    Args:
        create: makes a pipeline; replaced in tests.
        identify: names the weights that ``create`` would use.
    """

    def __init__(
        self,
        create: Callable[[Setup], Pipeline] = create,
        identify: Callable[[Setup], list[str]] = identify,
    ) -> None:
        self._create = create
        self._identify = identify
        self._pipelines: OrderedDict[str, Pipeline] = OrderedDict()
        self._name: str | None = None
        self._volume: Volume | None = None
        self._localizations: dict[str, Localization] = {}

    def key(self, setup: Setup) -> str:
        """What tells one pipeline from another.

        Raises:
            ModelError: unknown pipeline or model.
        """
        return json.dumps([setup.as_dict(), self._identify(setup)], sort_keys=True)

    def has(self, key: str) -> bool:
        """True when the pipeline is in memory."""
        return key in self._pipelines

    def pipeline(self, key: str, setup: Setup) -> Pipeline:
        """The pipeline, from memory or made now; raises what `pancreasseg.pipelines.create` raises."""
        if key not in self._pipelines:
            while len(self._pipelines) >= KEPT_PIPELINES:
                self._pipelines.popitem(last=False)
            self._pipelines[key] = self._create(setup)
        self._pipelines.move_to_end(key)
        return self._pipelines[key]

    @property
    def name(self) -> str | None:
        """The name under which the CT in memory was loaded; None when there is none."""
        return self._name

    @property
    def volume(self) -> Volume:
        """The loaded CT.

        Raises:
            RunError: none is loaded.
        """
        if self._volume is None:
            raise no_volume()
        return self._volume

    def unload(self) -> None:
        """Forget the CT and what was found in it."""
        self._name, self._volume = None, None
        self._localizations.clear()

    def load(
        self, name: str, array: np.ndarray, geometry: Geometry, source: Mapping[str, str], allow: Collection[str] = ()
    ) -> Volume:
        """Take a CT in place of the one before.

        Args:
            name: what later requests call it.
            array: HU in any numeric type, shape (K, J, I).
            geometry: its grid.
            source: facts for the provenance that identify no patient.
            allow: plausibility refusals to turn into findings, see `pancreasseg.io.checks.check_ct`.

        Raises:
            InputError: not a 3D array on this grid, voxels that are not finite, or no CT.
        """
        self.unload()
        if array.shape != geometry.shape:
            raise InputError(
                "array-shape",
                f"The array of shape {list(array.shape)} does not fit the grid of shape {list(geometry.shape)}.",
                "Choose a 3D CT volume.",
            )
        if array.dtype.kind not in "iuf":
            raise InputError("array-type", f"Voxels of type {array.dtype} are not HU.", "Choose a CT volume.")
        hu = to_hu(array)
        self._volume = Volume(hu, geometry, check_ct(hu, geometry, allow), dict(source))
        self._name = name
        return self._volume

    def localization(self, key: str) -> Localization | None:
        """Where this pipeline found the pancreas in the loaded CT, if it has looked."""
        return self._localizations.get(key)

    def remember(self, key: str, localization: Localization) -> None:
        """Keep a localization for the next run on the same CT."""
        self._localizations[key] = localization

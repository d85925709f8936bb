"""Installing as everyone does it: what takes its place in the store can run.

The store itself compares a package with its card. Whether there is such a pipeline, the weights belong to the networks,
and these give numbers is seen here, by putting the pipeline together and letting each network look at a small input.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pancreasseg import pipelines
from pancreasseg.core.errors import ModelError
from pancreasseg.core.setup import Setup
from pancreasseg.models.package import ModelPackage
from pancreasseg.models.store import Store

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Stage

_MASK_RCNN = "mask-rcnn"


def store(home: Path | str | None = None) -> Store:
    """The user's store, or that in ``home``; it lets in only what `check_package` passes."""
    return Store(home, check=check_package)


def check_package(package: ModelPackage) -> None:
    """See that a package can run.

    Where torch is not installed yet, only the card is looked at; a network that does not fit is then refused when it is
    loaded.

    Raises:
        ModelError: an unknown pipeline, networks or settings that it has no use for, weights of other networks, or
            networks that give no numbers.
    """
    card = package.card
    declaration = pipelines.declarations().get(card.pipeline)
    if declaration is None:
        raise pipelines.no_such_pipeline(card)
    roles = declaration.roles
    own = [network.role for network in card.networks]
    if not set(own) & set(roles):
        raise _does_not_fit(package, f"it has {' and '.join(own)}, but {card.pipeline} needs {' and '.join(roles)}")
    for network in card.networks:
        detects = card.pipeline == _MASK_RCNN and network.role == "localizer"
        if detects != (network.network == _MASK_RCNN):
            raise _does_not_fit(package, f"its {network.role} is {network.network}")
    if importlib.util.find_spec("torch") is not None:
        _try(package, complete=set(roles) <= set(own))


def _try(package: ModelPackage, *, complete: bool) -> None:
    """Put the pipeline together, or what there is of it, and let each network look at something."""
    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.pipelines.stages import stage_of

    stages: Sequence[Stage]
    if complete:
        stages = pipelines.create(Setup(model=package.card.name, device="cpu", precision="f32"), _Alone(package)).stages
    else:
        stages = [stage_of(package, network, Hardware("cpu", "f32")) for network in package.card.networks]
    for stage in stages:
        if stage.card.network != _MASK_RCNN:
            _look(package, stage)


def _look(package: ModelPackage, stage: Stage) -> None:
    try:
        output = stage.trial()
    except (RuntimeError, ValueError) as error:
        raise _does_not_fit(package, f"its {stage.card.role} cannot compute anything") from error
    classes = len(stage.card.classes) - stage.card.regions
    if len(output) != classes:
        raise _does_not_fit(package, f"its {stage.card.role} tells {len(output)} classes apart, the card {classes}")
    if not np.isfinite(output).all():
        raise _does_not_fit(package, f"what its {stage.card.role} computes are no finite numbers")


class _Alone(Store):
    """A store with nothing but one package, wherever it lies."""

    def __init__(self, package: ModelPackage) -> None:
        super().__init__(package.folder)
        self._package = package

    def get(self, _name: str) -> ModelPackage:
        return self._package


def _does_not_fit(package: ModelPackage, what: str) -> ModelError:
    return ModelError(
        "model-does-not-fit",
        f'The model "{package.card.name}" cannot run: {what}.',
        "Nothing was installed. Ask the people who made the model.",
    )

"""Pipelines by name: localizer, segmenter, fusion and post-processing put together.

A pipeline is one module of this room, which says so in its ``DECLARATIONS``. Its modules import torch, and what belongs
to it, when they build something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pancreasseg.core import steps
from pancreasseg.core.errors import InputError, ModelError
from pancreasseg.core.register import declared
from pancreasseg.core.setup import AUTOMATIC, Setup

if TYPE_CHECKING:
    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.models.card import Card, NetworkCard
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.models.store import Store
    from pancreasseg.pipelines.base import Pipeline, Stage
    from pancreasseg.pipelines.declaration import Declaration


def declarations() -> Mapping[str, Declaration]:
    """All pipelines by name, in the order of lists; loads no torch and no package that Slicer lacks."""
    return declared(__name__, "DECLARATIONS")


def names() -> tuple[str, ...]:
    """The names of all pipelines, in the order of lists."""
    return tuple(declarations())


def words() -> dict[str, str]:
    """What a person reads while a step is going on, by step: those of every run and those of all pipelines."""
    return {**steps.WORDS, **{step: text for each in declarations().values() for step, text in each.steps.items()}}


def create(setup: Setup = AUTOMATIC, store: Store | None = None) -> Pipeline:
    """Put a pipeline together from installed model packages.

    Args:
        setup: which pipeline and model, and where it computes.
        store: where packages are looked up; the user's own by default.

    Raises:
        ModelError: unknown pipeline or model, a model without the networks that the pipeline needs, a damaged one, or
            one whose card has settings that the pipeline does not.
        InputError: settings that the pipeline does not have, or of another type.
        RunError: the device or precision is not there.
    """
    choose(setup, store)

    # torch is loaded only now, when a network is really going to run
    from pancreasseg.inference.hardware import choose as choose_hardware
    from pancreasseg.models.package import while_replaced

    hardware = choose_hardware(setup.device, setup.precision)
    card, stages = while_replaced(lambda: _load(choose(setup, store), setup.pipeline, hardware))
    declaration = declarations()[setup.pipeline or card.pipeline]
    return declaration.pipeline(*stages, _settings(declaration, card, setup.options))


def _load(packages: list[ModelPackage], name: str | None, hardware: Hardware) -> tuple[Card, list[Stage]]:
    """The card whose settings count, and the networks of a pipeline, ready to run."""
    from pancreasseg.pipelines.base import Stage

    declaration = declarations()[name or packages[0].card.pipeline]
    parts = [_part(packages, role, declaration.name) for role in declaration.roles]
    return packages[0].card, [Stage(package, card, hardware) for package, card in parts]


def choose(setup: Setup = AUTOMATIC, store: Store | None = None) -> list[ModelPackage]:
    """The packages that `create` would use; loads no weights and no torch.

    Raises:
        ModelError: unknown pipeline or model, or nothing installed that fits.
    """
    from pancreasseg.models.store import Store

    store, name = store or Store(), setup.pipeline
    roles = None if name is None else _known(name).roles
    if setup.model is not None:
        packages = [store.get(part) for part in setup.model.split("+")]
    else:
        packages = [store.best(roles, lambda card: name is not None or _is_whole(card))]
    pipeline = name or packages[0].card.pipeline
    if pipeline not in declarations():
        raise no_such_pipeline(packages[0].card)
    for role in declarations()[pipeline].roles:
        _part(packages, role, pipeline)
    return packages


def no_such_pipeline(card: Card) -> ModelError:
    """The error of a model that is made for a pipeline which is not here."""
    return ModelError(
        "unknown-pipeline",
        f'The model "{card.name}" is made for the pipeline {card.pipeline!r}, which this version does not have.',
        f"It has {', '.join(names())}. Update PancreasSeg, or ask the people who made the model.",
    )


def _is_whole(card: Card) -> bool:
    """Whether the card's own pipeline is there and runs with this package alone."""
    own = declarations().get(card.pipeline)
    return own is not None and set(own.roles) <= {network.role for network in card.networks}


def _known(name: str) -> Declaration:
    if name not in declarations():
        raise ModelError(
            "unknown-pipeline", f"There is no pipeline called {name!r}.", f"Choose one of {', '.join(names())}."
        )
    return declarations()[name]


def _settings(declaration: Declaration, card: Card, given: Mapping[str, Any]) -> Any:
    """Settings of a pipeline: those of the card where it is made for this pipeline, then those given."""
    own = card.options if card.pipeline == declaration.name else {}
    for key, value in own.items():
        if not _fits(value, declaration.defaults.get(key)):
            raise _bad_option(card, f"{key} = {value!r} is no setting of the pipeline {declaration.name}")
    for key, value in given.items():
        if not _fits(value, declaration.defaults.get(key)):
            raise InputError(
                "bad-setting",
                f"{key} = {str(value)[:60]!r} is no setting of the pipeline {declaration.name}.",
                f"It has {', '.join(declaration.defaults)}.",
            )
    try:
        declaration.options(**own)
    except ValueError as error:
        raise _bad_option(card, str(error)) from error
    return declaration.options(**{**own, **declaration.preset, **given})


def _fits(value: object, default: object) -> bool:
    """Whether a value can take the place of a default: whole numbers that of others, lists that of tuples."""
    kinds = {(int, float), (list, tuple)}
    return type(value) is type(default) or (type(value), type(default)) in kinds


def _bad_option(card: Card, what: str) -> ModelError:
    return ModelError(
        "bad-card",
        f'The settings of the model "{card.name}" cannot be used: {what}.',
        "Update PancreasSeg, or ask the people who made the model.",
    )


def _part(packages: list[ModelPackage], role: str, pipeline: str) -> tuple[ModelPackage, NetworkCard]:
    for package in packages:
        for card in package.card.networks:
            if card.role == role:
                return package, card
    names = " + ".join(package.card.name for package in packages)
    raise ModelError(
        "model-does-not-fit",
        f"The model {names} has no {role} network, which the pipeline {pipeline} needs.",
        "Choose another model or another pipeline; 'pancreasseg models list' shows what fits what.",
    )

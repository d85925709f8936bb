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
from pancreasseg.pipelines.parts import (
    Cast,
    can_lead,
    completed,
    grouped,
    in_order,
    misfit,
    no_vote,
    parts_of,
    too_many,
    voters,
)

if TYPE_CHECKING:
    from pancreasseg.inference.hardware import Hardware
    from pancreasseg.models.card import Card
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.models.store import Store
    from pancreasseg.pipelines.base import Pipeline, Stage
    from pancreasseg.pipelines.declaration import Declaration
    from pancreasseg.pipelines.parts import Part


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
    cast(setup, store)

    # torch is loaded only now, when a network is really going to run
    from pancreasseg.inference.hardware import choose as choose_hardware
    from pancreasseg.models.package import while_replaced

    hardware = choose_hardware(setup.device, setup.precision)
    found, stages = while_replaced(lambda: _load(cast(setup, store), hardware))
    return found.declaration.pipeline(*stages, _settings(found.declaration, found.lead.card, setup.options))


def _load(found: Cast, hardware: Hardware) -> tuple[Cast, list[Stage]]:
    """The cast, and its networks, ready to run."""
    from pancreasseg.pipelines.ensemble_stage import EnsembleStage
    from pancreasseg.pipelines.stages import stage_of

    parts = zip(found.declaration.roles, found.parts, strict=True)
    stages = [stage_of(package, card, hardware, role) for role, (package, card) in parts]
    if found.voters:
        stages[-1] = EnsembleStage([stages[-1], *(stage_of(*part, hardware) for part in found.voters)])
    return found, stages


def choose(setup: Setup = AUTOMATIC, store: Store | None = None) -> list[ModelPackage]:
    """The packages that `create` would use, the one whose card counts first; see `cast`."""
    return cast(setup, store).packages


def cast(setup: Setup = AUTOMATIC, store: Store | None = None) -> Cast:
    """Which package plays which role when `create` is called; loads no weights and no torch.

    A role that the named ones leave open is played by the best installed package that can.

    Raises:
        ModelError: unknown pipeline or model, or nothing installed that fits.
    """
    from pancreasseg.models.store import Store

    store = store or Store()
    if setup.pipeline is not None:
        _known(setup.pipeline)
    named, voting = _named(setup, store)
    refusals = []
    for name in [setup.pipeline] if setup.pipeline else _pipelines_for(named, bool(voting)):
        try:
            return _cast_in(declarations()[name], named, voting, store)
        except ModelError as error:
            refusals.append(error)
    raise refusals[0]


def _named(setup: Setup, store: Store) -> tuple[list[ModelPackage], list[Part]]:
    """The packages that a setup speaks of, in the order of their roles, and the segmenters that vote beside them."""
    if setup.model is None:
        return [_best(store, setup.pipeline)], []
    names, others = grouped(setup.model)
    packages = [store.get(name) for name in names if name]
    if not names[-1]:
        packages.append(
            store.best(("segmenter",), lambda card: card.name not in others and _leads(card, setup.pipeline))
        )
    if not others:
        return packages, []
    _lead, *voting = voters([packages[-1], *(store.get(name) for name in others)])
    return packages, voting


def _cast_in(declaration: Declaration, named: list[ModelPackage], voting: list[Part], store: Store) -> Cast:
    """The cast of one pipeline."""
    roles = declaration.roles
    if len(named) > len(roles):
        raise too_many(named, declaration.name, roles)
    if voting and not declaration.votes:
        raise no_vote(declaration.name)
    found = completed(named, declaration, store)
    parts = []
    for role, part in zip(roles, in_order(named, roles) or parts_of(found, roles), strict=True):
        if part is None or not declaration.takes(role, part[1]):
            raise misfit(named, role, declaration.name)
        parts.append(part)
    for package, card in voting:
        if not declaration.takes(roles[-1], card):
            raise misfit([package], roles[-1], declaration.name)
    return Cast(declaration, tuple(parts), tuple(voting))


def _best(store: Store, name: str | None) -> ModelPackage:
    """The best installed package that can lead the pipeline, or that can run at all."""
    try:
        return store.best(None, lambda card: _leads(card, name))
    except ModelError as error:
        if name is None or not store.packages():
            raise
        raise ModelError(
            "no-model-for-pipeline",
            f"No installed model has what the pipeline {name} needs.",
            "Install one that has, or leave the pipeline to the model.",
        ) from error


def _pipelines_for(packages: list[ModelPackage], voting: bool) -> list[str]:
    """The pipelines that could be meant: those that the cards name, the last card's first, with a place for each.

    Where none of them has, as for two networks that each see the whole abdomen, any other that has; likewise where
    several vote and none of them asks more than one.
    """
    named = [name for name in dict.fromkeys(p.card.pipeline for p in reversed(packages)) if name in declarations()]
    if not named:
        raise no_such_pipeline(packages[-1].card)
    wide = [
        name for name, each in declarations().items() if len(each.roles) >= len(packages) and (each.votes or not voting)
    ]
    return [name for name in named if name in wide] or wide or named


def no_such_pipeline(card: Card) -> ModelError:
    """The error of a model that is made for a pipeline which is not here."""
    return ModelError(
        "unknown-pipeline",
        f'The model "{card.name}" is made for the pipeline {card.pipeline!r}, which this version does not have.',
        f"It has {', '.join(names())}. Update PancreasSeg, or ask the people who made the model.",
    )


def _leads(card: Card, name: str | None) -> bool:
    """Whether a package can be chosen for a pipeline, or for its own, when nobody has named a model."""
    wanted = declarations().get(name or card.pipeline)
    if wanted is None or not all(wanted.takes(network.role, network) for network in card.networks):
        return False
    return can_lead(card, wanted.roles, own=wanted.name == card.pipeline)


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
        declaration.settings(own)
    except ValueError as error:
        raise _bad_option(card, str(error)) from error
    try:
        return declaration.settings({**own, **declaration.preset, **given})
    except ValueError as error:
        sentence = f"The settings of the pipeline {declaration.name} cannot be used: {error}."
        raise InputError("bad-setting", sentence, "Give other values, or leave the settings out.") from error


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

"""Pipelines by name: localizer, segmenter, fusion and post-processing put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pancreasseg.core.errors import ModelError
from pancreasseg.models.card import Card, NetworkCard
from pancreasseg.models.package import ModelPackage
from pancreasseg.models.store import Store

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline

#: Each pipeline and the networks it is made of.
ROLES: dict[str, tuple[str, ...]] = {
    "two-stage": ("localizer", "segmenter"),
    "fast": ("localizer", "segmenter"),
    "whole-volume": ("whole-volume",),
    "single-stage": ("segmenter",),
    "hierarchical": ("localizer", "segmenter"),
    "mask-rcnn": ("localizer", "segmenter"),
}
NAMES = tuple(ROLES)

_Options = TypeVar("_Options")


def create(
    name: str | None = None,
    *,
    model: str | None = None,
    store: Store | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> Pipeline:
    """Put a pipeline together from installed model packages.

    Args:
        name: one of `NAMES`; by default the one that the model's card names.
        model: an installed package, or two joined by "+" (localizer, segmenter); by default the best installed one
            that the pipeline can use.
        store: where packages are looked up; the user's own by default.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "f32", "bf16" or "fp16".
        options: settings of the pipeline, e.g. those of `TwoStageOptions`; they come before those of the model's card.

    Raises:
        ModelError: unknown pipeline or model, a model without the networks that the pipeline needs, a damaged one, or
            one whose card has settings that the pipeline does not.
        RunError: the device or precision is not there.
    """
    packages = choose(name, model, store or Store())
    name = name or packages[0].card.pipeline
    parts = [_part(packages, role, name) for role in ROLES[name]]

    # torch is loaded only now, when a network is really going to run
    from pancreasseg.inference.hardware import choose as choose_hardware
    from pancreasseg.pipelines.base import Stage

    card = packages[0].card
    hardware = choose_hardware(device, precision)
    stages = [Stage(package, card, hardware) for package, card in parts]
    if name in ("two-stage", "fast"):
        from pancreasseg.pipelines.two_stage import TwoStageOptions, TwoStagePipeline

        boxes = {"boxes": 1} if name == "fast" else {}
        return TwoStagePipeline(stages[0], stages[1], _settings(TwoStageOptions, card, name, {**boxes, **options}))
    if name == "whole-volume":
        from pancreasseg.pipelines.whole_volume import WholeVolumeOptions, WholeVolumePipeline

        return WholeVolumePipeline(stages[0], _settings(WholeVolumeOptions, card, name, options))
    if name == "hierarchical":
        from pancreasseg.pipelines.hierarchical import HierarchicalOptions, HierarchicalPipeline

        return HierarchicalPipeline(stages[0], stages[1], _settings(HierarchicalOptions, card, name, options))
    if name == "mask-rcnn":
        from pancreasseg.pipelines.mask_rcnn import MaskRcnnOptions, MaskRcnnPipeline

        return MaskRcnnPipeline(stages[0], stages[1], _settings(MaskRcnnOptions, card, name, options))
    from pancreasseg.pipelines.single_stage import SingleStageOptions, SingleStagePipeline

    return SingleStagePipeline(stages[0], _settings(SingleStageOptions, card, name, options))


def choose(name: str | None, model: str | None, store: Store) -> list[ModelPackage]:
    """The packages that `create` would use; loads no weights and no torch.

    Raises:
        ModelError: unknown pipeline or model, or nothing installed that fits.
    """
    if name is not None and name not in ROLES:
        raise ModelError(
            "unknown-pipeline", f"There is no pipeline called {name!r}.", f"Choose one of {', '.join(NAMES)}."
        )
    if model is not None:
        packages = [store.get(part) for part in model.split("+")]
    else:
        packages = [store.best(None if name is None else ROLES[name])]
    for role in ROLES[name or packages[0].card.pipeline]:
        _part(packages, role, name or packages[0].card.pipeline)
    return packages


def _settings(kind: type[_Options], card: Card, pipeline: str, given: Mapping[str, Any]) -> _Options:
    """Settings of a pipeline: those of the card where it is made for this pipeline, then those given."""
    own = card.options if card.pipeline == pipeline else {}
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    for key, value in own.items():
        fits = type(value) is type(defaults.get(key)) or (type(value) is int and type(defaults.get(key)) is float)
        if not fits:
            raise _bad_option(card, f"{key} = {value!r} is no setting of the pipeline {pipeline}")
    try:
        kind(**own)
    except ValueError as error:
        raise _bad_option(card, str(error)) from error
    return kind(**{**own, **given})


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

"""Which network of which package plays which role: any localizer goes with any segmenter. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pancreasseg.core.errors import ModelError

if TYPE_CHECKING:
    from pancreasseg.models.card import Card
    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.models.store import Store

Part = tuple["ModelPackage", "NetworkCard"]


def grouped(model: str) -> tuple[list[str], list[str]]:
    """The names in "a+b,c": those that play a role each (a, b), and those that vote with the last of them (c)."""
    groups = [group.split(",") for group in model.split("+")]
    if any(len(group) > 1 for group in groups[:-1]):
        raise ModelError(
            "model-does-not-fit",
            f"In {model} several packages would find the box; only segmenters can vote.",
            "Write localizer+segmenter,segmenter.",
        )
    return [group[0] for group in groups], groups[-1][1:]


def voters(packages: Sequence[ModelPackage]) -> list[Part]:
    """The segmenter of each package that votes beside another.

    Raises:
        ModelError: one has none.
    """
    found = []
    for package in packages:
        part = _find([package], "segmenter", True)
        if part is None:
            raise misfit([package], "segmenter", "of an ensemble")
        found.append(part)
    return found


def serves(card: NetworkCard, role: str) -> bool:
    """Whether a network can play a role that is not its own.

    A network that sees the whole upper abdomen tells where the pancreas is, and one trained by nnU-Net slides over as
    much as it is given.
    """
    if role == "localizer" and card.role == "whole-volume":
        return True
    return card.conventions is not None and {role, card.role} <= {"localizer", "segmenter"}


def parts_of(packages: Sequence[ModelPackage], roles: Sequence[str]) -> list[Part | None]:
    """The network for each role among the packages in their order, or None where there is none.

    Networks of that very role come first. Where there is a package for every role, each plays one, if need be one that
    is not its own.
    """
    chosen: list[Part | None] = []
    left = list(packages)
    enough = len(packages) >= len(roles)
    for role in roles:
        part = _find(left, role, enough) or _find(packages, role, enough)
        chosen.append(part)
        if part is not None and enough:
            left = [package for package in left if package is not part[0]]
    return chosen


def completed(packages: Sequence[ModelPackage], roles: Sequence[str], store: Store) -> list[ModelPackage]:
    """The packages, and the best other ones of the store for the roles that these do not play."""
    result = list(packages)
    for role, part in zip(roles, parts_of(packages, roles), strict=True):
        if part is None:
            known = [package for package in store.packages() if package not in packages]
            exact = [package for package in known if _find([package], role, False) is not None]
            real = [package for package in exact if not package.card.synthetic]
            wide = [package for package in known if _looks_wide(package, role)]
            result += (real or wide or exact)[:1]
    return result


def _looks_wide(package: ModelPackage, role: str) -> bool:
    """Whether it sees the whole upper abdomen and so tells where the pancreas is, for want of a better localizer."""
    return role == "localizer" and any(card.role == "whole-volume" for card in package.card.networks)


def can_lead(card: Card, roles: Sequence[str], *, own: bool) -> bool:
    """Whether a package can be run when nobody has named one: it has all networks, or any localizer will do for it.

    Args:
        card: of the package.
        roles: networks that the pipeline is made of.
        own: whether the pipeline is the one that the card names.
    """
    there = {network.role for network in card.networks}
    trained = any(network.role == "segmenter" and network.conventions is not None for network in card.networks)
    return set(roles) <= there or (own and trained and set(roles) - there <= {"localizer"})


def misfit(packages: Sequence[ModelPackage], role: str, pipeline: str) -> ModelError:
    """The error for packages without a network for a role."""
    names = " + ".join(package.card.name for package in packages)
    return ModelError(
        "model-does-not-fit",
        f"The model {names} has no {role} network, which the pipeline {pipeline} needs.",
        "Choose another model or another pipeline; 'pancreasseg models list' shows what fits what.",
    )


def _find(packages: Sequence[ModelPackage], role: str, others: bool) -> Part | None:
    """The first network of a role; with ``others`` also one of another role that can play it."""
    pairs = [(package, card) for package in packages for card in package.card.networks]
    exact = next((pair for pair in pairs if pair[1].role == role), None)
    if exact is not None or not others:
        return exact
    return next((pair for pair in pairs if serves(pair[1], role)), None)

"""Which network of which package plays which role: any localizer goes with any segmenter. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pancreasseg.core.errors import ModelError

if TYPE_CHECKING:
    from pancreasseg.models.card import Card
    from pancreasseg.models.network_card import NetworkCard
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.models.store import Store
    from pancreasseg.pipelines.declaration import Declaration

Part = tuple["ModelPackage", "NetworkCard"]


@dataclass(frozen=True)
class Cast:
    """Which package plays which role in a run.

    Attributes:
        declaration: of the pipeline.
        parts: package and network for each of its roles, in their order.
        voters: the segmenters that vote with the last one.
    """

    declaration: Declaration
    parts: tuple[Part, ...]
    voters: tuple[Part, ...] = ()

    @property
    def lead(self) -> ModelPackage:
        """The package of the last role, whose card settles what a person has not chosen."""
        return self.parts[-1][0]

    @property
    def localizer(self) -> ModelPackage | None:
        """The package that finds the box, where that is another than the lead."""
        package = self.parts[0][0]
        return None if package.card.name == self.lead.card.name else package

    @property
    def segmenters(self) -> list[ModelPackage]:
        """The lead, and those that vote with it."""
        return [self.lead, *(package for package, _card in self.voters)]

    @property
    def packages(self) -> list[ModelPackage]:
        """All of them, each once, the lead first."""
        used = [self.lead, *(package for package, _card in (*self.parts, *self.voters))]
        return list({package.card.name: package for package in used}.values())


def grouped(model: str) -> tuple[list[str], list[str]]:
    """The names in "a+b,c": those that play a role each (a, b), and those that vote with the last of them (c).

    The last that plays a role may be empty ("a+"): the best one installed.

    Raises:
        ModelError: several find the box, another name is missing, or one would vote twice.
    """
    groups = [group.split(",") for group in model.split("+")]
    if any(len(group) > 1 for group in groups[:-1]):
        raise ModelError(
            "model-does-not-fit",
            f"In {model} several packages would find the box; only segmenters can vote.",
            "Write localizer+segmenter,segmenter.",
        )
    roles, votes = [group[0] for group in groups], groups[-1][1:]
    if "" in (*roles[:-1], *votes):
        raise ModelError(
            "model-does-not-fit",
            f"A name is missing in {model}; only the segmenter's may be left out.",
            "Write localizer+segmenter, localizer+ or localizer+segmenter,segmenter.",
        )
    if len({roles[-1], *votes}) < 1 + len(votes):
        raise ModelError(
            "model-does-not-fit", f"In {model} one segmenter would vote twice.", "Name each segmenter once."
        )
    return roles, votes


def voters(packages: Sequence[ModelPackage]) -> list[Part]:
    """The segmenter of each package that votes with others.

    Raises:
        ModelError: one has none.
    """
    found = []
    for package in packages:
        part = _find([package], "segmenter", True)
        if part is None:
            raise ModelError(
                "model-does-not-fit",
                f"The model {package.card.name} cannot vote: it has no network that segments inside a box.",
                "Choose one that has, or let it find the box.",
            )
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


def localizes(card: Card) -> bool:
    """Whether a package has a network that finds the box for another one."""
    return any(network.role == "localizer" or serves(network, "localizer") for network in card.networks)


def segments(card: Card) -> bool:
    """Whether a package has a network that segments inside a box, and so can vote with others."""
    return any(network.role == "segmenter" or serves(network, "segmenter") for network in card.networks)


def in_order(packages: Sequence[ModelPackage], roles: Sequence[str]) -> list[Part] | None:
    """Each package in the role that it was named for; None where these are not as many, or one cannot play it."""
    if len(packages) != len(roles):
        return None
    parts = [_find([package], role, True) for package, role in zip(packages, roles, strict=True)]
    return [part for part in parts if part is not None] if None not in parts else None


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


def completed(packages: Sequence[ModelPackage], declaration: Declaration, store: Store) -> list[ModelPackage]:
    """The packages, and the best other ones of the store for the roles of a pipeline that these do not play."""
    result = list(packages)
    for role, part in zip(declaration.roles, parts_of(packages, declaration.roles), strict=True):
        if part is None:
            known = [package for package in store.packages() if package not in packages]
            exact = [package for package in known if _has(package, role, declaration)]
            real = [package for package in exact if not package.card.synthetic]
            wide = [package for package in known if _looks_wide(package, role)]
            result += (real or wide or exact)[:1]
    return result


def _has(package: ModelPackage, role: str, declaration: Declaration) -> bool:
    """Whether a package has a network of that very role that the pipeline can use."""
    part = _find([package], role, False)
    return part is not None and declaration.takes(role, part[1])


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


def too_many(packages: Sequence[ModelPackage], pipeline: str, roles: Sequence[str]) -> ModelError:
    """The error for more packages than a pipeline has roles."""
    names = " + ".join(package.card.name for package in packages)
    return ModelError(
        "model-does-not-fit",
        f"The pipeline {pipeline} has no place for {names}: it is made of a {' and a '.join(roles)}.",
        "Choose another pipeline, or one model.",
    )


def no_vote(pipeline: str) -> ModelError:
    """The error for a pipeline that asks one segmenter alone."""
    return ModelError(
        "model-does-not-fit",
        f"In the pipeline {pipeline} several models cannot vote.",
        "Choose two-stage or fast, or one model.",
    )


def _find(packages: Sequence[ModelPackage], role: str, others: bool) -> Part | None:
    """The first network of a role; with ``others`` also one of another role that can play it."""
    pairs = [(package, card) for package in packages for card in package.card.networks]
    exact = next((pair for pair in pairs if pair[1].role == role), None)
    if exact is not None or not others:
        return exact
    return next((pair for pair in pairs if serves(pair[1], role)), None)

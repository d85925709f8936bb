"""The weights of a package as the beginning of another training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safetensors.torch import load as load_tensors
from torch import Tensor

from pancreasseg.core.errors import InputError
from pancreasseg.lab.training.recipes.recipe import Part
from pancreasseg.models.card import Card
from pancreasseg.models.network_card import NetworkCard
from pancreasseg.models.package import ModelPackage


def networks_of(package: ModelPackage) -> dict[str, dict[str, Tensor]]:
    """The trained weights of every member of a package, float32."""
    members: dict[str, dict[str, Tensor]] = {}
    for key, value in load_tensors(package.read_weights()).items():
        member, _, name = key.partition(".")
        members.setdefault(member, {})[name] = value.float() if value.is_floating_point() else value
    return members


def start_of(package: ModelPackage, part: Part, fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a network of a recipe begins with.

    Args:
        package: with a network of the same role and kind; of an ensemble the first member counts.
        part: the network in training.
        fresh: its own first weights; outputs for classes that the package does not know keep these.

    Raises:
        InputError: the package has no such network, or one of other widths.
    """
    entry = next((card for card in package.card.networks if card.role == part.role), None)
    if entry is None or entry.network != part.network:
        raise does_not_fit(package.card, f"it has no {part.role} of the kind {part.network}")
    return adapted(package, entry, part.classes, fresh)


def adapted(
    package: ModelPackage, entry: NetworkCard, classes: Sequence[str], fresh: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a network of a package for a network of the same build, perhaps with other classes.

    Where classes differ the outputs are rebuilt: those of classes that both know are taken over by name.

    Args:
        package: with the weights.
        entry: the network in it.
        classes: that the new network has, background first.
        fresh: its own first weights.

    Raises:
        InputError: the networks differ in more than their outputs.
    """
    given = networks_of(package)[entry.members[0]]
    if set(given) != set(fresh):
        raise does_not_fit(package.card, "its network is built otherwise")
    same = tuple(entry.classes) == tuple(classes)
    rows = [(new, entry.classes.index(name)) for new, name in enumerate(classes) if name in entry.classes]
    result = {}
    for key, own in fresh.items():
        old = given[key]
        outputs = old.shape[:1] == (len(entry.classes),) and own.shape[:1] == (len(classes),)
        if old.shape == own.shape and (same or not outputs):
            result[key] = old
        elif outputs and old.shape[1:] == own.shape[1:]:
            result[key] = own.detach().clone()
            for new, known in rows:
                result[key][new] = old[known].to(own.device)
        else:
            raise does_not_fit(package.card, f"{key} has another size")
    return result


def does_not_fit(card: Card, why: str) -> InputError:
    """The error of a package that a training cannot begin with."""
    return InputError(
        "start-does-not-fit",
        f'The training cannot begin with the model "{card.name}": {why}.',
        "Begin with a model of the same recipe and settings, or without --from.",
    )


def origin(package: ModelPackage) -> dict[str, str]:
    """What a card says of the weights that a training began with."""
    card = package.card
    return {"name": card.name, "version": card.version, "sha256": card.weights.sha256, "licence": card.licence}

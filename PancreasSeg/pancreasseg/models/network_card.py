"""What a card says about one network: which it is, its classes, and its way from CT to input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pancreasseg.core.errors import ModelError
from pancreasseg.grids.conventions import INTENSITIES, SCHEMES, Conventions
from pancreasseg.grids.network_input import VERSION, Preprocessing
from pancreasseg.models.card_entry import CardEntry, bad_card

ROLES = ("localizer", "segmenter", "whole-volume")
AXES = ("kji", "ijk")

#: As in `card_entry`: beyond these nothing makes sense.
_SPACING_MM, _DECIMATION = (0.1, 50.0), 64
_HU, _SCALE, _SHIFT, _ARGUMENT = 1e5, (1e-7, 1e4), 1e5, 4096

_AXIS_PAIRS = ({"L", "R"}, {"P", "A"}, {"S", "I"})


@dataclass(frozen=True)
class NetworkCard:
    """One network of a package.

    Attributes:
        role: "localizer", "segmenter" or "whole-volume".
        network: name for `pancreasseg.networks.build`.
        arguments: for it.
        members: tensor prefixes in the weights file; several are an ensemble (mean of their softmax).
        classes: names of the output channels, background first.
        pancreas: index of the pancreas in ``classes``.
        preprocessing: from CT to input.
        conventions: what else its training laid down about that way, for networks that were trained elsewhere; or None.
        organ: indices of the classes that count as pancreas, such as a tumour in it; the pancreas first.
        regions: whether the outputs are regions, each judged by its own sigmoid, with none for the background.
    """

    role: str
    network: str
    arguments: dict[str, Any]
    members: tuple[str, ...]
    classes: tuple[str, ...]
    pancreas: int
    preprocessing: Preprocessing
    conventions: Conventions | None = None
    organ: tuple[int, ...] = ()
    regions: bool = False


def read_network(entry: CardEntry) -> NetworkCard:
    """Check what a card says about a network.

    Raises:
        ModelError: an entry is missing or wrong; the sentence names it.
    """
    classes = entry.texts("classes")
    regions = entry.get("regions", bool, optional=True) is True
    pancreas = entry.integer("pancreas", low=1)
    if pancreas >= len(classes):
        raise bad_card(entry.place("pancreas"), f"there is no class {pancreas}, only 0 to {len(classes) - 1}")
    members = entry.texts("members")
    for prefix in members:
        if "." in prefix:
            raise bad_card(entry.place("members"), f'"{prefix}" has a dot in it')
    return NetworkCard(
        role=entry.choice("role", ROLES),
        network=entry.text("network"),
        arguments=_arguments(entry, len(classes) - regions),
        members=members,
        classes=classes,
        pancreas=pancreas,
        preprocessing=_preprocessing(entry.entry("preprocessing")),
        conventions=_conventions(entry),
        organ=_organ(entry, pancreas, len(classes)),
        regions=regions,
    )


def _arguments(entry: CardEntry, classes: int) -> dict[str, Any]:
    """Whether the network has such arguments is seen when it is built; here, that none asks for an absurd one."""
    arguments = dict(entry.get("arguments", Mapping))
    left = [(value, f"{entry.place('arguments')}.{name}") for name, value in arguments.items()]
    while left:
        value, where = left.pop()
        if isinstance(value, Mapping):
            left += [(inner, f"{where}.{name}") for name, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(inner, where) for inner in value]
        elif isinstance(value, (int, float)) and not 0 <= value <= _ARGUMENT:
            raise bad_card(where, f"{value:g} is no number that makes sense here")
    if arguments.get("classes", classes) != classes:
        raise bad_card(
            entry.place("arguments") + ".classes", f"{arguments['classes']} is not the number of classes, {classes}"
        )
    return arguments


def _organ(entry: CardEntry, pancreas: int, classes: int) -> tuple[int, ...]:
    """The classes that count as pancreas; the pancreas alone where the card says nothing."""
    values = entry.get("organ", list, optional=True)
    if values is None:
        return (pancreas,)
    whole = all(isinstance(value, int) and 0 < value < classes for value in values)
    if not whole or len(set(values)) < len(values) or values[:1] != [pancreas]:
        raise bad_card(entry.place("organ"), "the pancreas and then other classes are expected, each once")
    return tuple(values)


def _conventions(entry: CardEntry) -> Conventions | None:
    if entry.get("conventions", Mapping, optional=True) is None:
        return None
    part = entry.entry("conventions")
    values = {name: part.get(name, list) for name in ("transposition", "mirror_axes")}
    try:
        return Conventions(
            scheme=part.choice("scheme", SCHEMES),
            order=part.integer("order"),
            order_across=part.integer("order_across"),
            separate=part.get("separate", bool, optional=True),
            transposition=tuple(values["transposition"]),
            dimensions=part.integer("dimensions"),
            intensities=part.choice("intensities", INTENSITIES),
            step=part.number("step"),
            mirror_axes=tuple(values["mirror_axes"]),
        )
    except (TypeError, ValueError) as error:
        raise bad_card(entry.place("conventions"), str(error)) from error


def _preprocessing(entry: CardEntry) -> Preprocessing:
    orientation = entry.text("orientation")
    if [next((n for n, pair in enumerate(_AXIS_PAIRS) if c in pair), None) for c in orientation] != [0, 1, 2]:
        raise bad_card(
            entry.place("orientation"), f'"{orientation}" is not like LPS: one of L R, one of P A, one of S I'
        )
    spacing = entry.numbers("spacing_mm", 3, positive=True)
    size = entry.sizes("size")
    if spacing is not None and not _SPACING_MM[0] <= min(spacing) <= max(spacing) <= _SPACING_MM[1]:
        raise bad_card(
            entry.place("spacing_mm"), f"voxels of a CT are {_SPACING_MM[0]} to {_SPACING_MM[1]:.0f} mm large"
        )
    decimation = entry.get("decimation", int, optional=True)
    if decimation is not None:
        decimation = entry.integer("decimation", 1, _DECIMATION)
    if sum(given is not None for given in (spacing, size, decimation)) != 1:
        raise bad_card(entry.place("size"), "exactly one of spacing_mm, size and decimation must be given")
    window = entry.numbers("window_hu", 2)
    if window is not None and window[0] >= window[1]:
        raise bad_card(entry.place("window_hu"), "the first number must be below the second")
    if window is not None and max(abs(bound) for bound in window) > _HU:
        raise bad_card(entry.place("window_hu"), "no CT has such HU")
    return Preprocessing(
        version=_version(entry),
        orientation=orientation,
        array_axes=entry.choice("array_axes", AXES),
        spacing_mm=None if spacing is None else (spacing[0], spacing[1], spacing[2]),
        size=size,
        decimation=decimation,
        window_hu=None if window is None else (window[0], window[1]),
        scale=entry.number("scale", *_SCALE),
        shift=entry.number("shift", largest=_SHIFT),
        antialias=entry.get("antialias", bool, optional=True) is not False,
        patch=entry.sizes("patch"),
        own_slices=bool(entry.get("own_slices", bool, optional=True)),
        neighbours_mm=_neighbours(entry),
        context_mm=entry.number("context_mm") if entry.get("context_mm", (int, float), optional=True) else 0.0,
    )


def _neighbours(entry: CardEntry) -> tuple[float, ...] | None:
    """Where the channels of a network that sees neighbouring slices lie."""
    given = entry.get("neighbours_mm", list, optional=True)
    if given is None:
        return None
    places = entry.numbers("neighbours_mm", len(given))
    if not places or entry.get("array_axes", str) != "kji":
        raise bad_card(entry.place("neighbours_mm"), 'distances in mm are expected, and array_axes "kji"')
    return places


def _version(entry: CardEntry) -> int:
    """Of the way from CT to input that the network learned on; cards that say nothing are of the first one."""
    if entry.get("version", int, optional=True) is None:
        return 1
    version = entry.integer("version", low=1)
    if version > VERSION:
        raise ModelError(
            "preprocessing-newer",
            f"The model's networks learned on CTs that were prepared in a newer way ({version}); this version of "
            f"PancreasSeg knows the ways up to {VERSION}.",
            "Update PancreasSeg, or install a version of the model made for this one.",
        )
    return version

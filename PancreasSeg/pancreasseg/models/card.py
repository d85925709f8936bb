"""What a model package says about itself: ``model.json``, read and checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pancreasseg.core.errors import ModelError
from pancreasseg.grids.conventions import INTENSITIES, SCHEMES, Conventions
from pancreasseg.grids.network_input import VERSION, Preprocessing

FORMAT = 1
ROLES = ("localizer", "segmenter", "whole-volume")
PHASES = ("portal-venous", "arterial", "unenhanced", "any")
AXES = ("kji", "ijk")
#: The one network that is a program.
TORCHSCRIPT = "torchscript"

#: Beyond these no network, grid or card makes sense; what claims so is a mistake, or made to exhaust the computer.
_DEPTH, _LARGEST, _LONGEST = 16, 1e15, 200
_SPACING_MM, _SIDE, _VOXELS, _DECIMATION = (0.1, 50.0), 1024, 1 << 27, 64
_HU, _SCALE, _SHIFT, _ARGUMENT = 1e5, (1e-7, 1e4), 1e5, 4096
_LINE = 100.0  # of one overlap against another

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # but for line ends and tabs
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


@dataclass(frozen=True)
class Figure:
    """One measured figure, with the data it was measured on; ``sd`` and ``cases`` are None where not published."""

    metric: str
    value: float
    sd: float | None
    data: str
    cases: int | None
    note: str


@dataclass(frozen=True)
class ExpectedOverlap:
    """A line from a network's own confidence to the DSC to be expected, fitted on held-out patients.

    Attributes:
        offset, slope: expected DSC = offset + slope * `pancreasseg.pipelines.confidence.soft_dice`.
        error: its mean absolute error, each patient left out in turn.
        cases: how many patients there were.
    """

    offset: float
    slope: float
    error: float
    cases: int

    def of(self, confidence: float) -> float:
        """The DSC to be expected, 0 to 1."""
        return min(1.0, max(0.0, self.offset + self.slope * confidence))


@dataclass(frozen=True)
class Weights:
    """The weights file beside the card: its name, SHA256 (hexadecimal) and size in bytes."""

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Card:
    """A checked ``model.json``.

    ``training`` has the keys data, licence, cases and recipe, as far as known. ``synthetic`` says that the networks saw
    no CT of a person: such a model is for trying the software, and its figures do not compare with others'.
    ``expected_overlap`` is None where nobody has calibrated it.
    ``options`` are settings by name that the package was made for; they hold when its own ``pipeline`` runs.
    """

    name: str
    version: str
    title: str
    description: str
    pipeline: str
    options: dict[str, Any]
    networks: tuple[NetworkCard, ...]
    contrast_phase: str
    intended_use: str
    not_for: tuple[str, ...]
    training: dict[str, Any]
    synthetic: bool
    figures: tuple[Figure, ...]
    licence: str
    citation: str
    weights: Weights
    expected_overlap: ExpectedOverlap | None = None

    @property
    def carries_code(self) -> bool:
        """Whether a network of the package is a program, which runs with it; all others are numbers alone."""
        return any(network.network == TORCHSCRIPT for network in self.networks)

    def network(self, role: str) -> NetworkCard:
        """The network with this role.

        Raises:
            ModelError: the package has none.
        """
        for card in self.networks:
            if card.role == role:
                return card
        raise ModelError(
            "role-missing",
            f'The model "{self.name}" has no {role}; it has {", ".join(card.role for card in self.networks)}.',
            f'Use it with the pipeline "{self.pipeline}", or choose another model.',
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Read and check a card.

        Raises:
            ModelError: not JSON, or not a card of this format; the sentence names the entry that is wrong.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise _bad("the file is not JSON", str(error)) from error
        except RecursionError as error:
            raise _bad("the file is no card", "it is nested too deeply") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Card:
        """Check a card that was parsed already; raises like `from_json`."""
        _check_plain(data)
        entry = _Entry(data, "")
        if entry.integer("format") != FORMAT:
            raise ModelError(
                "card-format",
                f"The model card has format {data['format']}; this version of PancreasSeg reads format {FORMAT}.",
                "Update PancreasSeg, or install a version of the model made for this one.",
            )
        networks = tuple(_network(part) for part in entry.entries("networks"))
        if _clash(networks):
            raise _bad("networks", "two networks or members share a name")
        if len({card.role for card in networks}) != len(networks):
            raise _bad("networks", "two networks share a role")
        training = entry.get("training", dict, optional=True) or {}
        return cls(
            name=checked_name(entry.text("name")),
            version=entry.short("version"),
            title=entry.short("title"),
            description=entry.text("description", empty=True),
            pipeline=entry.short("pipeline"),
            options=_options(entry),
            networks=networks,
            contrast_phase=entry.choice("contrast_phase", PHASES),
            intended_use=entry.text("intended_use"),
            not_for=entry.texts("not_for", empty=True),
            training=dict(training),
            synthetic=bool(entry.get("synthetic", bool, optional=True)),
            figures=tuple(_figure(part) for part in entry.entries("figures", empty=True)),
            licence=entry.text("licence"),
            citation=entry.text("citation", empty=True),
            weights=_weights(entry.entry("weights")),
            expected_overlap=_expected_overlap(entry),
        )


def _clash(networks: Sequence[NetworkCard]) -> bool:
    """Whether weights are claimed twice; one network may have two roles, and see the CT in another way in each."""
    owners: dict[str, NetworkCard] = {}
    for card in networks:
        for prefix in card.members:
            other = owners.setdefault(prefix, card)
            same = (other.network, other.arguments, other.classes) == (card.network, card.arguments, card.classes)
            if not same or (other is card and card.members.count(prefix) > 1):
                return True
    return False


def checked_name(name: str) -> str:
    """The name of a package, which is also the name of its folder.

    Raises:
        ModelError: not 2 to 64 small letters, digits, dots, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise _bad("name", f"{name[:70]!r} is not 2 to 64 small letters, digits, '.', '-' or '_'")
    return name


def _bad(where: str, what: str) -> ModelError:
    return ModelError(
        "bad-card",
        f"The model card cannot be used: {where[-_LONGEST:]}: {what[:_LONGEST]}.",
        "Install the model again, or ask the people who made it.",
    )


def _check_plain(data: Any) -> None:
    """Refuse what no card needs and much code stumbles over: deep nesting, endless numbers, texts that are none."""
    left: list[tuple[Any, str, int]] = [(data, "", 0)]
    while left:
        value, where, depth = left.pop()
        if depth > _DEPTH:
            raise _bad(where, "it is nested too deeply")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or not _is_plain_text(key):
                    raise _bad(where or "model.json", "a name in it is no plain text")
            left += [(entry, f"{where}.{key}" if where else key, depth + 1) for key, entry in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(entry, f"{where}[{number}]", depth + 1) for number, entry in enumerate(value)]
        elif isinstance(value, str):
            if not _is_plain_text(value):
                raise _bad(where, "it holds characters that are no text")
        elif isinstance(value, (int, float)) and not -_LARGEST <= value <= _LARGEST:
            raise _bad(where, "it is not a finite number of a sensible size")


def _is_plain_text(text: str) -> bool:
    """No halves of characters, which cannot be written to a file, and no control characters, which steer terminals."""
    return _NO_TEXT.search(text) is None


class _Entry:
    """A JSON object together with where it stands in the card, for sentences that name the place."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise _bad(where or "model.json", "an object {...} is expected")
        self._data = data
        self._where = where

    def place(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def get(self, key: str, kind: type | tuple[type, ...], *, optional: bool = False) -> Any:
        value = self._data.get(key)
        if value is None and optional:
            return None
        if key not in self._data:
            raise _bad(self.place(key), "it is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _bad(self.place(key), f"{json.dumps(value)[:60]} is not what belongs here")
        return value

    def text(self, key: str, *, empty: bool = False) -> str:
        value = str(self.get(key, str))
        if not value.strip() and not empty:
            raise _bad(self.place(key), "it is empty")
        return value

    def short(self, key: str) -> str:
        value = self.text(key)
        if len(value) > _LONGEST or "\n" in value:
            raise _bad(self.place(key), f"it is longer than a line of {_LONGEST} characters")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise _bad(self.place(key), f'"{value[:60]}" is none of {", ".join(allowed)}')
        return value

    def integer(self, key: str, low: int = 0, high: float = _LARGEST) -> int:
        value = int(self.get(key, int))
        if not low <= value <= high:
            raise _bad(self.place(key), f"{value} is {f'below {low}' if value < low else f'above {high:.0f}'}")
        return value

    def number(self, key: str, smallest: float = 0.0, largest: float = _LARGEST) -> float:
        """A number; ``smallest`` and ``largest`` hold for its absolute value."""
        value = float(self.get(key, (int, float)))
        if not smallest <= abs(value) <= largest:  # nor is NaN
            raise _bad(self.place(key), f"{value:g} is no number that makes sense here")
        return value

    def numbers(self, key: str, count: int, *, positive: bool = False) -> tuple[float, ...] | None:
        values = self.get(key, list, optional=True)
        if values is None:
            return None
        good = len(values) == count and all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and (v > 0 or not positive)
            for v in values
        )
        if not good:
            raise _bad(self.place(key), f"{count} {'positive ' if positive else ''}numbers are expected")
        return tuple(float(v) for v in values)

    def sizes(self, key: str) -> tuple[int, int, int] | None:
        values = self.numbers(key, 3, positive=True)
        if values is None:
            return None
        if any(v != int(v) for v in values):
            raise _bad(self.place(key), "whole numbers are expected")
        if max(values) > _SIDE or math.prod(values) > _VOXELS:
            raise _bad(self.place(key), f"no network sees {' x '.join(f'{v:.0f}' for v in values)} voxels at once")
        i, j, k = (int(v) for v in values)
        return (i, j, k)

    def texts(self, key: str, *, empty: bool = False) -> tuple[str, ...]:
        values = self.get(key, list)
        if not all(isinstance(v, str) and v for v in values) or not (values or empty):
            raise _bad(self.place(key), "a list of texts is expected")
        return tuple(values)

    def entry(self, key: str) -> _Entry:
        return _Entry(self.get(key, Mapping), self.place(key))

    def entries(self, key: str, *, empty: bool = False) -> Iterator[_Entry]:
        values = self.get(key, list)
        if not values and not empty:
            raise _bad(self.place(key), "it is empty")
        for index, value in enumerate(values):
            yield _Entry(value, f"{self.place(key)}[{index}]")


def _options(entry: _Entry) -> dict[str, Any]:
    """Plain values by name; whether the pipeline has such settings is seen when it is put together."""
    options = dict(entry.get("options", Mapping, optional=True) or {})
    for name, value in options.items():
        if not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
            raise _bad(f"{entry.place('options')}.{name}", "a number, a text, true or false is expected")
        if name.endswith("threshold") and isinstance(value, (int, float)) and not 0 < value < 1:
            raise _bad(f"{entry.place('options')}.{name}", "a probability between 0 and 1 is expected")
    return options


def _network(entry: _Entry) -> NetworkCard:
    classes = entry.texts("classes")
    regions = entry.get("regions", bool, optional=True) is True
    pancreas = entry.integer("pancreas", low=1)
    if pancreas >= len(classes):
        raise _bad(entry.place("pancreas"), f"there is no class {pancreas}, only 0 to {len(classes) - 1}")
    members = entry.texts("members")
    for prefix in members:
        if "." in prefix:
            raise _bad(entry.place("members"), f'"{prefix}" has a dot in it')
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


def _arguments(entry: _Entry, classes: int) -> dict[str, Any]:
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
            raise _bad(where, f"{value:g} is no number that makes sense here")
    if arguments.get("classes", classes) != classes:
        raise _bad(
            entry.place("arguments") + ".classes", f"{arguments['classes']} is not the number of classes, {classes}"
        )
    return arguments


def _organ(entry: _Entry, pancreas: int, classes: int) -> tuple[int, ...]:
    """The classes that count as pancreas; the pancreas alone where the card says nothing."""
    values = entry.get("organ", list, optional=True)
    if values is None:
        return (pancreas,)
    whole = all(isinstance(value, int) and 0 < value < classes for value in values)
    if not whole or len(set(values)) < len(values) or values[:1] != [pancreas]:
        raise _bad(entry.place("organ"), "the pancreas and then other classes are expected, each once")
    return tuple(values)


def _conventions(entry: _Entry) -> Conventions | None:
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
        raise _bad(entry.place("conventions"), str(error)) from error


def _preprocessing(entry: _Entry) -> Preprocessing:
    orientation = entry.text("orientation")
    if [next((n for n, pair in enumerate(_AXIS_PAIRS) if c in pair), None) for c in orientation] != [0, 1, 2]:
        raise _bad(entry.place("orientation"), f'"{orientation}" is not like LPS: one of L R, one of P A, one of S I')
    spacing = entry.numbers("spacing_mm", 3, positive=True)
    size = entry.sizes("size")
    if spacing is not None and not _SPACING_MM[0] <= min(spacing) <= max(spacing) <= _SPACING_MM[1]:
        raise _bad(entry.place("spacing_mm"), f"voxels of a CT are {_SPACING_MM[0]} to {_SPACING_MM[1]:.0f} mm large")
    decimation = entry.get("decimation", int, optional=True)
    if decimation is not None:
        decimation = entry.integer("decimation", 1, _DECIMATION)
    if sum(given is not None for given in (spacing, size, decimation)) != 1:
        raise _bad(entry.place("size"), "exactly one of spacing_mm, size and decimation must be given")
    window = entry.numbers("window_hu", 2)
    if window is not None and window[0] >= window[1]:
        raise _bad(entry.place("window_hu"), "the first number must be below the second")
    if window is not None and max(abs(bound) for bound in window) > _HU:
        raise _bad(entry.place("window_hu"), "no CT has such HU")
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


def _neighbours(entry: _Entry) -> tuple[float, ...] | None:
    """Where the channels of a network that sees neighbouring slices lie."""
    given = entry.get("neighbours_mm", list, optional=True)
    if given is None:
        return None
    places = entry.numbers("neighbours_mm", len(given))
    if not places or entry.get("array_axes", str) != "kji":
        raise _bad(entry.place("neighbours_mm"), 'distances in mm are expected, and array_axes "kji"')
    return places


def _version(entry: _Entry) -> int:
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


def _figure(entry: _Entry) -> Figure:
    return Figure(
        metric=entry.text("metric"),
        value=entry.number("value"),
        sd=None if entry.get("sd", (int, float), optional=True) is None else entry.number("sd"),
        data=entry.text("data"),
        cases=None if entry.get("cases", int, optional=True) is None else entry.integer("cases"),
        note=entry.get("note", str, optional=True) or "",
    )


def _expected_overlap(entry: _Entry) -> ExpectedOverlap | None:
    if entry.get("expected_overlap", Mapping, optional=True) is None:
        return None
    line = entry.entry("expected_overlap")
    return ExpectedOverlap(
        offset=line.number("offset", largest=_LINE),
        slope=line.number("slope", largest=_LINE),
        error=line.number("error", largest=1.0),
        cases=line.integer("cases"),
    )


def _weights(entry: _Entry) -> Weights:
    file = entry.text("file")
    if file in (".", "..") or re.search(r"[/\\:\0]", file):
        raise _bad(entry.place("file"), f"{file!r} is not the name of a file beside the card")
    digest = entry.text("sha256")
    if not _SHA256.fullmatch(digest):
        raise _bad(entry.place("sha256"), "64 hexadecimal digits are expected")
    return Weights(file=file, sha256=digest, size=entry.integer("size", low=1))

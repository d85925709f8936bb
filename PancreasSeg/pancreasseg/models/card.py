"""What a model package says about itself: ``model.json``, read and checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pancreasseg.core.errors import ModelError
from pancreasseg.models.card_entry import CardEntry, bad_card, check_plain
from pancreasseg.models.network_card import NetworkCard, read_network

FORMAT = 1
PHASES = ("portal-venous", "arterial", "unenhanced", "any")
#: The one network that is a program.
TORCHSCRIPT = "torchscript"

_LINE = 100.0  # of one overlap against another

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
            raise bad_card("the file is not JSON", str(error)) from error
        except RecursionError as error:
            raise bad_card("the file is no card", "it is nested too deeply") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Card:
        """Check a card that was parsed already; raises like `from_json`."""
        check_plain(data)
        entry = CardEntry(data, "")
        if entry.integer("format") != FORMAT:
            raise ModelError(
                "card-format",
                f"The model card has format {data['format']}; this version of PancreasSeg reads format {FORMAT}.",
                "Update PancreasSeg, or install a version of the model made for this one.",
            )
        networks = tuple(read_network(part) for part in entry.entries("networks"))
        if _clash(networks):
            raise bad_card("networks", "two networks or members share a name")
        if len({card.role for card in networks}) != len(networks):
            raise bad_card("networks", "two networks share a role")
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
        raise bad_card("name", f"{name[:70]!r} is not 2 to 64 small letters, digits, '.', '-' or '_'")
    return name


def _options(entry: CardEntry) -> dict[str, Any]:
    """Plain values by name; whether the pipeline has such settings is seen when it is put together."""
    options = dict(entry.get("options", Mapping, optional=True) or {})
    for name, value in options.items():
        if not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
            raise bad_card(f"{entry.place('options')}.{name}", "a number, a text, true or false is expected")
        if name.endswith("threshold") and isinstance(value, (int, float)) and not 0 < value < 1:
            raise bad_card(f"{entry.place('options')}.{name}", "a probability between 0 and 1 is expected")
    return options


def _figure(entry: CardEntry) -> Figure:
    return Figure(
        metric=entry.text("metric"),
        value=entry.number("value"),
        sd=None if entry.get("sd", (int, float), optional=True) is None else entry.number("sd"),
        data=entry.text("data"),
        cases=None if entry.get("cases", int, optional=True) is None else entry.integer("cases"),
        note=entry.get("note", str, optional=True) or "",
    )


def _expected_overlap(entry: CardEntry) -> ExpectedOverlap | None:
    if entry.get("expected_overlap", Mapping, optional=True) is None:
        return None
    line = entry.entry("expected_overlap")
    return ExpectedOverlap(
        offset=line.number("offset", largest=_LINE),
        slope=line.number("slope", largest=_LINE),
        error=line.number("error", largest=1.0),
        cases=line.integer("cases"),
    )


def _weights(entry: CardEntry) -> Weights:
    file = entry.text("file")
    if file in (".", "..") or re.search(r"[/\\:\0]", file):
        raise bad_card(entry.place("file"), f"{file!r} is not the name of a file beside the card")
    digest = entry.text("sha256")
    if not _SHA256.fullmatch(digest):
        raise bad_card(entry.place("sha256"), "64 hexadecimal digits are expected")
    return Weights(file=file, sha256=digest, size=entry.integer("size", low=1))

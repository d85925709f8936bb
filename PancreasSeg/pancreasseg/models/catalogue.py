"""Public weights that can be installed by name: where they lie, what they are, and the cards they get."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pancreasseg.core.errors import ModelError
from pancreasseg.models.nnunet.published import archives

#: Better than the bundled model on patients; not better.
STANDINGS = ("strong", "modest")
#: An https address or a folder that has the published files under their names: they are fetched there and nowhere else.
MIRROR_VARIABLE = "PANCREASSEG_MIRROR"

_FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True)
class PublicFile:
    """A published file.

    Attributes:
        name: of the file.
        url: its address.
        sha256: hexadecimal; empty where nobody states it.
        size: in bytes; 0 where nobody states it.
        source: who states them, where that is not the file's own page.
    """

    name: str
    url: str
    sha256: str
    size: int
    source: str = ""

    @property
    def address(self) -> str:
        """Where it is fetched: its own address, or the mirror's; a path where the mirror is a folder."""
        mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
        if not mirror:
            return self.url
        return f"{mirror.rstrip('/')}/{quote(self.name)}" if "://" in mirror else str(Path(mirror) / self.name)

    @property
    def host(self) -> str:
        """Who is asked when it is downloaded."""
        address = self.address
        return urlsplit(address).hostname or "" if "://" in address else str(Path(address).parent)


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        card: as in ``model.json``, without ``weights``.
        files: the checkpoint of each member of the package.
        standing: where it stands among the models that nobody has named, one of `STANDINGS`. Published figures of
            different test sets do not compare, so this is a judgement, stated and not computed.
        offer: for the panel's first card, or None: ``text``, what it is good for, and ``core_seconds``, what one run
            needs on one core of a processor, localizing included.
    """

    card: dict[str, Any]
    files: dict[str, PublicFile]
    standing: str = "modest"
    offer: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """What a person types to install it."""
        return str(self.card["name"])

    @property
    def title(self) -> str:
        """One line for lists."""
        return str(self.card["title"])

    @property
    def download_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.size for file in self.files.values())

    @property
    def hosts(self) -> list[str]:
        """Who is asked when it is downloaded."""
        return sorted({file.host for file in self.files.values()})


@cache
def entries() -> dict[str, Entry]:
    """All models of the catalogue by name."""
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    files = {name: PublicFile(name, **facts) for name, facts in data["files"].items()}
    found = {}
    for model in data["models"]:
        shared = data["cards"][model["card"]]
        own = {key: value for key, value in model.items() if key not in ("card", "members", "standing", "offer")}
        networks = [{**network, "members": list(model["members"])} for network in shared["networks"]]
        card = {**own, **shared, "networks": networks}
        members = {member: files[name] for member, name in model["members"].items()}
        found[card["name"]] = Entry(card, members, model.get("standing", "modest"), model.get("offer"))
    return found


@cache
def results() -> dict[str, Entry]:
    """Published results of nnU-Net by the name of the package that each becomes; their plans state the rest."""
    found = {}
    for name, (card, file) in archives().items():
        public = PublicFile(file["url"].rpartition("/")[2], **file)
        strong = card["role"] == "segmenter"
        found[name] = Entry(card, {"archive": public}, "strong" if strong else "modest", card.get("offer"))
    return found


def offered() -> dict[str, Entry]:
    """Everything that can be installed by its name: checkpoints with a card of ours, and results of nnU-Net."""
    return {**entries(), **results()}


def entry(name: str) -> Entry:
    """One model of the catalogue.

    Raises:
        ModelError: there is none of this name.
    """
    known = offered()
    if name not in known:
        raise ModelError(
            "unknown-model",
            f'There is no model or file called "{name}".',
            f"The catalogue has {', '.join(known)}; anything else is installed from a local file or folder.",
        )
    return known[name]


def by_name(name: str) -> PublicFile | None:
    """The published file of this name."""
    return next((file for file in _all_files() if file.name == name), None)


def by_digest(sha256: str) -> PublicFile | None:
    """The published file with this content, whatever it is called now."""
    return next((file for file in _all_files() if file.sha256 == sha256), None)


def _all_files() -> list[PublicFile]:
    return list({file.name: file for entry in entries().values() for file in entry.files.values()}.values())

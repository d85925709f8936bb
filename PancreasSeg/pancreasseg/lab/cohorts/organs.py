"""Further organs that a cohort may have labels of: their names, where they lie in files, and how they are read.

The pancreas has a mask of its own in every case. The other organs of a case are one label map: value n is the n-th of
its names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pancreasseg.core.errors import InputError
from pancreasseg.core.text import number_or_name
from pancreasseg.io.labels import indicator_of, segment_names

PANCREAS = "pancreas"
#: The organs of Roth 2017.
SEVEN = ("artery", "vein", "liver", "spleen", "stomach", "gallbladder", PANCREAS)
#: Folder of a source with label maps of organs beside those of the pancreas, and the file that names their values.
FOLDER = "organ_labels"
NAMES_FILE = "labels.json"
_ALIASES = {
    "artery": ("arteries", "aorta"),
    "vein": (
        "veins", "portal vein", "splenic vein", "portal vein and splenic vein", "portal and splenic vein",
        "superior mesenteric vein", "inferior vena cava", "ivc", "postcava",
    ),
    "gallbladder": ("gall bladder",),
}  # fmt: skip
_CANONICAL = {alias: name for name in SEVEN for alias in (name, *_ALIASES.get(name, ()))}
_TUMOUR = re.compile(r"cancer|tumou?r|lesion|cyst", re.IGNORECASE)

#: Label values, or names of segments, that together are an organ, by the organ's name.
Values = Mapping[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class Organs:
    """The labels of a case beside its pancreas.

    Attributes:
        label: path below the cohort's source.
        axes: how the label is placed on the CT, as `Case.axes`.
        names: of the organs; value n of the label map is the n-th.
        values: for each of them, what is joined in the file.
        millilitres: of each.
        fingerprint: of the label map; what is cached belongs to it.
    """

    label: str
    axes: str
    names: tuple[str, ...]
    values: tuple[tuple[int | str, ...], ...]
    millilitres: tuple[float, ...]
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "names": list(self.names),
            "values": [list(values) for values in self.values],
            "millilitres": list(self.millilitres),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Organs:
        """The inverse of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError: the data are not those of organs.
        """
        return cls(
            str(data["label"]),
            str(data["axes"]),
            tuple(str(name) for name in data["names"]),
            tuple(tuple(values) for values in data["values"]),
            tuple(float(volume) for volume in data["millilitres"]),
            str(data["fingerprint"]),
        )


def canonical(name: str) -> str | None:
    """The organ of Roth's seven that a label's name means, or None."""
    return _CANONICAL.get(" ".join(re.split(r"[\s_-]+", name.strip().casefold())))


def parse(text: str) -> dict[str, tuple[int | str, ...]]:
    """``liver=6,artery=8,vein=9,vein=12`` as typed; equal names are joined, values may be names of segments.

    Raises:
        InputError: not like this.
    """
    found: dict[str, tuple[int | str, ...]] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not name or not value or value == "0":
            raise InputError(
                "bad-organs",
                f"{text!r} does not say which label is which organ.",
                "Give NAME=LABEL with commas, such as liver=6,artery=8,pancreas=11.",
            )
        known = canonical(name) or name
        found[known] = (*found.get(known, ()), number_or_name(value))
    return found


def of_names(labels: Mapping[str, Any]) -> dict[str, tuple[int | str, ...]]:
    """Known organs among labels that a JSON file names: {"1": "liver"}, or {"liver": 1}; the background is left out.

    Where the pancreas is named, tumours belong to it.

    Raises:
        TypeError, ValueError: neither of the two.
    """
    pairs = [(str(b), int(a)) if str(a).isdecimal() else (str(a), int(b)) for a, b in labels.items()]
    whole = any(PANCREAS in name.casefold() for name, _ in pairs)
    found: dict[str, tuple[int | str, ...]] = {}
    for name, value in pairs:
        organ = canonical(name)
        if organ is None and whole and (PANCREAS in name.casefold() or _TUMOUR.search(name)):
            organ = PANCREAS
        if organ is not None and value != 0:
            found[organ] = (*found.get(organ, ()), value)
    return found


def read_names(path: Path) -> dict[str, tuple[int | str, ...]]:
    """The organs that a ``labels.json`` names; nothing when there is no such file.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return of_names(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            "labels-damaged",
            f"{path} does not name label values.",
            'Write it like {"liver": 6, "pancreas": 11}, or remove it.',
        ) from error


def of_segments(keys: dict[str, str]) -> dict[str, tuple[int | str, ...]]:
    """The organs that the segments of a .seg.nrrd are, by their names."""
    found: dict[str, tuple[int | str, ...]] = {}
    for name in segment_names(keys):
        organ = canonical(name)
        if organ is not None:
            found[organ] = (*found.get(organ, ()), name)
    return found


def indicators(
    array: np.ndarray, keys: dict[str, str], values: Iterable[Sequence[int | str]]
) -> list[np.ndarray | None]:
    """uint8 masks (K, J, I) of organs as they are stored, each joined from its values; None where there is no voxel.

    Raises:
        InputError: no label map.
    """
    there = set(np.unique(array).tolist())
    known = {name.casefold().strip() for name in segment_names(keys)}
    masks: list[np.ndarray | None] = []
    for wanted in values:
        present = [v for v in wanted if (v.casefold().strip() in known if isinstance(v, str) else v in there)]
        found = [indicator_of(array, keys, value) for value in present]
        mask = np.maximum.reduce(found) if found else None
        masks.append(mask if mask is not None and mask.any() else None)
    return masks


def in_common(cases: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The organs that all cases have labels of, in Roth's order, then by name; with the pancreas, or none at all."""
    sets = [set(names) for names in cases]
    common = set.intersection(*sets) if sets else set()
    if not common:
        return ()
    rest = sorted(common - set(SEVEN))
    return (*(name for name in SEVEN if name in common or name == PANCREAS), *rest)

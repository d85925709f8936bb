"""Which CT belongs to which label, in the layouts that pancreas data sets come in. Nothing is read but names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pancreasseg.core.errors import InputError
from pancreasseg.io.corrections import corrections
from pancreasseg.lab.cohorts.folds import NIH_DUPLICATES
from pancreasseg.lab.cohorts.organs import FOLDER, NAMES_FILE, PANCREAS, Values, of_names, read_names

_IMAGE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_LABEL = (".seg.nrrd", *_IMAGE)
_IMAGE_FOLDERS = ("images", "imagestr", "image", "ct", "cts", "volumes", "scans")
_LABEL_FOLDERS = ("labels", "labelstr", "label", "masks", "mask", "segmentations", "segs")
_LABEL_ENDING = re.compile(r"[-_. ]?(label|labels|mask|seg|segmentation|gt|truth|pancreas)$", re.IGNORECASE)
_CHANNEL = re.compile(r"_0000$")
_NIH_CT = re.compile(r"^PANCREAS_?(\d{4})$", re.IGNORECASE)
_NIH_LABEL = re.compile(r"^label(\d{4})$", re.IGNORECASE)
_NIH_ORGANS = re.compile(r"^(?:label|organs)?_?(\d{4})$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """A case as it lies on disk.

    Attributes:
        id: its name, unique in the cohort.
        cts: files or DICOM folders that could be its CT; exactly one in a sound case.
        labels: files that could be its label; exactly one in a sound case.
        group: cases of one group are never in different folds.
        number: the case number of NIH Pancreas-CT.
        organs: the file with labels of other organs, where they have one of their own.
    """

    id: str
    cts: tuple[Path, ...]
    labels: tuple[Path, ...]
    group: str
    number: int | None = None
    organs: Path | None = None


@dataclass(frozen=True)
class Listing:
    """What lies in a source folder.

    Attributes:
        pairs: all cases in the order of their ids.
        remarks: sentences about what was left aside.
        values: label values that together are the pancreas, where the data set says so.
        organs: label values of other organs in the labels, where the data set says so.
        organs_apart: the same for the files of `Pair.organs`.
    """

    pairs: tuple[Pair, ...]
    remarks: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    organs: Values = field(default_factory=dict)
    organs_apart: Values = field(default_factory=dict)


def find(kind: str, source: Path) -> Listing:
    """The cases of a source.

    Args:
        kind: one of `KINDS`.
        source: its folder.

    Raises:
        InputError: there is no such folder, or it does not have the layout.
    """
    if not source.is_dir():
        raise InputError("no-such-folder", f"There is no folder {source}.", "Check the path.")
    return _with_organs(KINDS[kind](source), source / FOLDER)


def find_nih(source: Path) -> Listing:
    """NIH Pancreas-CT: DICOM folders ``PANCREAS_0001`` and labels ``label0001.nii.gz``, at whatever depth."""
    cts: dict[int, list[Path]] = {}
    labels: dict[int, list[Path]] = {}
    for place, below, files in os.walk(source):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != FOLDER)
        for name in list(below):
            if match := _NIH_CT.match(name):
                cts.setdefault(int(match[1]), []).append(Path(place) / name)
                below.remove(name)  # a series lies below; nothing else is looked for there
        for name in sorted(files):
            stem = _stem(name, _IMAGE)
            if stem is not None and (match := _NIH_LABEL.match(stem)):
                labels.setdefault(int(match[1]), []).append(Path(place) / name)
            elif stem is not None and (match := _NIH_CT.match(stem)):
                cts.setdefault(int(match[1]), []).append(Path(place) / name)
    if not cts:
        raise InputError(
            "not-nih",
            f"The folder {source} holds no CTs of NIH Pancreas-CT: there is no folder PANCREAS_0001 or the like.",
            "Give the folder with the DICOM download and the label files of The Cancer Imaging Archive in it.",
        )
    if not labels:
        raise InputError(
            "not-nih",
            f"The folder {source} holds no labels of NIH Pancreas-CT: there is no label0001.nii.gz or the like.",
            "Download the labels too and put them into the same folder.",
        )
    remarks = []
    for number in sorted(set(labels) - set(cts)):
        if number in NIH_DUPLICATES:
            remarks.append(
                f"The label of case {number:04d} was left aside: its CT is that of case "
                f"{NIH_DUPLICATES[number]:04d}, and the present release does not repeat it."
            )
            del labels[number]
    for number in sorted(set(NIH_DUPLICATES) & set(cts)):
        original = NIH_DUPLICATES[number]
        remarks.append(f"Case {number:04d} is the same scan as case {original:04d}; both are kept in one fold.")
    return Listing(
        tuple(
            Pair(
                f"{number:04d}",
                tuple(cts.get(number, ())),
                tuple(labels.get(number, ())),
                f"{NIH_DUPLICATES.get(number, number):04d}",
                number,
            )
            for number in sorted(set(cts) | set(labels))
        ),
        tuple(remarks),
    )


def find_msd(source: Path) -> Listing:
    """Medical Segmentation Decathlon, Task07: ``dataset.json`` names the training pairs; every label is pancreas."""
    path = source / "dataset.json"
    if not path.is_file():
        raise InputError(
            "not-msd",
            f"The folder {source} holds no dataset.json.",
            "Give the unpacked folder of the task, for example Task07_Pancreas.",
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [(str(row["image"]), str(row["label"])) for row in document["training"]]
        named = of_names(document["labels"])
        values = sorted(int(v) for v in _label_values(document["labels"]) if int(v) != 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "msd-damaged", f"{path} does not list training images and labels.", "Download the task again."
        ) from error
    if not rows or not values:
        raise InputError(
            "not-msd", f"{path} lists no training cases or no labels.", "Give a task with training labels."
        )
    others = {name: found for name, found in named.items() if name != PANCREAS}
    if others and PANCREAS not in named:
        raise InputError("not-msd", f"{path} names labels, but none is a pancreas.", "Give a task with the pancreas.")
    if others:
        values = [value for value in named[PANCREAS] if isinstance(value, int)]
    pairs = []
    for image, label in sorted(rows):
        files = [_inside(source, name) for name in (image, label)]
        name = _CHANNEL.sub("", _stem(Path(image).name, _IMAGE) or Path(image).name)
        ct, mask = ((file,) if file.exists() else () for file in files)
        pairs.append(Pair(name, ct, mask, name))
    return Listing(tuple(pairs), values=tuple(values), organs=others)


def find_folder(source: Path) -> Listing:
    """Pairs of files: in two subfolders (``images``, ``labels``) by equal names, or side by side by ``_label``."""
    folders = {p.name.casefold(): p for p in sorted(source.iterdir()) if p.is_dir()}
    images = next((folders[name] for name in _IMAGE_FOLDERS if name in folders), None)
    labels = next((folders[name] for name in _LABEL_FOLDERS if name in folders), None)
    cts: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    if images is not None and labels is not None:
        for path in _visible(images):
            stem = path.name if path.is_dir() else _stem(path.name, _IMAGE)
            if stem is not None:
                cts.setdefault(_CHANNEL.sub("", stem), []).append(path)
        for path in _visible(labels):
            stem = _stem(path.name, _LABEL)
            if stem is not None:
                plain = _LABEL_ENDING.sub("", stem)
                masks.setdefault(stem if stem in cts or plain not in cts else plain, []).append(path)
    else:
        for path in _visible(source):
            stem = _stem(path.name, _LABEL)
            if stem is not None and (path.name.lower().endswith(".seg.nrrd") or _LABEL_ENDING.search(stem)):
                masks.setdefault(_LABEL_ENDING.sub("", stem), []).append(path)
            elif stem is not None:
                cts.setdefault(_CHANNEL.sub("", stem), []).append(path)
    if not cts or not masks:
        raise InputError(
            "no-pairs",
            f"The folder {source} holds no pairs of a CT and a label.",
            "Put the CTs into a subfolder 'images' and the labels under the same names into 'labels', "
            "or name them case.nii.gz and case_label.nii.gz.",
        )
    names = sorted(set(cts) | set(masks))
    pairs = tuple(Pair(name, tuple(cts.get(name, ())), tuple(masks.get(name, ())), name) for name in names)
    named = read_names(source / NAMES_FILE)
    values = tuple(value for value in named.pop(PANCREAS, ()) if isinstance(value, int))
    return Listing(pairs, values=values, organs=named)


def find_corrections(source: Path) -> Listing:
    """Corrections that were kept for training in the panel; their CTs may lie anywhere on this computer."""
    kept = corrections(source)
    if not kept:
        raise InputError(
            "no-corrections",
            f"The folder {source} holds no kept corrections.",
            "Keep some in the panel, under Correct, with 'Keep for training'.",
        )
    there = [(each, tuple(path for path in (each.ct,) if path.exists())) for each in kept]
    return Listing(tuple(Pair(each.name, ct, (each.mask,), each.scan) for each, ct in there), values=(1,))


KINDS: dict[str, Callable[[Path], Listing]] = {
    "nih": find_nih,
    "msd": find_msd,
    "folder": find_folder,
    "corrections": find_corrections,
}


def _with_organs(listing: Listing, folder: Path) -> Listing:
    """A listing with the label maps of organs that lie in a folder of their own, under the names of the cases."""
    if not folder.is_dir():
        return listing
    found: dict[str, Path] = {}
    for path in _visible(folder):
        stem = _stem(path.name, _LABEL)
        if stem is not None:
            nih = _NIH_ORGANS.match(stem)
            found.setdefault(stem, path)
            found.setdefault(nih[1] if nih else _LABEL_ENDING.sub("", stem), path)
    named = read_names(folder / NAMES_FILE)
    return replace(
        listing,
        pairs=tuple(replace(pair, organs=found.get(pair.id)) for pair in listing.pairs),
        organs_apart={name: values for name, values in named.items() if name != PANCREAS},
    )


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _stem(name: str, endings: Sequence[str]) -> str | None:
    """A file's name without its ending, or None when it has none of ``endings``."""
    if name.startswith("."):
        return None
    return next((name[: -len(ending)] for ending in endings if name.lower().endswith(ending)), None)


def _label_values(labels: dict[str, int | str]) -> list[int | str]:
    """MSD writes {"1": "pancreas"}, newer tools {"pancreas": 1}."""
    return [key if str(key).isdecimal() else value for key, value in labels.items()]


def _inside(source: Path, name: str) -> Path:
    """A path that a dataset.json names, which must not lead out of its folder."""
    path = (source / name).resolve()
    if not path.is_relative_to(source.resolve()):
        raise InputError(
            "msd-damaged", f"dataset.json names {name}, which lies outside its folder.", "Download the task again."
        )
    return source / name

"""Results as they cross the pipe: fields in the event, arrays in the exchange folder.

Functions come in pairs, each the inverse of the other. Masks are cropped to what is in them and maps lie on their box,
so that a result of a large CT is a few megabytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import (
    Cancelled,
    InputError,
    ModelError,
    OutputError,
    PancreasSegError,
    RunError,
    UnexpectedError,
    as_json,
)
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.measurement import Code, Measurement
from pancreasseg.core.progress import Update
from pancreasseg.core.results import Attention, Localization, Provenance, Segmentation
from pancreasseg.worker.folder import ExchangeFolder

Fields = dict[str, Any]

#: Errors by what they are called on the pipe.
_KINDS: dict[str, type[PancreasSegError]] = {
    "input": InputError,
    "model": ModelError,
    "output": OutputError,
    "run": RunError,
    "unexpected": UnexpectedError,
}


def error_fields(error: PancreasSegError) -> Fields:
    """An error with its kind, so that it is the same error, with the same exit code, on the other side."""
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), "")
    return {"kind": kind, **as_json(error)}


def error_from(fields: Mapping[str, Any]) -> PancreasSegError:
    """The inverse of `error_fields`."""
    code, message, hint = (_text(fields[name]) for name in ("code", "message", "hint"))
    if code == Cancelled().code:
        return Cancelled()
    return _KINDS.get(_text(fields["kind"]), PancreasSegError)(code, message, hint)


def update_from(fields: Mapping[str, Any]) -> Update:
    """The inverse of ``asdict`` of an update."""
    left = fields["seconds_left"]
    return Update(
        stage=_text(fields["stage"]),
        done=int(_number(fields["done"])),
        total=int(_number(fields["total"])),
        fraction=_number(fields["fraction"]),
        seconds_left=None if left is None else _number(left),
    )


def finding_from(fields: Mapping[str, Any]) -> Finding:
    """The inverse of `Finding.as_dict`."""
    number = fields["number"]
    return Finding(
        _text(fields["code"]),
        Severity(fields["severity"]),
        _text(fields["sentence"]),
        None if number is None else _number(number),
    )


def facts_from(fields: Mapping[str, Any]) -> Fields:
    """What a worker says of itself, with what everyone who asks relies on."""
    if not all(isinstance(fields[name], Mapping) for name in ("device", "versions")):
        raise TypeError("device and versions are objects")
    if not all(isinstance(model, Mapping) for model in fields["models"]):
        raise TypeError("models are objects")
    return dict(fields)


def localization_fields(localization: Localization) -> Fields:
    """A localization without its coarse map, which stays in the worker."""
    return {
        "box": localization.box.bounds(),
        "score": localization.score,
        "candidates": [box.bounds() for box in localization.candidates],
        "findings": [finding.as_dict() for finding in localization.findings],
        "timings": localization.timings,
    }


def localization_from(fields: Mapping[str, Any]) -> Localization:
    """The inverse of `localization_fields`."""
    return Localization(
        box=Box.from_bounds(fields["box"]),
        score=_number(fields["score"]),
        candidates=tuple(Box.from_bounds(bounds) for bounds in fields["candidates"]),
        findings=tuple(finding_from(entry) for entry in fields["findings"]),
        timings=_timings(fields["timings"]),
    )


def segmentation_fields(segmentation: Segmentation, folder: ExchangeFolder, request: int) -> Fields:
    """A segmentation; its arrays are written to ``folder`` under names with the request's id.

    Raises:
        OutputError: the disk is full.
    """

    def cropped(name: str, array: np.ndarray) -> Fields:
        box = Box.of_mask(array) or Box((0, 0, 0), (0, 0, 0))
        return {"box": box.bounds(), "file": folder.write(f"{name}-{request}", array[box.slices])}

    return {
        "mask": cropped("mask", segmentation.mask),
        "labels": None if segmentation.labels is None else cropped("labels", segmentation.labels),
        "classes": list(segmentation.classes),
        "probability": {"file": folder.write(f"probability-{request}", segmentation.probability)},
        "agreement": {"file": folder.write(f"agreement-{request}", segmentation.agreement)},
        "box": segmentation.box.bounds(),
        "findings": [finding.as_dict() for finding in segmentation.findings],
        "timings": segmentation.timings,
        "provenance": asdict(segmentation.provenance),
        "expected_overlap": segmentation.expected_overlap,
    }


class SegmentationReader:
    """Reads what `segmentation_fields` wrote, an array at a time, and deletes the files.

    Args:
        fields: as `segmentation_fields` returned them.
        geometry: of the volume.
        folder: where the arrays lie.
    """

    def __init__(self, fields: Mapping[str, Any], geometry: Geometry, folder: ExchangeFolder) -> None:
        self._fields = fields
        self._geometry = geometry
        self._folder = folder
        self._left = [name for name in ("mask", "probability", "agreement", "labels") if fields[name] is not None]
        self._arrays: dict[str, np.ndarray] = {}

    def advance(self, seconds: float = math.inf) -> bool:
        """Read on, at least one array and no further one after ``seconds``; true when there is nothing left.

        Raises:
            RunError: an array is missing or damaged.
        """
        end = time.monotonic() + seconds
        while self._left:
            name = self._left.pop(0)
            part = self._fields[name]
            array = self._folder.take(part["file"])
            box = Box.from_bounds(part.get("box") or self._fields["box"])
            if array.shape != box.shape or box.clip(self._geometry) != box or array.dtype.kind not in "biuf":
                raise ValueError(f"the {name} does not lie on its box")
            if "box" in part:
                whole: np.ndarray = np.zeros(self._geometry.shape, dtype=np.uint8)
                whole[box.slices] = array
                array = whole
            self._arrays[name] = array
            if time.monotonic() > end:
                break
        return not self._left

    def result(self) -> Segmentation:
        """The segmentation, once all its arrays are read."""
        fields = self._fields
        made = fields["provenance"]
        return Segmentation(
            mask=self._arrays["mask"],
            box=Box.from_bounds(fields["box"]),
            probability=self._arrays["probability"],
            agreement=self._arrays["agreement"],
            findings=tuple(finding_from(entry) for entry in fields["findings"]),
            timings=_timings(fields["timings"]),
            provenance=Provenance(**{**made, "models": tuple(made["models"]), "box": tuple(made["box"])}),
            labels=self._arrays.get("labels"),
            classes=tuple(fields.get("classes", ())),
            expected_overlap=fields.get("expected_overlap"),
        )


def attention_fields(attention: Attention, folder: ExchangeFolder, request: int) -> Fields:
    """Attention maps; they are written to ``folder`` under names with the request's id.

    Raises:
        OutputError: the disk is full.
    """
    maps = {name: {"file": folder.write(f"{name}-{request}", array)} for name, array in attention.maps.items()}
    return {"box": attention.box.bounds(), "maps": maps}


class AttentionReader:
    """Reads what `attention_fields` wrote, a map at a time, and deletes the files; made as `SegmentationReader`."""

    def __init__(self, fields: Mapping[str, Any], _geometry: Geometry, folder: ExchangeFolder) -> None:
        self._box = Box.from_bounds(fields["box"])
        self._folder = folder
        self._left = [(name, part["file"]) for name, part in fields["maps"].items()]
        self._maps: dict[str, np.ndarray] = {}

    def advance(self, seconds: float = math.inf) -> bool:
        """Read on, at least one map and no further one after ``seconds``; true when there is nothing left.

        Raises:
            RunError: a map is missing or damaged.
        """
        end = time.monotonic() + seconds
        while self._left:
            name, file = self._left.pop(0)
            self._maps[name] = self._folder.take(file)
            if time.monotonic() > end:
                break
        return not self._left

    def result(self) -> Attention:
        """The maps, once all are read."""
        return Attention(self._box, self._maps)


#: What takes in the arrays of a result, by request.
READERS: dict[str, type[SegmentationReader] | type[AttentionReader]] = {
    "segment": SegmentationReader,
    "attention": AttentionReader,
}


@dataclass(frozen=True)
class Measured:
    """The answer to ``measure``.

    Attributes:
        own: measurements of the mask.
        against: measurements against the reference; empty without one.
    """

    own: tuple[Measurement, ...]
    against: tuple[Measurement, ...]


def measured_fields(measured: Measured) -> Fields:
    """Measurements as fields; JSON has no infinity, so infinite values cross as words."""

    def plain(measurement: Measurement) -> Fields:
        value = measurement.value
        words = str(value) if value is not None and math.isinf(value) else value
        return {**measurement.as_dict(), "value": words}

    return {"own": [plain(m) for m in measured.own], "against": [plain(m) for m in measured.against]}


def measured_from(fields: Mapping[str, Any]) -> Measured:
    """The inverse of `measured_fields`."""

    def measurement(entry: Mapping[str, Any]) -> Measurement:
        value = entry["value"]
        return Measurement(**{**entry, "value": None if value is None else float(value), "code": Code(**entry["code"])})

    own, against = (tuple(measurement(entry) for entry in fields[name]) for name in ("own", "against"))
    return Measured(own, against)


def files_in(fields: Mapping[str, Any]) -> Iterator[Any]:
    """The array files that an event names."""
    for value in fields.values():
        if isinstance(value, Mapping):
            yield from [value["file"]] if "file" in value else files_in(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError("a number is expected")
    return value


def _timings(fields: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(seconds) for name, seconds in fields.items()}

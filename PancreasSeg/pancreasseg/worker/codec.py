"""Results as they cross the pipe: fields in the event, arrays in the exchange folder.

Functions come in pairs, each the inverse of the other. Masks are cropped to what is in them and maps lie on their box,
so that a result of a large CT is a few megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pancreasseg.findings.finding import Finding, Severity
from pancreasseg.results import Localization, Provenance, Segmentation
from pancreasseg.volume import Box, Geometry
from pancreasseg.worker.folder import ExchangeFolder

Fields = dict[str, Any]


def finding_from(fields: Mapping[str, Any]) -> Finding:
    """The inverse of `Finding.as_dict`."""
    return Finding(fields["code"], Severity(fields["severity"]), fields["sentence"], fields["number"])


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
        score=fields["score"],
        candidates=tuple(Box.from_bounds(bounds) for bounds in fields["candidates"]),
        findings=tuple(finding_from(entry) for entry in fields["findings"]),
        timings=fields["timings"],
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
        "probability": {"file": folder.write(f"probability-{request}", segmentation.probability)},
        "agreement": {"file": folder.write(f"agreement-{request}", segmentation.agreement)},
        "box": segmentation.box.bounds(),
        "findings": [finding.as_dict() for finding in segmentation.findings],
        "timings": segmentation.timings,
        "provenance": asdict(segmentation.provenance),
    }


def segmentation_from(fields: Mapping[str, Any], geometry: Geometry, folder: ExchangeFolder) -> Segmentation:
    """The inverse of `segmentation_fields`; reads the arrays and deletes their files.

    Raises:
        RunError: an array is missing or damaged.
    """

    def whole(part: Mapping[str, Any]) -> np.ndarray:
        array: np.ndarray = np.zeros(geometry.shape, dtype=np.uint8)
        array[Box.from_bounds(part["box"]).slices] = folder.take(part["file"])
        return array

    provenance = fields["provenance"]
    return Segmentation(
        mask=whole(fields["mask"]),
        box=Box.from_bounds(fields["box"]),
        probability=folder.take(fields["probability"]["file"]),
        agreement=folder.take(fields["agreement"]["file"]),
        findings=tuple(finding_from(entry) for entry in fields["findings"]),
        timings=fields["timings"],
        provenance=Provenance(**{**provenance, "models": tuple(provenance["models"]), "box": tuple(provenance["box"])}),
        labels=None if fields["labels"] is None else whole(fields["labels"]),
    )


def files_in(fields: Mapping[str, Any]) -> Iterator[str]:
    """The array files that an event names."""
    for value in fields.values():
        if isinstance(value, Mapping) and "file" in value:
            yield value["file"]

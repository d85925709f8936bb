"""One label of a label map as a mask on another grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pancreasseg.core import Box, Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.text import printable
from pancreasseg.grids.resample import to_grid
from pancreasseg.io.seg_nrrd import segment_prefixes

_SHOWN = 12
_ROUNDING = 1e-3  # labels that a rescale or a float file left a little off whole numbers
_ELSEWHERE = 0.5  # a mask of which more lies outside belongs to another scan, or its header lost its place
_OUTSIDE_TOLD, _OUTSIDE_SERIOUS = 0.01, 0.1
_ENOUGH_VOXELS = 200_000


@dataclass(frozen=True)
class PlacedMask:
    """A mask on the grid of a volume.

    Attributes:
        array: uint8 (K, J, I), 1 is inside; may be empty.
        findings: what is odd about where it lies.
        keys: the key-value pairs of its file, which name the segments of a .seg.nrrd.
    """

    array: np.ndarray
    findings: tuple[Finding, ...] = ()
    keys: dict[str, str] = field(default_factory=dict)


def indicator_of(array: np.ndarray, keys: dict[str, str], label: int | str | None = None) -> np.ndarray:
    """uint8 (K, J, I) mask of one label.

    Args:
        array: labels (K, J, I), or the layers (K, J, I, C) of a .seg.nrrd with overlapping segments.
        keys: the file's key-value pairs; ``Segment0_Name`` and its like name segments.
        label: value or segment name; None for the only label there is, or the segment named pancreas.

    Raises:
        InputError: not labels, no such label, or several and none chosen.
    """
    array = _whole(array)
    by_number = isinstance(label, int) and array.ndim == 3
    segments = {} if by_number else _segments(keys)
    if segments:
        value, layer = _choose_segment(segments, label)
        if array.ndim == 4 and layer >= array.shape[3]:
            raise _damaged()
        plane = array[..., layer] if array.ndim == 4 else array
        mask = np.asarray(plane == value, dtype=np.uint8)
        claimed = [own for own, where in segments.values() if where == layer or array.ndim == 3]
        if not mask.any() and not np.isin(plane[plane != 0], claimed).all():
            raise _damaged()  # there are voxels, but the segment does not say that they are its own
        return mask
    if array.ndim != 3:
        raise InputError(
            "mask-not-labels", "The mask holds several values a voxel, not one label.", "Export it as a label map."
        )
    if isinstance(label, str):
        raise InputError(
            "no-such-label", f"The mask names no segment {printable(label)!r}.", "Give the label's number instead."
        )
    values = _label_values(array)
    if label is not None:
        if values and label not in values:
            raise InputError(
                "no-such-label", f"The mask holds no label {label}, but {_listed(values)}.", "Choose one of these."
            )
        return np.asarray(array == label, dtype=np.uint8)
    if len(values) > 1:
        raise InputError(
            "several-labels",
            f"The mask holds {len(values)} labels ({_listed(values)}).",
            "Say which one is the pancreas.",
        )
    return np.asarray(array != 0, dtype=np.uint8)


def onto_grid(mask: np.ndarray, own: Geometry, geometry: Geometry) -> np.ndarray:
    """A 0/1 mask on its own grid as a uint8 mask on ``geometry``.

    Raises:
        InputError: the mask has voxels, but none of them lies in the volume.
    """
    if own.same_grid(geometry):
        return np.ascontiguousarray(mask, dtype=np.uint8)
    box = Box.of_mask(mask)
    if box is None:
        return np.zeros(geometry.shape, dtype=np.uint8)
    # Cropped with a rim of zeros, so that a small mask in a large file costs little and fades to 0 at its border.
    rim = box.pad((2, 2, 2), (2, 2, 2))
    x, y, z = own.to_world(rim.start)
    grid = Geometry(rim.size, own.spacing, (float(x), float(y), float(z)), own.direction)
    padded = np.pad(mask[box.slices], 2).astype(np.float32)
    result = np.asarray(to_grid(padded, grid, geometry, outside=0.0) >= 0.5, dtype=np.uint8)
    if not result.any():
        raise InputError(
            "mask-elsewhere", "The mask does not overlap the volume.", "Check that both belong to the same scan."
        )
    return result


def place(mask: np.ndarray, own: Geometry, geometry: Geometry) -> PlacedMask:
    """A 0/1 mask on its own grid as a mask on ``geometry``, with a remark when a part of it lies outside.

    Raises:
        InputError: most of it lies outside.
    """
    outside = 0.0 if own.same_grid(geometry) else _share_outside(mask, own, geometry)
    if outside > _ELSEWHERE:
        raise InputError(
            "mask-elsewhere",
            "The mask does not overlap the volume."
            if outside == 1
            else f"{100 * outside:.0f} % of the mask lies outside the volume.",
            "Check that both belong to the same scan and that the mask's file has kept its position and orientation.",
        )
    placed = onto_grid(mask, own, geometry)
    if outside < _OUTSIDE_TOLD:
        return PlacedMask(placed)
    sentence = (
        f"{100 * outside:.0f} % of the mask lies outside the CT and is left out. Check that both belong together."
    )
    severity = Severity.SERIOUS if outside >= _OUTSIDE_SERIOUS else Severity.WARNING
    return PlacedMask(placed, (Finding("mask-outside", severity, sentence, outside),))


def _share_outside(mask: np.ndarray, own: Geometry, geometry: Geometry) -> float:
    """Share, 0-1, of a mask's voxels whose centres lie beyond the voxels of a grid."""
    places = np.flatnonzero(mask)
    if not places.size:
        return 0.0
    places = places[:: -(-places.size // _ENOUGH_VOXELS)]
    k, j, i = np.unravel_index(places, mask.shape)
    index = geometry.to_index(own.to_world(np.stack([i, j, k], axis=-1)))
    inside = ((index >= -0.5 - _ROUNDING) & (index <= np.asarray(geometry.size) - 0.5 + _ROUNDING)).all(axis=1)
    return float(1 - inside.mean())


def segment_names(keys: dict[str, str]) -> tuple[str, ...]:
    """Names of the segments of a .seg.nrrd; none for other label maps.

    Raises:
        InputError: the file does not say properly where they are stored.
    """
    return tuple(name for name, _ in _entries(keys))


def _segments(keys: dict[str, str]) -> dict[str, tuple[int, int]]:
    """(label value, layer) of every segment of a .seg.nrrd by name."""
    entries = _entries(keys)
    if len({name.casefold().strip() for name, _ in entries}) < len(entries):
        raise InputError(
            "segments-same-name",
            "Two segments of the mask have the same name, so nobody can tell which one is meant.",
            "Rename one of them in Slicer and save it again, or give the label's number.",
        )
    return dict(entries)


def _entries(keys: dict[str, str]) -> list[tuple[str, tuple[int, int]]]:
    """Name, and label value and layer, of every segment of a .seg.nrrd."""
    found = []
    for prefix in segment_prefixes(keys):
        name = keys.get(prefix + "Name") or keys.get(prefix + "ID", "")
        try:
            place = int(keys.get(prefix + "LabelValue", "1")), int(keys.get(prefix + "Layer", "0"))
        except ValueError as error:
            raise _damaged() from error
        if place[0] < 1 or place[1] < 0:
            raise _damaged()
        found.append((name, place))
    return found


def _damaged() -> InputError:
    return InputError(
        "mask-damaged",
        "The segmentation file does not say properly where its segments are stored.",
        "Save it again in Slicer, or as a label map.",
    )


def _choose_segment(segments: dict[str, tuple[int, int]], label: int | str | None) -> tuple[int, int]:
    """(label value, layer) of the segment asked for, or named pancreas, or the only one."""
    by_name = {name.casefold().strip(): place for name, place in segments.items()}
    if isinstance(label, str):
        if label.casefold().strip() not in by_name:
            raise InputError(
                "no-such-label",
                f"The mask names no segment {printable(label)!r}, but {_listed(list(segments))}.",
                "Choose one of these.",
            )
        return by_name[label.casefold().strip()]
    if label is not None:
        with_value = [place for place in segments.values() if place[0] == label]
        if len(with_value) != 1:
            raise InputError(
                "no-such-label", f"The mask has {len(with_value)} segments with the number {label}.", "Give its name."
            )
        return with_value[0]
    if "pancreas" in by_name:
        return by_name["pancreas"]
    if len(segments) == 1:
        return next(iter(segments.values()))
    raise InputError(
        "several-labels",
        f"The mask holds {len(segments)} segments ({_listed(list(segments))}).",
        "Say which one is the pancreas.",
    )


def _whole(array: np.ndarray) -> np.ndarray:
    """Labels that are fractions by rounding only, or a mask of one other value than 0, as whole numbers."""
    if array.dtype.kind != "f" or not array.size or not np.isfinite([array.min(), array.max()]).all():
        return array
    whole, highest = np.rint(array), array.max()
    if highest > _ROUNDING and np.abs(array - whole).max() <= _ROUNDING:
        return whole
    return (array == highest).astype(np.uint8) if ((array == 0) | (array == highest)).all() else array


def _label_values(array: np.ndarray) -> list[int]:
    """The labels other than 0; refuses images that are not label maps."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(
            "mask-not-labels",
            "The mask holds voxels that are no numbers (NaN or infinite).",
            "Set them to 0 and save it as a label map.",
        )
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        raise InputError(
            "mask-not-labels", "The mask holds fractions, not labels.", "Threshold it and save it as a label map."
        )
    values = [int(v) for v in np.unique(array[array != 0])]
    if len(values) > 1 and values[0] < 0:  # a single one is a mask, as where 255 was saved with a sign
        raise InputError("mask-not-labels", "The mask holds values below 0, so it is no label map.", "Give the mask.")
    return values


def _listed(values: list[int] | list[str]) -> str:
    shown = ", ".join(printable(str(v)) for v in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"

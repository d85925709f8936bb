"""The numbers about one mask: volume, HU, shape and place."""

from __future__ import annotations

import numpy as np

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.measurement import Code, Measurement, private
from pancreasseg.grids.resample import nearest_axes
from pancreasseg.measure.centreline import centreline
from pancreasseg.measure.compare import check_grid, compare
from pancreasseg.measure.shape import axial_diameters, surface_area

__all__ = ["VOLUME_RANGE", "Code", "Measurement", "compare", "measure"]

NORMAL_ML = (72.4, 25.8)
"""Mean and sd of the volume in adults of 20-60 years: Saisho et al., Clin Anat 2007;20:933-942 (CT of 2,021 people)."""

OBSERVED_ML = (18.8, 139.8)
"""Smallest and largest volume in 204 adults without pancreatic disease: Abdom Radiol 2019;44:958-966."""

VOLUME_RANGE = f"adults 20-60 years: {NORMAL_ML[0]} ± {NORMAL_ML[1]} ml; observed {OBSERVED_ML[0]}-{OBSERVED_ML[1]} ml"
"""For reading the value beside it; not a diagnosis."""

_EMPTY = "the mask is empty"
_HU = "[hnsf'U]"
_PERCENTILES = (
    (5, Code("371888009", "SCT", "5th Percentile Value of population")),
    (25, private("percentile-25", "25th Percentile Value of population")),
    (75, private("percentile-75", "75th Percentile Value of population")),
    (95, Code("371889001", "SCT", "95th Percentile Value of population")),
)
_EXTENTS = (("extent_rl", "right to left"), ("extent_ap", "front to back"), ("extent_si", "head to foot"))
_CENTROID = (("centroid_l", "left"), ("centroid_p", "posterior"), ("centroid_s", "superior"))


def measure(mask: np.ndarray, volume: Volume) -> list[Measurement]:
    """Measure a mask on its CT.

    Names, in this order: volume, voxels, hu_mean, hu_sd (ddof = 1), hu_median, hu_p5, hu_p25, hu_p75, hu_p95, length
    (see `centreline`), diameter_long, diameter_short (see `shape.axial_diameters`), surface_area (see
    `shape.surface_area`), extent_rl, extent_ap, extent_si (outer size along the volume's nearest axes), centroid_l,
    centroid_p, centroid_s (LPS mm).

    All of an empty mask but its volume and voxel count is None, and so is the sd of one voxel.

    Args:
        mask: (K, J, I) on the volume's grid, non-zero is the organ.
        volume: the CT in HU.

    Raises:
        InputError: the mask is not on the volume's grid.
    """
    check_grid(mask, volume.geometry)
    box = Box.of_mask(mask)
    if box is None:
        return _describe(None, None, None, volume.geometry)
    inside = mask[box.slices] != 0
    return _describe(box, inside, np.asarray(volume.array[box.slices][inside], dtype=float), volume.geometry)


def _describe(
    box: Box | None, inside: np.ndarray | None, values: np.ndarray | None, geometry: Geometry
) -> list[Measurement]:
    count = 0 if inside is None else int(np.count_nonzero(inside))
    rows = [
        Measurement(
            "volume", "Volume", count * geometry.voxel_ml, "ml", Code("118565006", "SCT", "Volume"), VOLUME_RANGE
        ),
        Measurement("voxels", "Voxels", float(count), "{voxels}", private("voxels", "Number of voxels")),
    ]
    rows += _attenuation(values)
    rows += _shape(inside, geometry)
    rows += _place(box, inside, geometry)
    return rows


def _attenuation(values: np.ndarray | None) -> list[Measurement]:
    mean = sd = median = None
    levels: list[float | None] = [None] * len(_PERCENTILES)
    if values is not None:
        mean = float(values.mean())
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        median = float(np.median(values))
        levels = [float(x) for x in np.percentile(values, [p for p, _ in _PERCENTILES])]
    missing = _EMPTY if values is None else "one voxel has no standard deviation"
    rows = [
        ("hu_mean", "Mean HU", Code("112181", "DCM", "Mean Attenuation Coefficient"), mean),
        (
            "hu_sd",
            "Standard deviation of HU",
            Code("112183", "DCM", "Standard Deviation of Attenuation Coefficient"),
            sd,
        ),
        ("hu_median", "Median HU", Code("112182", "DCM", "Median Attenuation Coefficient"), median),
        *(
            (f"hu_p{p}", f"{p}th percentile of HU", code, level)
            for (p, code), level in zip(_PERCENTILES, levels, strict=True)
        ),
    ]
    return [
        Measurement(name, title, value, _HU, code, missing if value is None else "")
        for name, title, code, value in rows
    ]


def _shape(inside: np.ndarray | None, geometry: Geometry) -> list[Measurement]:
    def row(name: str, title: str, value: float | None, unit: str, code: Code, note: str) -> Measurement:
        return Measurement(name, title, value, unit, code, note if value is not None else _EMPTY)

    length = long = short = area = None
    if inside is not None:
        length = centreline(inside, geometry.spacing).length_mm
        superior, _ = nearest_axes(geometry, "LPS")[2]
        diameters = axial_diameters(inside, geometry.spacing, 2 - superior)
        long, short = diameters.long, diameters.short
        area = surface_area(inside, geometry.spacing) / 100
    along = "along the centreline of the largest piece, tip to tip"
    across = "longest chord perpendicular to it, in the same slice"
    return [
        row("length", "Length", length, "mm", Code("410668003", "SCT", "Length"), along),
        row(
            "diameter_long",
            "Largest axial diameter",
            long,
            "mm",
            Code("103339001", "SCT", "Long axis"),
            "within one piece of one axial slice",
        ),
        row("diameter_short", "Diameter across it", short, "mm", Code("103340004", "SCT", "Short axis"), across),
        row(
            "surface_area",
            "Surface area",
            area,
            "cm2",
            private("surface-area", "Surface area"),
            "Crofton formula over 13 directions",
        ),
    ]


def _place(box: Box | None, inside: np.ndarray | None, geometry: Geometry) -> list[Measurement]:
    extents: list[float | None] = [None] * 3
    centroid: list[float | None] = [None] * 3
    if box is not None and inside is not None:
        outer = box.extent_mm(geometry)
        extents = [outer[axis] for axis, _ in nearest_axes(geometry, "LPS")]
        index = [
            float(np.average(np.arange(a, b), weights=np.count_nonzero(inside, axis=across)))
            for a, b, across in zip(box.start, box.stop, ((0, 1), (0, 2), (1, 2)), strict=True)
        ]
        centroid = [float(x) for x in geometry.to_world(index)]
    note = _EMPTY if box is None else ""
    return [
        *(
            Measurement(name, f"Extent {words}", value, "mm", private(name.replace("_", "-"), f"Extent {words}"), note)
            for (name, words), value in zip(_EXTENTS, extents, strict=True)
        ),
        *(
            Measurement(
                name,
                f"Centre, mm to the {words}",
                value,
                "mm",
                private(name.replace("_", "-"), f"Centre of mass, LPS, {words}"),
                note,
            )
            for (name, words), value in zip(_CENTROID, centroid, strict=True)
        ),
    ]

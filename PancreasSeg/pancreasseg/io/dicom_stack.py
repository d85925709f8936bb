"""Many slices as one volume: order, spacing, and refusal of stacks that are no regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pancreasseg.core import Geometry
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.io.dicom_slices import Slice
from pancreasseg.io.grids import make_geometry

SAME_POSITION_MM = 0.01
_WIDER_IN_A_ROW = 2  # wide steps next to each other are a stack of another spacing rather than lost slices
_NO_MULTIPLE = 0.2  # steps that hide whole slices are multiples of the usual one
MISSING_FROM = 1.5  # a step this many times the usual one hides a slice
JITTER_ACCEPTED = 0.05  # of the usual step
JITTER_NOTED = 0.01
ROUNDING_MM = 0.06  # of positions that were written with one decimal
WHOLE_MM, WHOLE_SHARE = 0.6, 0.26  # the same of positions without decimals; steps are 2 mm at least then
ROUNDING_SHARE = 0.2  # of the usual step, which rounding may move a slice by
_FEWEST_TIMES = 10
MAX_DRIFT_PIXELS = 0.5  # sideways, over the whole stack
SAME_DIRECTION = 1e-3
_SHOWN = 3


def stack(slices: Sequence[Slice]) -> tuple[list[Slice], Geometry, tuple[Finding, ...]]:
    """Order slices along their normal and find their grid.

    Slices are sorted by position, never by name or number. The step is the mean one; single steps may differ from the
    usual one by 5 % (noted from 1 %), or by what rounding positions to 0.1 mm, or thicker slices' to 1 mm, does.
    Sheared stacks (gantry tilt) are refused rather than resampled, so that a mask on the result's grid is a mask on
    the slices.

    Returns:
        The slices from first to last along +k, their grid (k runs along row x column), and findings.

    Raises:
        InputError: no positions, mixed sizes, spacings or orientations, duplicated or missing slices, irregular
            steps, gantry tilt.
    """
    first = slices[0]
    _refuse_unplaced(slices)
    _refuse_mixed(slices)
    along_row, along_column, normal = _axes(first.orientation or ())
    positions = np.array([s.position for s in slices])
    depths = positions @ normal
    order = np.argsort(depths, kind="stable")
    ordered, positions, depths = [slices[n] for n in order], positions[order], depths[order]
    findings: tuple[Finding, ...] = ()
    rows_mm, columns_mm = first.spacing or ()
    step = columns_mm  # what a single slice is given; it is refused for its number later
    if len(ordered) > 1:
        findings = _check_steps(depths) + _check_runs(ordered)
        _refuse_drift(positions, depths, normal, min(rows_mm, columns_mm))
        step = float(depths[-1] - depths[0]) / (len(ordered) - 1)
    geometry = make_geometry(
        (first.columns, first.rows, len(ordered)),
        (columns_mm, rows_mm, step),
        positions[0],
        np.column_stack([along_row, along_column, normal]),
    )
    return ordered, geometry, findings


def _refuse_unplaced(slices: Sequence[Slice]) -> None:
    unplaced = sum(s.position is None or s.orientation is None or min(s.spacing or (-1,)) < 0 for s in slices)
    if unplaced:
        raise InputError(
            "dicom-no-positions",
            f"{unplaced} of {len(slices)} slices do not say where they lie or how large their pixels are.",
            "Export the original series; screen captures and some anonymised exports lose this.",
        )


def _refuse_mixed(slices: Sequence[Slice]) -> None:
    sizes = {(s.columns, s.rows) for s in slices}
    if len(sizes) > 1:
        listed = ", ".join(f"{i} x {j}" for i, j in sorted(sizes)[:_SHOWN])
        raise InputError("dicom-mixed-sizes", f"The slices of the series differ in size ({listed} pixels).", _ONE_STACK)
    spacings = np.array([s.spacing for s in slices])
    if np.ptp(spacings, axis=0).max() > 1e-3 * np.abs(spacings).min():
        raise InputError("dicom-mixed-spacing", "The slices of the series differ in pixel spacing.", _ONE_STACK)
    orientations = np.array([s.orientation for s in slices])
    if np.ptp(orientations, axis=0).max() > SAME_DIRECTION:
        raise InputError("dicom-mixed-orientations", "The slices of the series differ in orientation.", _ONE_STACK)


_ONE_STACK = "Give a folder with one stack of parallel slices, without scouts and reformats."


def _axes(orientation: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, column = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    normal = np.cross(row, column)
    length = float(np.linalg.norm(normal))
    if abs(length - 1) > 0.01:
        raise InputError(
            "dicom-bad-orientation",
            "The slices state an orientation that makes no sense.",
            "Export the original series.",
        )
    return row, column, normal / length


def _check_steps(depths: np.ndarray) -> tuple[Finding, ...]:
    steps = np.diff(depths)
    duplicates = int(np.count_nonzero(steps < SAME_POSITION_MM))
    if duplicates:
        where = _places(depths[1:][steps < SAME_POSITION_MM])
        raise InputError(
            "dicom-duplicate-slices",
            f"{duplicates} slice{_s(duplicates)} lie{_s(duplicates, 's', '')} where another one already is ({where}).",
            "Remove copies, or give one phase only if the series holds several.",
        )
    usual = float(np.median(steps))
    holes = steps > MISSING_FROM * usual
    if holes.any():
        missing = int((np.rint(steps[holes] / usual) - 1).clip(min=1).sum())
        ratios = steps[holes] / usual
        in_a_row = np.count_nonzero(holes[1:] & holes[:-1]) >= _WIDER_IN_A_ROW
        if missing > len(depths) // 2 or np.abs(ratios - np.rint(ratios)).max() > _NO_MULTIPLE or in_a_row:
            raise InputError(
                "dicom-irregular-spacing",
                f"The slices are no even stack: most are {usual:.2f} mm apart, some {steps.max():.2f} mm.",
                "Give a folder with one whole stack of slices of one acquisition, without slices from elsewhere.",
            )
        between = [f"{a:.1f} and {b:.1f} mm" for a, b in zip(depths[:-1][holes], depths[1:][holes], strict=True)]
        raise InputError(
            "dicom-missing-slices",
            f"About {missing} slice{_s(missing)} of {len(depths) + missing} {_s(missing, 'is', 'are')} missing "
            f"(between {'; '.join(between[:_SHOWN])}{' and elsewhere' if len(between) > _SHOWN else ''}).",
            "Export or copy the whole series again.",
        )
    jitter = float(np.abs(steps - usual).max()) / usual
    if jitter > JITTER_ACCEPTED and _off_grid(depths) > _rounding(depths):
        raise InputError(
            "dicom-irregular-spacing",
            f"The slices are unevenly spaced ({steps.min():.2f} to {steps.max():.2f} mm).",
            "Give a series with one slice spacing, or resample it first, for example in Slicer.",
        )
    if jitter > JITTER_NOTED:
        sentence = (
            f"The slices are not quite evenly spaced ({steps.min():.2f} to {steps.max():.2f} mm); the mean is used."
        )
        return (Finding("slice-jitter", Severity.INFO, sentence, jitter),)
    return ()


def _rounding(depths: np.ndarray) -> float:
    """How many mm the rounding of positions, to one decimal or to whole mm, may have moved a slice by."""
    step = float(depths[-1] - depths[0]) / (len(depths) - 1)
    if np.abs(depths - np.rint(depths)).max() < SAME_POSITION_MM:
        return min(WHOLE_MM, WHOLE_SHARE * step)
    return min(ROUNDING_MM, ROUNDING_SHARE * step)


def _off_grid(depths: np.ndarray) -> float:
    """How many mm the farthest slice lies off the even grid that fits best; single steps add up two roundings."""
    numbers = np.arange(len(depths))
    return float(np.abs(depths - np.polyval(np.polyfit(numbers, depths, 1), numbers)).max())


def _check_runs(ordered: Sequence[Slice]) -> tuple[Finding, ...]:
    """Runs of the scanner over the patient that alternate from slice to slice are two pictures in one."""
    runs = [one.run for one in ordered]
    count = len(set(runs))
    changes = sum(a != b for a, b in pairwise(runs))
    alternate = count > 1 and changes > max(2 * count, len(runs) // 4)
    if not alternate and not _go_back_and_forth([one.time for one in ordered if one.time is not None]):
        return ()
    sentence = (
        f"The slices come from {max(count, 2)} acquisitions that alternate from slice to slice, perhaps two contrast "
        "phases or two breath-holds in one series. Give one acquisition only."
    )
    return (Finding("dicom-interleaved", Severity.SERIOUS, sentence, float(max(count, 2))),)


def _go_back_and_forth(times: Sequence[float]) -> bool:
    """Times of slices in their order through the body that rise and fall in turn; a scanner takes them one by one."""
    steps = [b - a for a, b in pairwise(times)]
    turns = sum(a * b < 0 for a, b in pairwise(steps))
    return len(times) >= _FEWEST_TIMES and turns > 0.8 * (len(steps) - 1)


def _refuse_drift(positions: np.ndarray, depths: np.ndarray, normal: np.ndarray, pixel: float) -> None:
    """Slices must lie one above the other: a steady sideways drift is gantry tilt, an unsteady one a moved table."""
    offsets = (positions - positions[0]) - np.outer(depths - depths[0], normal)
    sideways = np.linalg.norm(offsets, axis=1)
    if sideways.max() <= MAX_DRIFT_PIXELS * pixel:
        return
    rise = float(depths[-1] - depths[0])
    line = np.outer((depths - depths[0]) / rise, offsets[-1])
    if np.linalg.norm(offsets - line, axis=1).max() <= MAX_DRIFT_PIXELS * pixel:
        angle = float(np.degrees(np.arctan2(sideways[-1], rise)))
        raise InputError(
            "dicom-gantry-tilt",
            f"The slices are sheared by a gantry tilt of {angle:.1f} degrees.",
            "Load the series in Slicer with the acquisition geometry regularized, harden it and save it as NRRD.",
        )
    raise InputError(
        "dicom-shifted-slices",
        f"The slices are shifted sideways against each other by up to {sideways.max():.1f} mm.",
        _ONE_STACK,
    )


def _places(depths: np.ndarray) -> str:
    listed = ", ".join(f"{d:.1f}" for d in depths[:_SHOWN])
    return f"at {listed} mm{' and elsewhere' if len(depths) > _SHOWN else ''}"


def _s(count: int, one: str = "", many: str = "s") -> str:
    return one if count == 1 else many

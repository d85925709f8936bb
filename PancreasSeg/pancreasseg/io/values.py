"""Stored numbers to HU: int16 where that is exact, float32 otherwise."""

from __future__ import annotations

import numpy as np

from pancreasseg.core.errors import InputError

_INT16 = np.iinfo(np.int16)


def to_hu(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """HU of a (K, J, I) array of stored values: ``stored * slope + intercept``.

    Returns:
        C-contiguous int16 when every value fits exactly, else float32.

    Raises:
        InputError: NaN or infinite voxels.
    """
    plain = slope == 1.0 and intercept == 0.0
    if plain and np.can_cast(stored.dtype, np.int16):
        return _owned(stored, np.int16)
    if stored.dtype.kind == "f":
        refuse_not_finite(stored)
    elif plain:
        fits = stored.size == 0 or (int(stored.min()) >= _INT16.min and int(stored.max()) <= _INT16.max)
        return _owned(stored, np.int16 if fits else np.float32)
    whole = np.empty(stored.shape, dtype=np.int16)
    for k, plane in enumerate(stored):  # slice by slice: float64 of a whole CT would take gigabytes
        exact = plane.astype(np.float64) if plain else _rescaled(plane, slope, intercept)
        if not fits_int16(exact):
            return _as_float32(stored, slope, intercept)
        whole[k] = exact
    return whole


def fits_int16(values: np.ndarray) -> bool:
    """True when every value is a whole number within int16."""
    if values.size == 0:
        return True
    if values.min() < _INT16.min or values.max() > _INT16.max:
        return False
    return values.dtype.kind in "iu" or bool((values == np.rint(values)).all())


def refuse_not_finite(values: np.ndarray) -> None:
    """Raise `InputError` with the number of NaN and infinite voxels, if there are any."""
    with np.errstate(invalid="ignore"):
        if values.size == 0 or np.isfinite([values.min(), values.max()]).all():  # NaN wins both
            return
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError(
            "not-finite",
            f"{bad} of {values.size} voxels are not numbers (NaN or infinite).",
            "Replace them (air is -1024 HU) or export the CT again.",
        )


def _owned(stored: np.ndarray, dtype: type) -> np.ndarray:
    """Contiguous, of the type wanted and writable; a view of a file's bytes is copied, as torch wants no other."""
    return np.require(stored, dtype=dtype, requirements=["C", "W"])


def _as_float32(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    result = np.empty(stored.shape, dtype=np.float32)
    for k, plane in enumerate(stored):
        result[k] = np.clip(_rescaled(plane, slope, intercept), np.finfo(np.float32).min, np.finfo(np.float32).max)
    return result


def _rescaled(plane: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large for a number is refused as no HU
        return plane.astype(np.float64) * slope + intercept

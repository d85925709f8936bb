"""Do the values look like HU? Air lies near -1000, and most of a body between fat and muscle."""

from __future__ import annotations

import numpy as np

from pancreasseg.core.errors import InputError

MAX_HU = 40_000.0
AIR_BELOW_HU = -500
_SCALED_RANGE = 100.0  # HU of a body span at least fat to muscle; intensities scaled to 0-1 or z-scores do not
_BYTE = (-128, 127)
_FAT_HU = -30  # what a twentieth of any trunk lies below: fat at least, where all air was cut away
_TISSUE_HU = (-200, 300)  # fat, organs, vessels; bone, contrast and metal are less than half of a body
_SHIFTED_TISSUE_HU = 600  # soft tissue of a CT that lost its intercept of -1024 lies near 1,000
_SHIFTED_SHARE = 0.1
_BELOW_AIR_HU = -1100  # no scanner measures less; what lies below is padding, all of one value
_BELOW_AIR_SHARE = 0.05
_AIR_HU = (-850, -300)  # lungs lie below, clipped windows and fat above
_AIR_SPREAD_HU = 100
_AIR_SHARE = 0.1
_MOST_SLICES = 64
_BLOCK = 4
_FEWEST_BLOCKS = 40  # along an axis; larger ones would mix body and air
_MR_OR_SHIFTED = "This looks like an MR, or like a CT that lost its rescale intercept or slope; give a CT in HU."
_RESCALED = "This looks like an image whose values were rescaled; give the original CT in HU."


def refuse_impossible(array: np.ndarray) -> None:
    """Raise `InputError` for values that no scanner gives: beyond 40,000 HU, infinite or NaN."""
    lowest, highest = float(array.min()), float(array.max())
    if not -MAX_HU <= lowest <= highest <= MAX_HU:
        raise InputError(
            "values-too-large",
            f"The values go from {lowest:.4g} to {highest:.4g}: HU lie between -1024 and a few thousand.",
            "Export the CT again from its DICOM files.",
        )


def not_hu(array: np.ndarray) -> InputError | None:
    """The refusal of values that are no HU; None when they may be.

    Recognized: nothing below 0; a range too small for a body; 8-bit windows (-128 to 127); HU times 10; a CT that lost
    its rescale intercept, padded or not; MR, even with a few values below 0; air far below -1000. A CT that was
    clipped to a window, such as -100 to 240, passes.

    Args:
        array: shape (K, J, I), finite.
    """
    lowest, highest = float(array.min()), float(array.max())
    spread = f"The values go from {lowest:.4g} to {highest:.4g}"
    if lowest >= 0:
        return _refusal(f"{spread}: no voxel is below 0, but air in a CT is near -1000 HU.", _MR_OR_SHIFTED)
    if highest - lowest < _SCALED_RANGE:
        return _refusal(f"{spread} only: these are not HU.", _RESCALED)
    if _BYTE[0] <= lowest and highest <= _BYTE[1]:
        return _refusal(f"{spread}: this is a picture in 8 bits, not HU.", _RESCALED)
    planes = array[:: -(-len(array) // _MOST_SLICES)]
    blocks = _block_means(planes, lowest)
    darkest = float(np.percentile(blocks, 5)) if blocks.size else lowest
    if blocks.size and (blocks < _BELOW_AIR_HU).mean() >= _BELOW_AIR_SHARE:
        return _refusal(f"Air lies at {darkest:.0f} HU, not near -1000.", _RESCALED)
    padded = lowest < _BELOW_AIR_HU  # what is left is the patient, of whom a twentieth is fat at least
    if darkest > _FAT_HU and (
        lowest > AIR_BELOW_HU or padded or (blocks > _SHIFTED_TISSUE_HU).mean() >= _SHIFTED_SHARE
    ):
        return _refusal(f"What should be air lies at {darkest:.0f} HU, not near -1000.", _MR_OR_SHIFTED)
    tissue = planes[planes > max(AIR_BELOW_HU, lowest + 1)]  # without what a window has clipped
    share = float(((tissue > _TISSUE_HU[0]) & (tissue < _TISSUE_HU[1])).mean()) if tissue.size else 1.0
    if share < 0.5:
        return _refusal(
            f"Only {100 * share:.0f} % of the body lies between {_TISSUE_HU[0]} and {_TISSUE_HU[1]} HU, as fat and "
            "organs do.",
            _MR_OR_SHIFTED,
        )
    return None


def air_elsewhere(array: np.ndarray) -> float | None:
    """Where air lies, in HU, when that is well above -1000 though nothing was clipped; None when all seems well.

    Args:
        array: shape (K, J, I), finite.
    """
    lowest = float(array.min())
    planes = array[:: -(-len(array) // _MOST_SLICES)]
    blocks = _block_means(planes, lowest)
    if not blocks.size:
        return None
    first, air = (float(v) for v in np.percentile(blocks, (0.5, 5)))
    inside = _AIR_HU[0] < first and air < _AIR_HU[1]
    even = air - first < _AIR_SPREAD_HU and (np.abs(blocks - air) < _AIR_SPREAD_HU).mean() >= _AIR_SHARE
    clipped = (planes == lowest).mean() >= _AIR_SHARE
    return air if inside and even and not clipped else None


def _refusal(sentence: str, hint: str) -> InputError:
    return InputError("not-hu", sentence, hint)


def _block_means(planes: np.ndarray, lowest: float) -> np.ndarray:
    """Means of blocks of up to 4 x 4 pixels, with less noise, but for those that touch padding below the air."""
    rows, columns = (int(np.clip(n // _FEWEST_BLOCKS, 1, _BLOCK)) for n in planes.shape[1:])
    whole = planes[:, : planes.shape[1] // rows * rows, : planes.shape[2] // columns * columns]
    tiles = whole.reshape(len(whole), whole.shape[1] // rows, rows, -1, columns)
    # Along rows whole lines are added at once; then there is less left for the columns.
    lines = tiles.sum(axis=2, dtype=np.float32)
    means = np.sum([lines[..., column] for column in range(columns)], axis=0) / np.float32(rows * columns)
    if lowest >= AIR_BELOW_HU:
        return np.asarray(means.ravel())
    lines = tiles.min(axis=2)
    least = np.min([lines[..., column] for column in range(columns)], axis=0)
    return np.asarray(means[least > lowest])

"""Gibson's organ labels laid on the sparse slices of the same patients.

The maps carry no patient number of NIH's: of the patients with the same pixel size, the one is looked for whose slices'
pancreas areas the map repeats; then the masks are shifted onto each other.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from pancreasseg.lab.axial.cases import OTHER, PANCREAS, SliceCase
from pancreasseg.lab.axial.public import SAME_PATIENT_DSC, gibson

#: Pixel sizes in headers are rounded.
_SAME_PIXEL_MM = 0.004
#: Best places along the body that are looked at within the slice.
_TRIED = 6
_FRAME = 768


@dataclass(frozen=True)
class MapPlace:
    """Where a map lies on a patient's slices.

    Attributes:
        patient: name of the case.
        bottom: slice of the map at the case's height 0.
        row, column: of the map, at 1 mm, where the case's first pixel lies.
        dsc: of the two pancreas masks.
    """

    patient: str
    bottom: int
    row: int
    column: int
    dsc: float


def find_place(folder: Path, number: int, cases: list[SliceCase], pixels: dict[str, float]) -> MapPlace | None:
    """Which patient a map is of, and where it lies; None where it is of nobody.

    Args:
        folder: of the maps.
        number: of the map; its slices are 1 mm apart.
        cases: sparse slices with manual masks, heights in whole mm.
        pixels: pixel size of each patient's own CT (mm).
    """
    labels, (_, _, pixel) = gibson(folder, number)
    organ = labels == PANCREAS
    areas = organ.sum((1, 2)) * pixel**2
    ranked = []
    for case in cases:
        if abs(pixels[case.name] - pixel) < _SAME_PIXEL_MM:
            own, heights = case.pancreas.sum((1, 2)).astype(float), np.round(case.heights).astype(int)
            for bottom in range(len(areas) - int(heights[-1])):
                ranked.append((float(np.abs(areas[bottom + heights] - own).sum() / own.sum()), bottom, case))
    ranked.sort(key=lambda entry: entry[:2])
    places = [_shift(organ, pixel, bottom, case) for _, bottom, case in ranked[:_TRIED]]
    best = max(places, key=lambda place: place.dsc, default=None)
    return best if best is not None and best.dsc >= SAME_PATIENT_DSC else None


def _shift(organ: np.ndarray, pixel: float, bottom: int, case: SliceCase) -> MapPlace:
    """The shift within the slice that lays two masks best on each other, by their correlation."""
    heights = np.round(case.heights).astype(int)
    given = np.stack([ndimage.zoom(part.astype(np.float32), pixel, order=1) > 0.5 for part in organ[bottom + heights]])
    spectra = (np.fft.rfft2(masks.astype(np.float32), (_FRAME, _FRAME)) for masks in (given, case.pancreas))
    first, second = spectra
    overlap = np.fft.irfft2((first * np.conj(second)).sum(0), (_FRAME, _FRAME))
    row, column = (int(n if n < _FRAME // 2 else n - _FRAME) for n in np.unravel_index(overlap.argmax(), overlap.shape))
    dsc = float(2 * overlap.max() / (given.sum() + case.pancreas.sum()))
    return MapPlace(case.name, bottom, row, column, dsc)


def on_slices(folder: Path, number: int, place: MapPlace, case: SliceCase) -> np.ndarray:
    """The organ labels of a map on a case's slices: uint8 like `SliceCase.labels`.

    Where the map says pancreas and the case's own mask does not, nothing but that is known.
    """
    labels, (_, _, pixel) = gibson(folder, number)
    rows, columns = np.mgrid[: case.ct.shape[1], : case.ct.shape[2]]
    at = [(rows + place.row) / pixel, (columns + place.column) / pixel]
    slices = labels[place.bottom + np.round(case.heights).astype(int)]
    result = np.stack([ndimage.map_coordinates(part, at, order=0, cval=OTHER) for part in slices])
    result[(result == PANCREAS) & ~case.pancreas] = OTHER
    return result


def save_places(path: Path, places: dict[int, MapPlace]) -> None:
    """Keep which map is of whom: held-out patients must be held out with their maps."""
    path.write_text(json.dumps({number: asdict(place) for number, place in places.items()}, indent=1), encoding="utf-8")


def load_places(path: Path) -> dict[int, MapPlace]:
    """What `save_places` wrote."""
    return {int(number): MapPlace(**facts) for number, facts in json.loads(path.read_text(encoding="utf-8")).items()}

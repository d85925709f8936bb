"""Names and texts for the voxels of a segment."""

import numpy as np
import pytest
from Testing.helpers.builders import DIRECTIONS, aGeometry, aMask

from pancreasseg.core import Box, Geometry
from PancreasSegLib.Scene import Contents
from PancreasSegLib.Scene.Segments import NOTHING, Content


def content(mask: np.ndarray) -> Content:
    box = Box.of_mask(mask)
    return NOTHING if box is None else Content(box, mask[box.slices])


def turnedRound(mask: np.ndarray, geometry: Geometry, axis: int) -> tuple[np.ndarray, Geometry]:
    """The same voxels in the same place, counted from the other end of one axis."""
    axes = geometry.axes.copy()
    last = [0, 0, 0]
    last[axis] = geometry.size[axis] - 1
    origin = geometry.to_world(np.array([last], float))[0]
    axes[:, axis] *= -1
    turned = Geometry(geometry.size, geometry.spacing, tuple(origin), tuple(axes.ravel()))
    return np.ascontiguousarray(np.flip(mask, 2 - axis)), turned


@pytest.mark.parametrize("axes", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("axis", range(3))
def test_the_name_stays_when_a_ct_comes_back_turned_round(axes, axis) -> None:
    geometry = aGeometry(axes)
    mask = aMask(geometry)
    other, turned = turnedRound(mask, geometry, axis)
    key = Contents.keyOf(content(mask), geometry)
    assert Contents.keyOf(content(other), turned) == key
    assert Contents.unpack(Contents.pack(content(mask), geometry), turned) == content(other)


def test_other_voxels_and_other_places_have_other_names() -> None:
    geometry = aGeometry()
    mask = aMask(geometry)
    moved = np.roll(mask, 1, axis=2)
    fewer = mask.copy()
    fewer[tuple(np.argwhere(mask)[0])] = 0
    names = {Contents.keyOf(content(it), geometry) for it in (mask, moved, fewer, np.zeros_like(mask))}
    assert len(names) == 4
    assert "" in names

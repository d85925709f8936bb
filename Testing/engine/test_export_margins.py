"""Margins in true mm: against SimpleITK's distance maps, on balls, and by their properties."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from Testing.helpers.ct_files import DIRECTIONS, turned

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.export.margins import Margins, grow, ring
from pancreasseg.grids.body import body_mask
from pancreasseg.grids.resample import to_image

SIZE = (40, 36, 20)
SPACING = (0.8, 1.0, 2.5)


def a_grid(direction: np.ndarray | None = None) -> Geometry:
    axes = np.eye(3) if direction is None else direction
    return Geometry(SIZE, SPACING, (-12.0, 30.5, 77.25), tuple(float(v) for v in axes.ravel()))


def one_voxel(geometry: Geometry) -> np.ndarray:
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[10, 18, 20] = 1
    return mask


def an_organ(geometry: Geometry) -> np.ndarray:
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[6:9, 12:20, 15:24] = 1
    mask[8:13, 18:21, 22:26] = 1
    return mask


def away_from(geometry: Geometry, index: tuple[int, int, int]) -> np.ndarray:
    """LPS mm (K, J, I, 3) from one voxel to every other."""
    k, j, i = np.indices(geometry.shape)
    return geometry.to_world(np.stack([i, j, k], axis=-1)) - geometry.to_world(index)


@pytest.mark.parametrize("millimetres", [0.0, 2.0, 5.0, 9.7])
def test_a_margin_is_what_simpleitk_measures(millimetres: float) -> None:
    geometry = a_grid(turned())
    mask = an_organ(geometry)
    distances = sitk.SignedMaurerDistanceMap(to_image(mask, geometry), squaredDistance=False, useImageSpacing=True)
    expected = (sitk.GetArrayFromImage(distances) <= millimetres + 1e-4) | (mask > 0)
    assert np.array_equal(grow(mask, geometry, millimetres), expected)


def test_a_margin_around_one_voxel_is_a_ball_in_mm() -> None:
    geometry = a_grid(turned())
    grown = grow(one_voxel(geometry), geometry, 6.3)
    assert np.array_equal(grown, np.linalg.norm(away_from(geometry, (20, 18, 10)), axis=-1) <= 6.3)
    assert grown.sum() * geometry.voxel_ml == pytest.approx(4 / 3 * np.pi * 0.63**3, rel=0.1)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_margins_follow_the_patients_axes_and_not_the_grids(direction: str) -> None:
    geometry = a_grid(DIRECTIONS[direction])
    margins = Margins(left=7, right=3, anterior=0, posterior=6, superior=9, inferior=4)
    x, y, z = np.moveaxis(away_from(geometry, (20, 18, 10)), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [
            np.where(np.abs(v) < 1e-9, 0.0, v / np.where(v > 0, plus, minus))
            for v, plus, minus in ((x, 7, 3), (y, 6, 0), (z, 9, 4))
        ]
    expected = sum(part**2 for part in parts) <= 1 + 1e-6
    assert np.array_equal(grow(one_voxel(geometry), geometry, margins), expected)


def test_growing_one_way_only_moves_one_face() -> None:
    geometry = a_grid()
    mask = an_organ(geometry)
    grown = grow(mask, geometry, Margins(left=4.0, right=0, anterior=0, posterior=0, superior=0, inferior=0))
    expected = mask.copy()
    for step in range(1, 6):  # 4 mm at 0.8 mm
        expected[:, :, step:] |= mask[:, :, :-step]
    assert np.array_equal(grown, expected)


def test_both_ways_of_growing_agree_where_they_meet() -> None:
    geometry = a_grid(turned())
    mask = an_organ(geometry)
    ball = grow(mask, geometry, 6.0)
    nearly = grow(mask, geometry, Margins(6.0, 6.0, 6.0, 6.0, 6.0, 6.0 + 1e-7))
    assert np.array_equal(ball, nearly)


MASKS = arrays(np.uint8, (5, 7, 6), elements=st.integers(0, 1)).filter(lambda mask: mask.any())
REACH = st.floats(0, 8, allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(MASKS, st.tuples(*[REACH] * 6), st.tuples(*[REACH] * 6))
def test_larger_margins_contain_smaller_ones_and_the_organ(
    mask: np.ndarray, one: tuple[float, ...], other: tuple[float, ...]
) -> None:
    geometry = Geometry((6, 7, 5), (1.0, 1.5, 3.0), direction=tuple(float(v) for v in turned().ravel()))
    small = grow(mask, geometry, Margins(*np.minimum(one, other)))
    large = grow(mask, geometry, Margins(*np.maximum(one, other)))
    assert (small >= mask).all()
    assert (large >= small).all()
    assert (grow(mask, geometry, max(*one, *other)) >= large).all()


@settings(max_examples=20, deadline=None)
@given(MASKS, REACH)
def test_a_margin_of_nothing_is_the_organ(mask: np.ndarray, reach: float) -> None:
    geometry = Geometry((6, 7, 5), (1.0, 1.5, 3.0))
    assert np.array_equal(grow(mask, geometry, 0.0), mask)
    assert np.array_equal(grow(mask, geometry, reach, within=np.zeros_like(mask)), mask)


def test_a_margin_ends_at_the_volumes_border() -> None:
    geometry = a_grid()
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    mask[0, 0, 0] = 1
    grown = grow(mask, geometry, 100.0)
    assert grown.all()
    assert grown.shape == geometry.shape


def test_a_ring_is_the_margin_without_the_organ_within_the_body() -> None:
    geometry = a_grid()
    mask = an_organ(geometry)
    body = np.zeros_like(mask)
    body[:, :, :28] = 1
    around = ring(mask, geometry, 5.0, within=body)
    assert not (around & mask).any()
    assert not around[:, :, 28:].any()
    assert np.array_equal(around | mask, grow(mask, geometry, 5.0, within=body))
    assert around.dtype == np.uint8


def test_the_body_holds_its_gas_and_not_the_table() -> None:
    geometry = Geometry((60, 60, 6), (2.0, 2.0, 5.0))
    hu = np.full(geometry.shape, -1000, dtype=np.int16)
    j, i = np.indices((60, 60))
    inside = ((i - 30) / 22) ** 2 + ((j - 26) / 16) ** 2 <= 1
    hu[:, inside] = 40
    gas = (i - 24) ** 2 + (j - 22) ** 2 <= 9
    hu[:, gas] = -900
    hu[:, 47:49, 4:56] = 100
    hu[:, 42:47, 30] = 100
    body = body_mask(Volume(hu, geometry))
    assert not body[:, 45:].any()
    assert body[:, gas].all()
    assert np.count_nonzero(body[0]) == pytest.approx(np.count_nonzero(inside), rel=0.02)


def test_a_volume_of_air_has_no_body_to_stop_at() -> None:
    geometry = a_grid()
    assert body_mask(Volume(np.full(geometry.shape, -1000, dtype=np.int16), geometry)).all()


@pytest.mark.parametrize("margin", [-1.0, 100.5, float("nan"), Margins(1, 1, 1, 1, 1, -2)])
def test_margins_out_of_range_are_refused(margin: float | Margins) -> None:
    geometry = a_grid()
    with pytest.raises(InputError) as refusal:
        grow(an_organ(geometry), geometry, margin)
    assert refusal.value.code == "margin-out-of-range"


def test_an_empty_segment_has_no_margin() -> None:
    geometry = a_grid()
    with pytest.raises(InputError) as refusal:
        grow(np.zeros(geometry.shape, dtype=np.uint8), geometry, 5.0)
    assert refusal.value.code == "segment-empty"

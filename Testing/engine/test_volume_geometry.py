"""Grids and boxes: what holds for every one of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from Testing.helpers.ct_files import DIRECTIONS, a_ct, a_grid
from Testing.helpers.grids import grids, quick

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.geometry import lps_ras
from pancreasseg.io.grids import make_geometry


def boxes(lowest: int = -50, highest: int = 90) -> st.SearchStrategy[Box]:
    """Any box, inside, outside or inverted."""
    index = st.tuples(*[st.integers(lowest, highest)] * 3)
    return st.builds(Box, index, index)


def proper_boxes() -> st.SearchStrategy[Box]:
    """Boxes with voxels, inside a grid or not."""
    start, size = st.tuples(*[st.integers(-20, 60)] * 3), st.tuples(*[st.integers(1, 30)] * 3)
    return st.builds(lambda a, n: Box(a, tuple(x + y for x, y in zip(a, n, strict=True))), start, size)


@st.composite
def grids_with_boxes(draw: st.DrawFn) -> tuple[Geometry, Box]:
    """A grid and a box with voxels inside it."""
    grid = draw(grids())
    start = [draw(st.integers(0, n - 1)) for n in grid.size]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, grid.size, strict=True)]
    return grid, Box(tuple(start), tuple(stop))


points = st.tuples(*[st.floats(-500, 500)] * 3)


# Geometry


@quick
@given(grids(), points)
def test_an_index_survives_the_way_to_the_world_and_back(grid, index) -> None:
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, rtol=0, atol=1e-7)


@quick
@given(grids(), points)
def test_the_matrix_and_to_world_agree(grid, index) -> None:
    np.testing.assert_allclose(grid.to_world(index), (grid.index_to_world @ [*index, 1])[:3], rtol=0, atol=1e-8)


@quick
@given(grids())
def test_many_points_are_mapped_as_each_alone(grid) -> None:
    indices = np.arange(24.0).reshape(2, 4, 3)
    together = grid.to_world(indices)
    assert together.shape == indices.shape
    np.testing.assert_allclose(together[1, 2], grid.to_world(indices[1, 2]))
    np.testing.assert_allclose(grid.to_index(together), indices, atol=1e-8)


@quick
@given(grids())
def test_a_grid_survives_json(grid) -> None:
    import json

    assert Geometry.from_dict(json.loads(json.dumps(grid.as_dict()))) == grid


@quick
@given(grids(), proper_boxes(), points)
def test_a_cropped_grid_has_its_voxels_where_the_whole_has_them(grid, box, index) -> None:
    inside = np.asarray(index) - box.start
    np.testing.assert_allclose(grid.crop(box).to_world(inside), grid.to_world(index), rtol=0, atol=1e-8)
    assert grid.crop(box).shape == box.shape


@quick
@given(grids())
def test_a_grid_is_itself_but_not_its_neighbour(grid) -> None:
    i, j, k = grid.size
    neighbour = Box((0, 0, 0), (i, j, k + 1))
    assert grid.same_grid(grid)
    assert not grid.same_grid(grid.crop(neighbour))
    moved = Geometry(grid.size, grid.spacing, tuple(o + 0.01 for o in grid.origin), grid.direction)
    assert not grid.same_grid(moved)
    assert grid.same_grid(moved, tolerance_mm=0.02)


def test_sizes_and_volumes_are_in_millimetres_and_millilitres() -> None:
    grid = Geometry((10, 20, 30), (0.5, 1.0, 2.0))
    assert grid.shape == (30, 20, 10)
    assert grid.extent_mm == (5.0, 20.0, 60.0)
    assert grid.voxel_ml == pytest.approx(0.001)


@quick
@given(grids())
def test_an_orthonormal_grid_is_kept_to_the_bit(grid) -> None:
    assert make_geometry(grid.size, grid.spacing, grid.origin, grid.axes) == grid


@quick
@given(grids(), st.integers(3, 6))
def test_rounded_cosines_become_orthonormal_without_moving_a_voxel_far(grid, digits) -> None:
    rounded = np.round(grid.axes, digits)
    made = make_geometry(grid.size, grid.spacing, grid.origin, rounded)
    np.testing.assert_allclose(made.axes.T @ made.axes, np.eye(3), atol=2e-6)
    assert made.same_grid(grid, tolerance_mm=max(grid.extent_mm) * 3 * 10.0**-digits + 1e-6)


@pytest.mark.parametrize(
    ("spacing", "origin", "direction"),
    [
        ((1, 0, 1), (0, 0, 0), np.eye(3)),
        ((1, -1, 1), (0, 0, 0), np.eye(3)),
        ((1, np.nan, 1), (0, 0, 0), np.eye(3)),
        ((1, 1, 1), (np.inf, 0, 0), np.eye(3)),
        ((1, 1, 1), (0, 0, 0), np.zeros((3, 3))),
        ((1, 1, 1), (0, 0, 0), np.ones((3, 3))),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(spacing, origin, direction) -> None:
    with pytest.raises(InputError) as caught:
        make_geometry((5, 5, 5), spacing, origin, direction)
    assert caught.value.code == "bad-geometry"


def test_an_array_that_does_not_fit_its_grid_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Volume(a_ct(), a_grid(shape=(3, 3, 3)))


# Box


@quick
@given(boxes())
def test_a_box_survives_its_bounds(box) -> None:
    assert Box.from_bounds(box.bounds()) == box


@quick
@given(boxes(), grids())
def test_a_clipped_box_lies_inside_and_clipping_again_changes_nothing(box, grid) -> None:
    clipped = box.clip(grid)
    assert all(0 <= a <= n and 0 <= b <= n for a, b, n in zip(clipped.start, clipped.stop, grid.size, strict=True))
    assert clipped.clip(grid) == clipped


@quick
@given(boxes(), grids())
def test_the_slices_of_a_clipped_box_pick_exactly_its_voxels(box, grid) -> None:
    assert np.zeros(grid.shape, bool)[box.clip(grid).slices].size == box.clip(grid).voxels


@quick
@given(proper_boxes(), grids())
def test_clipping_keeps_exactly_the_voxels_that_are_in_the_volume(box, grid) -> None:
    k, j, i = np.indices(grid.shape)
    inside = np.ones(grid.shape, bool)
    for axis, index in enumerate((i, j, k)):
        inside &= (index >= box.start[axis]) & (index < box.stop[axis])
    picked = np.zeros(grid.shape, bool)
    picked[box.clip(grid).slices] = True
    np.testing.assert_array_equal(picked, inside)


@quick
@given(grids(), st.data())
def test_the_box_of_a_mask_is_the_smallest_that_holds_it(grid, data) -> None:
    voxels = data.draw(st.lists(st.tuples(*[st.integers(0, n - 1) for n in grid.shape]), max_size=5))
    mask = np.zeros(grid.shape, np.uint8)
    for voxel in voxels:
        mask[voxel] = 1
    box = Box.of_mask(mask)
    if not voxels:
        assert box is None
        return
    assert box is not None
    assert mask[box.slices].sum() == mask.sum()
    found = np.array(voxels)[:, ::-1]
    assert box.start == tuple(found.min(axis=0))
    assert box.stop == tuple(found.max(axis=0) + 1)


@quick
@given(grids_with_boxes(), st.floats(0, 40))
def test_a_grown_box_has_at_least_the_margin_or_ends_at_the_volume(placed, margin) -> None:
    grid, inner = placed
    grown = inner.grow(margin, grid)
    for axis in range(3):
        low = (inner.start[axis] - grown.start[axis]) * grid.spacing[axis]
        high = (grown.stop[axis] - inner.stop[axis]) * grid.spacing[axis]
        assert low >= margin - 1e-4 or grown.start[axis] == 0
        assert high >= margin - 1e-4 or grown.stop[axis] == grid.size[axis]
        assert max(low, high) < margin + grid.spacing[axis] + 1e-4


@quick
@given(grids_with_boxes())
def test_no_margin_changes_nothing(placed) -> None:
    grid, box = placed
    assert box.grow(0.0, grid) == box


def test_a_margin_can_differ_along_each_axis() -> None:
    grid = Geometry((100, 100, 100), (1.0, 2.0, 5.0))
    grown = Box((50, 50, 50), (60, 60, 60)).grow((3, 3, 3), grid)
    assert grown == Box((47, 48, 49), (63, 62, 61))
    assert Box((50, 50, 50), (60, 60, 60)).grow((0, 4, 0), grid) == Box((50, 48, 50), (60, 62, 60))


@quick
@given(proper_boxes(), proper_boxes())
def test_the_common_part_is_in_both_and_the_union_holds_both(one, other) -> None:
    common, union = one.intersect(other), one.union(other)
    assert common == other.intersect(one) or common.voxels == 0
    assert union.intersect(one) == one
    assert union.intersect(other) == other
    if common.voxels:
        assert common.intersect(one) == common
    assert common.voxels == int(
        np.prod(
            [
                max(min(a, b) - max(c, d), 0)
                for a, b, c, d in zip(one.stop, other.stop, one.start, other.start, strict=True)
            ]
        )
    )
    assert min(common.size) >= 0


@quick
@given(grids_with_boxes())
def test_a_box_in_the_frame_of_a_crop_picks_the_same_voxels(placed) -> None:
    grid, outer = placed
    values = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    inner = Box(outer.start, tuple(a + max(1, n // 2) for a, n in zip(outer.start, outer.size, strict=True)))
    np.testing.assert_array_equal(values[outer.slices][inner.relative_to(outer).slices], values[inner.slices])


@quick
@given(proper_boxes(), grids())
def test_a_box_of_a_person_is_clipped_or_refused(box, grid) -> None:
    inside = box.clip(grid)
    if inside.voxels:
        assert Box.checked(box.bounds(), grid) == inside
        return
    with pytest.raises(InputError) as caught:
        Box.checked(box.bounds(), grid)
    assert caught.value.code == "box-outside-volume"


@pytest.mark.parametrize("bounds", [(5, 5, 0, 9, 0, 9), (9, 2, 0, 9, 0, 9), (0, 9, 0, 9, 7, 3)])
def test_an_inverted_or_empty_box_is_refused(bounds) -> None:
    with pytest.raises(InputError) as caught:
        Box.checked(bounds, a_grid())
    assert caught.value.code == "box-inverted"


def test_a_box_knows_its_measures() -> None:
    box = Box((1, 2, 3), (4, 6, 8))
    assert box.size == (3, 4, 5)
    assert box.shape == (5, 4, 3)
    assert box.voxels == 60
    assert box.extent_mm(Geometry((9, 9, 9), (1.0, 2.0, 3.0))) == (3.0, 8.0, 15.0)
    assert Box.whole(a_grid()).shape == a_grid().shape
    assert Box((4, 4, 4), (2, 6, 6)).voxels == 0


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_axes_are_the_columns_of_the_direction(direction) -> None:
    grid = a_grid(direction)
    step = grid.to_world((0, 1, 0)) - grid.to_world((0, 0, 0))
    np.testing.assert_allclose(step, direction[:, 1] * grid.spacing[1], atol=1e-12)


def test_between_lps_and_ras_two_signs_change_and_no_zero_gets_one() -> None:
    point = np.array([1.5, -2.25, 3.125])
    np.testing.assert_array_equal(lps_ras(point), [-1.5, 2.25, 3.125])
    matrix = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(lps_ras(lps_ras(matrix)), matrix)
    assert not np.signbit(lps_ras((0.0, 0.0, 0.0))).any()

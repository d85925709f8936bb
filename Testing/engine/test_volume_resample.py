"""Between a volume's grid and a network's: no shift, no turn, nothing lost at the border."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from Testing.helpers.ct_files import DIRECTIONS, SHAPE, a_ct, a_grid
from Testing.helpers.grids import grids, quick

from pancreasseg.core import Box, Geometry
from pancreasseg.grids.resample import AIR_HU, from_grid, nearest_axes, network_grid, paste, to_grid, to_image

BOX = Box((2, 3, 1), (16, 17, 11))
ORIENTATIONS = ["LPS", "RAS", "LAI", "SPL", "AIR"]


def linear(grid: Geometry) -> np.ndarray:
    """A function that is linear in the world, on the voxels of a grid, shape (K, J, I)."""
    k, j, i = np.indices(grid.shape)
    return grid.to_world(np.stack([i, j, k], axis=-1)) @ np.array([0.5, -1.25, 2.0]) + 30


def by_scipy(array: np.ndarray, geometry: Geometry, grid: Geometry, outside: float) -> np.ndarray:
    """Linear resampling by an implementation of its own, with voxels that reach half a step beyond their centres."""
    k, j, i = np.indices(grid.shape)
    index = geometry.to_index(grid.to_world(np.stack([i, j, k], axis=-1)))
    inside = np.all((index >= -0.5 + 1e-6) & (index <= np.asarray(geometry.size) - 0.5 - 1e-6), axis=-1)
    inside_or_edge = np.all((index >= -0.5 - 1e-6) & (index <= np.asarray(geometry.size) - 0.5 + 1e-6), axis=-1)
    assert np.array_equal(inside, inside_or_edge), "the example must not put voxels on the very border"
    values = map_coordinates(array.astype(float), np.moveaxis(index, -1, 0)[::-1], order=1, mode="nearest")
    return np.where(inside, values, outside)


# Grids of networks


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_axes_are_those_that_simpleitk_orients_to(direction, orientation) -> None:
    """SimpleITK's orientation code names where an axis points to, as here."""
    geometry = a_grid(direction)
    oriented = sitk.DICOMOrient(to_image(a_ct(), geometry), orientation)
    chosen = nearest_axes(geometry, orientation)
    assert oriented.GetSize() == tuple(geometry.size[a] for a, _ in chosen)
    mine = np.stack([geometry.axes[:, a] * sign for a, sign in chosen], axis=1)
    np.testing.assert_allclose(np.reshape(oriented.GetDirection(), (3, 3)), mine, atol=1e-9)


@quick
@given(grids(), st.sampled_from(ORIENTATIONS))
def test_every_axis_is_used_once_and_points_the_way_its_letter_says(grid, orientation) -> None:
    chosen = nearest_axes(grid, orientation)
    assert sorted(a for a, _ in chosen) == [0, 1, 2]
    world = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    for letter, (axis, sign) in zip(orientation, chosen, strict=True):
        assert np.dot(grid.axes[:, axis] * sign, world[letter]) >= -1e-9


@quick
@given(grids(), st.sampled_from(ORIENTATIONS), st.tuples(*[st.integers(1, 30)] * 3))
def test_a_grid_of_given_size_covers_the_box_from_face_to_face(geometry, orientation, size) -> None:
    box = Box.whole(geometry)
    grid = network_grid(geometry, box, size=size, orientation=orientation)
    assert grid.size == size
    apart = np.linalg.norm(_corners(grid)[:, None] - _corners(geometry)[None], axis=-1)
    assert apart.min(axis=0).max() < 1e-5
    assert apart.min(axis=1).max() < 1e-5


def _corners(grid: Geometry) -> np.ndarray:
    """The eight outer corners in the world."""
    return grid.to_world(np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.size])).reshape(3, -1).T)


@quick
@given(grids(), st.tuples(*[st.floats(0.5, 9)] * 3))
def test_a_grid_of_given_spacing_covers_the_box_centred_with_the_fewest_voxels(geometry, spacing) -> None:
    box = Box.whole(geometry)
    grid = network_grid(geometry, box, spacing=spacing)
    assert grid.spacing == spacing
    np.testing.assert_allclose(
        grid.to_world((np.array(grid.size) - 1) / 2), geometry.to_world((np.array(geometry.size) - 1) / 2), atol=1e-6
    )
    for (axis, _), length, step in zip(nearest_axes(geometry), grid.extent_mm, spacing, strict=True):
        over = length - geometry.extent_mm[axis]
        assert -1e-5 * step <= over < step


@pytest.mark.parametrize("given_", [{}, {"size": (4, 4, 4), "spacing": (1.0, 1.0, 1.0)}])
def test_either_size_or_spacing_is_given(given_) -> None:
    with pytest.raises(ValueError, match="either spacing or size"):
        network_grid(a_grid(), BOX, **given_)


# There and back


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_linear_function_survives_the_way_there_and_back(direction, orientation) -> None:
    geometry = a_grid(direction)
    grid = network_grid(geometry, BOX, spacing=(1.7, 2.3, 2.9), orientation=orientation)
    there = to_grid(linear(geometry), geometry, grid)
    np.testing.assert_allclose(there, linear(grid), rtol=0, atol=2e-3)
    back = from_grid(there, grid, geometry, BOX)
    assert back.shape == BOX.shape
    inner = (slice(1, -1),) * 3  # beyond the outermost centres of the grid the last value is kept
    np.testing.assert_allclose(back[inner], linear(geometry)[BOX.slices][inner], rtol=0, atol=2e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_grid_of_the_same_spacing_is_a_rearrangement_without_loss(direction, orientation) -> None:
    geometry = a_grid(direction)
    size = [BOX.size[a] for a, _ in nearest_axes(geometry, orientation)]
    grid = network_grid(geometry, BOX, size=size, orientation=orientation)
    there = to_grid(a_ct(), geometry, grid)
    np.testing.assert_allclose(np.sort(there.ravel()), np.sort(a_ct()[BOX.slices].ravel()), rtol=0, atol=1e-3)
    np.testing.assert_allclose(from_grid(there, grid, geometry, BOX), a_ct()[BOX.slices], rtol=0, atol=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_the_way_there_is_that_of_scipy(direction) -> None:
    geometry = a_grid(direction)
    whole = Box((-2, -1, -2), (20, 22, 13))  # reaches beyond the volume
    grid = network_grid(geometry, whole, spacing=(1.31, 1.57, 1.83), orientation="LAI")
    np.testing.assert_allclose(
        to_grid(a_ct(), geometry, grid), by_scipy(a_ct(), geometry, grid, AIR_HU), rtol=0, atol=0.01
    )


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_the_way_to_a_coarser_grid_averages_blocks_first(direction) -> None:
    geometry = a_grid(direction, shape=(12, 20, 18))
    factors = (3, 2, 2)  # along i, j, k
    grid = network_grid(geometry, Box.whole(geometry), spacing=[6.1, 5.3, 6.7])
    chosen = [a for a, _ in nearest_axes(geometry)]
    factors = [int(grid.spacing[chosen.index(a)] / geometry.spacing[a]) for a in range(3)]
    fi, fj, fk = factors
    padded = np.pad(a_ct().astype(float), [(0, -n % f) for n, f in zip(SHAPE, (fk, fj, fi), strict=True)], mode="edge")
    k, j, i = (n // f for n, f in zip(padded.shape, (fk, fj, fi), strict=True))
    blocks = padded.reshape(k, fk, j, fj, i, fi).mean(axis=(1, 3, 5))
    origin = geometry.to_world([(f - 1) / 2 for f in factors])
    coarse = Geometry(
        (i, j, k),
        tuple(s * f for s, f in zip(geometry.spacing, factors, strict=True)),
        tuple(origin),
        geometry.direction,
    )
    np.testing.assert_allclose(to_grid(a_ct(), geometry, grid), by_scipy(blocks, coarse, grid, AIR_HU), atol=0.6)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_the_way_back_is_that_of_scipy(direction) -> None:
    geometry = a_grid(direction)
    grid = network_grid(geometry, BOX, spacing=(3.7, 4.1, 5.3), orientation="SPL")
    values = np.random.default_rng(3).random(grid.shape).astype(np.float32)
    wanted = by_scipy(values, grid, geometry.crop(BOX), 0.0)
    np.testing.assert_allclose(from_grid(values, grid, geometry, BOX), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", range(13, 20))
def test_no_slice_at_the_border_is_lost_to_air(size) -> None:
    """Blocks of three slices do not divide every number of slices."""
    geometry = Geometry((size, size, size), (1.0, 1.0, 1.0))
    grid = network_grid(geometry, Box.whole(geometry), spacing=(3.0, 3.0, 3.0))
    values = to_grid(np.full(geometry.shape, 40, np.int16), geometry, grid)
    inner = tuple(slice(1, -1) for _ in range(3))
    assert np.all(values[inner] == 40)
    k, j, i = np.indices(grid.shape)
    index = geometry.to_index(grid.to_world(np.stack([i, j, k], axis=-1)))
    centre_inside = np.all((index > -0.5) & (index < size - 0.5), axis=-1)
    assert np.all(values[centre_inside] == 40)


def test_the_share_of_a_mask_in_a_coarse_voxel_is_not_rounded() -> None:
    geometry = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    mask = np.zeros(geometry.shape, np.uint8)
    mask[:, :, ::4] = 1
    grid = network_grid(geometry, Box.whole(geometry), spacing=(4.0, 4.0, 4.0))
    np.testing.assert_allclose(to_grid(mask, geometry, grid, outside=0.0), 0.25)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_every_kind_of_array_is_resampled_to_float32(dtype) -> None:
    geometry = a_grid()
    grid = network_grid(geometry, BOX, size=(5, 5, 5))
    values = to_grid(np.ones(SHAPE, dtype), geometry, grid)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, 1.0)


def test_beyond_the_volume_there_is_air() -> None:
    geometry = a_grid()
    grid = network_grid(geometry, Box((-20, 0, 0), (-10, 20, 12)), spacing=(2.0, 2.0, 2.0))
    assert np.all(to_grid(a_ct(), geometry, grid) == AIR_HU)


# Pasting


def test_pasting_is_exact_and_zero_elsewhere() -> None:
    geometry = a_grid()
    values = np.random.default_rng(0).integers(0, 2, BOX.shape).astype(np.uint8)
    whole = paste(values, BOX, geometry)
    np.testing.assert_array_equal(whole[BOX.slices], values)
    assert whole.sum() == values.sum()
    assert whole.dtype == np.uint8
    assert paste(values * 0.5, BOX, geometry, np.float32).max() == 0.5


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (BOX.shape, Box((-1, 0, 0), (13, 14, 10))),
        (BOX.shape, Box((10, 3, 1), (24, 17, 11))),
        ((1, 14, 14), BOX),
        ((14, 14, 10), BOX),
    ],
    ids=["before", "beyond", "broadcast", "axes swapped"],
)
def test_what_does_not_fit_is_not_pasted(shape, box) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        paste(np.ones(shape, np.uint8), box, a_grid())

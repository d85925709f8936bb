"""Volume, HU, shape and place of a mask: against analytic bodies and definitions."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import marching_cubes, mesh_surface_area

from pancreasseg.core import Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.measurement import Code
from pancreasseg.measure import Measurement, measure
from pancreasseg.measure.centreline import centreline
from pancreasseg.measure.shape import axial_diameters, surface_area

SPACINGS = [(1.0, 1.0, 1.0), (0.75, 0.75, 2.5), (1.0, 0.8, 3.0)]


def coordinates(spacing, half):
    """Z, Y, X in mm around 0 of a grid that reaches ``half`` mm each way (along x, y, z)."""
    axes = [np.arange(-h - s / 3, h + s, s) for h, s in zip(half[::-1], spacing[::-1], strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def ball(radius, spacing):
    z, y, x = coordinates(spacing, (radius + 3,) * 3)
    return x**2 + y**2 + z**2 <= radius**2


def bent_tube(radius, spacing, bend=50):
    """Half a ring of radius ``bend``, round at its ends: pi * bend + 2 * radius from tip to tip."""
    z, y, x = coordinates(spacing, (bend + radius + 3, radius + 3, bend + radius + 3))
    tube = (np.hypot(np.hypot(x, z) - bend, y) <= radius) & (z >= 0)
    for side in (-bend, bend):
        tube |= (x - side) ** 2 + y**2 + z**2 <= radius**2
    return tube


def by_name(rows):
    return {row.name: row for row in rows}


def measured(mask, array=None, **geometry):
    k, j, i = mask.shape
    array = np.zeros(mask.shape, np.int16) if array is None else array
    return by_name(measure(mask, Volume(array, Geometry((i, j, k), **geometry))))


def test_volume_is_the_voxels_and_stands_beside_the_range_of_adults() -> None:
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[1:4, 2:6, 3:8] = 1
    rows = measured(mask, spacing=(0.5, 2.0, 3.0))
    assert rows["voxels"].value == 60
    assert rows["volume"].value == pytest.approx(60 * 3 / 1000)
    assert "72.4 ± 25.8 ml" in rows["volume"].note


def test_hu_statistics_are_those_of_the_voxels_inside() -> None:
    random = np.random.default_rng(1)
    array = random.integers(-200, 300, (9, 10, 11)).astype(np.int16)
    mask = random.random(array.shape) > 0.6
    rows = measured(mask, array)
    inside = array[mask].astype(float)
    assert rows["hu_mean"].value == pytest.approx(inside.mean())
    assert rows["hu_sd"].value == pytest.approx(np.sqrt(((inside - inside.mean()) ** 2).sum() / (len(inside) - 1)))
    assert rows["hu_median"].value == np.median(inside)
    assert [rows[f"hu_p{p}"].value for p in (5, 25, 75, 95)] == pytest.approx(np.percentile(inside, [5, 25, 75, 95]))


def test_any_non_zero_voxel_and_bool_masks_count_alike() -> None:
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[1:4, 1:3, 1:5] = 7
    assert measured(mask) == measured(mask > 0)


def test_place_and_extent_follow_the_patient_not_the_array() -> None:
    # i runs towards superior, j to the right, k to the back; all flipped or permuted against LPS.
    direction = (0, -1, 0, 0, 0, 1, 1, 0, 0)
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:2, 1:4, 2:6] = 1
    geometry = {"spacing": (2.0, 3.0, 4.0), "origin": (10.0, 20.0, 30.0), "direction": direction}
    rows = measured(mask, **geometry)
    assert [rows[f"extent_{d}"].value for d in ("rl", "ap", "si")] == [9.0, 4.0, 8.0]
    assert [rows[f"centroid_{d}"].value for d in "lps"] == pytest.approx([10 - 2 * 3, 20 + 1 * 4, 30 + 3.5 * 2])


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radius", [12, 20])
def test_surface_area_of_a_ball_is_right_within_two_percent(radius, spacing) -> None:
    assert surface_area(ball(radius, spacing), spacing) == pytest.approx(4 * math.pi * radius**2, rel=0.02)


def test_surface_area_beats_a_binary_mesh_on_a_ball() -> None:
    mask, truth = ball(15, (1.0, 1.0, 1.0)), 4 * math.pi * 15**2
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(float), 0.5)
    assert abs(surface_area(mask, (1.0, 1.0, 1.0)) - truth) < abs(mesh_surface_area(vertices, faces) - truth) / 4


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radius", [6, 12])
def test_length_of_a_bent_tube_is_right_within_three_percent(radius, spacing) -> None:
    found = centreline(bent_tube(radius, spacing), spacing)
    assert found.length_mm == pytest.approx(math.pi * 50 + 2 * radius, rel=0.03)


def test_the_centreline_keeps_to_the_middle_of_the_tube() -> None:
    spacing, radius = (0.75, 0.75, 2.5), 12
    points = centreline(bent_tube(radius, spacing), spacing).points
    z, y, x = coordinates(spacing, (50 + radius + 3, radius + 3, 50 + radius + 3))
    first = np.array([x.min(), y.min(), z.min()])
    px, py, pz = (points * spacing + first).T
    middle = slice(len(points) // 6, -len(points) // 6)
    assert np.hypot(np.hypot(px, pz) - 50, py)[middle].max() < 3


def test_length_is_that_of_the_largest_piece() -> None:
    mask = np.zeros((20, 20, 60), bool)
    mask[5:12, 5:12, 5:45] = True
    alone = centreline(mask, (1.0, 1.0, 1.0)).length_mm
    mask[18, 18, 59] = True
    assert centreline(mask, (1.0, 1.0, 1.0)).length_mm == alone


def test_a_neck_of_one_voxel_does_not_cut_the_length() -> None:
    mask = np.zeros((30, 30, 90), bool)
    mask[10:20, 10:20, 5:40] = True
    mask[15, 15, 40:50] = True
    mask[10:20, 10:20, 50:85] = True
    assert 80 <= centreline(mask, (0.7, 0.7, 0.7)).length_mm / 0.7 <= 95


def test_one_voxel_and_a_row_of_voxels_are_as_long_as_they_are() -> None:
    one = np.zeros((3, 3, 9), bool)
    one[1, 1, 4] = True
    assert centreline(one, (1.6, 1.6, 5.0)).length_mm == 5.0
    one[1, 1, 2:8] = True
    assert centreline(one, (1.6, 1.6, 5.0)).length_mm == pytest.approx(6 * 1.6)


def test_diameters_of_an_ellipse_turned_in_the_slice() -> None:
    spacing = (0.8, 0.6, 5.0)
    z, y, x = coordinates(spacing, (45, 45, 12))
    u, v = x * math.cos(0.6) + y * math.sin(0.6), y * math.cos(0.6) - x * math.sin(0.6)
    # Largest in the slice nearest to z = 0.
    mask = (u / 40) ** 2 + (v / 15) ** 2 <= 1 - (z / 15) ** 2
    found = axial_diameters(mask, spacing, 0)
    biggest = math.sqrt(1 - (np.abs(z).min() / 15) ** 2)
    assert found.long == pytest.approx(80 * biggest, abs=1)
    assert found.short == pytest.approx(30 * biggest, abs=1)
    assert found.index == int(np.abs(z[:, 0, 0]).argmin())


def test_two_pieces_in_a_slice_do_not_make_one_diameter() -> None:
    mask = np.zeros((3, 40, 80), bool)
    mask[1, 10:20, 5:25] = True
    mask[1, 10:20, 60:75] = True
    found = axial_diameters(mask, (1.0, 1.0, 1.0), 0)
    assert 20 <= found.long <= math.hypot(20, 10)


def test_the_short_diameter_of_a_bent_organ_is_its_thickness() -> None:
    mask = np.moveaxis(bent_tube(8, (1.0, 1.0, 1.0)), 1, 0)  # the ring lies in the slice
    found = axial_diameters(mask, (1.0, 1.0, 1.0), 0)
    assert found.long == pytest.approx(116, abs=2)
    assert found.short < 58  # the height of the bow, which a projection would give


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_numbers_do_not_depend_on_how_the_array_is_stored(order) -> None:
    random = np.random.default_rng(3)
    spacing = (0.8, 1.1, 2.0)
    mask = np.pad(bent_tube(9, spacing, bend=24), 2)
    array = random.integers(0, 100, mask.shape).astype(np.int16)
    reference = measured(mask, array, spacing=spacing)
    # `order` is of array axes (k, j, i); the same patient, stored with other axes, the last one backwards.
    axes = [2 - a for a in order][::-1]
    columns = np.eye(3)[:, axes]
    columns[:, 2] *= -1
    turned, turned_array = (np.ascontiguousarray(np.transpose(m, order)[::-1]) for m in (mask, array))
    origin = np.zeros(3)
    origin[axes[2]] = (mask.shape[order[0]] - 1) * spacing[axes[2]]
    rows = measured(
        turned,
        turned_array,
        spacing=tuple(spacing[a] for a in axes),
        origin=tuple(origin),
        direction=tuple(columns.ravel()),
    )
    for name, row in reference.items():
        tolerance = {"rel": 0.02} if name in {"length", "diameter_short"} else {"rel": 1e-9}
        assert rows[name].value == pytest.approx(row.value, **tolerance), name


def test_an_empty_mask_has_a_volume_and_nothing_else() -> None:
    rows = measured(np.zeros((5, 6, 7), np.uint8))
    assert rows["volume"].value == rows["voxels"].value == 0
    for name in set(rows) - {"volume", "voxels"}:
        assert rows[name].value is None
        assert rows[name].note == "the mask is empty"
        assert rows[name].text == "-"


@given(st.integers(0, 2**27 - 1), st.sampled_from(SPACINGS))
@settings(max_examples=60, deadline=None)
def test_no_mask_however_small_or_odd_gives_a_crash_or_nan(bits, spacing) -> None:
    mask = np.array([bits >> n & 1 for n in range(27)], bool).reshape(3, 3, 3)
    rows = measured(mask, spacing=spacing)
    for row in rows.values():
        assert row.value is None or math.isfinite(row.value)
    if mask.any():
        assert rows["length"].value > 0
        assert rows["diameter_long"].value >= rows["diameter_short"].value > 0
        assert rows["surface_area"].value > 0
    assert (rows["hu_sd"].value is None) == (mask.sum() < 2)


def test_a_mask_of_another_grid_is_refused() -> None:
    volume = Volume(np.zeros((4, 5, 6), np.int16), Geometry((6, 5, 4)))
    with pytest.raises(InputError, match="The mask has 5 x 5 x 4 voxels, the volume 6 x 5 x 4") as refusal:
        measure(np.zeros((4, 5, 5), np.uint8), volume)
    assert refusal.value.code == "mask-grid"


def test_every_row_has_a_code_a_unit_and_an_own_name() -> None:
    rows = measure(np.ones((3, 3, 3), np.uint8), Volume(np.zeros((3, 3, 3), np.int16), Geometry((3, 3, 3))))
    assert len({row.name for row in rows}) == len(rows)
    assert len({(row.code.scheme, row.code.value) for row in rows}) == len(rows)
    for row in rows:
        assert row.unit_code.scheme == "UCUM"
        assert len(row.code.scheme) <= 16  # DICOM short strings
        assert len(row.code.value) <= 16
        assert len(row.code.meaning) <= 64


def test_standard_codes_are_those_of_dicom() -> None:
    from pydicom.sr._concepts_dict import concepts

    known = {(scheme, value) for scheme, names in concepts.items() for entry in names.values() for value in entry}
    rows = measure(np.ones((3, 3, 3), np.uint8), Volume(np.zeros((3, 3, 3), np.int16), Geometry((3, 3, 3))))
    standard = [(row.code.scheme, row.code.value) for row in rows if not row.code.scheme.startswith("99")]
    assert len(standard) >= 8
    assert set(standard) <= known
    units = {row.unit for row in rows} - {"ml", "{voxels}"}  # UCUM, but not in pydicom's dictionary
    assert units <= {value for scheme, value in known if scheme == "UCUM"}


def test_values_are_shown_as_people_read_them() -> None:
    code = Code("a", "99X", "a")
    assert Measurement("a", "A", 61.14, "ml", code).text == "61.1 ml"
    assert Measurement("a", "A", math.inf, "mm", code).text == "∞ mm"
    assert Measurement("a", "A", 0.8617, "1", code).text == "0.862"
    assert Measurement("a", "A", 76.6, "[hnsf'U]", code).text == "76.6 HU"
    with pytest.raises(ValueError, match="not a number"):
        Measurement("a", "A", math.nan, "ml", code)
    with pytest.raises(ValueError, match="unknown unit"):
        Measurement("a", "A", 1.0, "furlong", code)


def test_a_row_as_plain_data_has_its_code_and_note() -> None:
    row = Measurement("hd", "Hausdorff distance", math.inf, "mm", Code("hd", "99X", "HD"), "the mask is empty")
    assert row.as_dict() == {
        "name": "hd",
        "title": "Hausdorff distance",
        "value": math.inf,
        "unit": "mm",
        "code": {"scheme": "99X", "value": "hd", "meaning": "HD"},
        "note": "the mask is empty",
    }

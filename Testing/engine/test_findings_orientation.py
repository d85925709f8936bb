"""A patient who lies otherwise than the file says is told, with the axis; one who lies rightly is not."""

from dataclasses import replace

import numpy as np
import pytest
from Testing.helpers.ct_files import DIRECTIONS, a_ct, a_grid

from pancreasseg.core import Geometry, Volume
from pancreasseg.findings.result import review_ct
from pancreasseg.io.read import read_volume
from pancreasseg.phantom import make_phantom

#: By the axis of a (slice, row, column) array that is flipped.
FLIPPED = {0: "patient-upside-down", 1: "patient-back-to-front", 2: "patient-mirrored"}


@pytest.fixture(scope="module")
def patient() -> Volume:
    return make_phantom(1, spacing=(2.5, 2.5, 5.0), step=3.0).volume


def told(volume: Volume) -> list[str]:
    return [finding.code for finding in review_ct(volume) if finding.code.startswith("patient-")]


def flipped(volume: Volume, *axes: int) -> Volume:
    return replace(volume, array=np.ascontiguousarray(np.flip(volume.array, axes)))


def test_a_patient_who_lies_as_the_file_says_is_no_remark(patient) -> None:
    assert told(patient) == []


@pytest.mark.parametrize("axis", FLIPPED)
def test_voxels_in_the_wrong_order_are_told_with_their_axis(patient, axis) -> None:
    assert told(flipped(patient, axis)) == [FLIPPED[axis]]


@pytest.mark.parametrize("axis", FLIPPED)
def test_a_header_that_turns_an_axis_round_is_told_too(patient, axis) -> None:
    signs = np.ones(3)
    signs[2 - axis] = -1
    geometry = replace(patient.geometry, direction=tuple((patient.geometry.axes * signs).ravel()))
    assert told(replace(patient, geometry=geometry)) == [FLIPPED[axis]]


def test_a_body_turned_by_half_is_told_for_both_axes(patient) -> None:
    assert sorted(told(flipped(patient, 1, 2))) == ["patient-back-to-front", "patient-mirrored"]


def test_the_order_of_axes_makes_no_difference(patient) -> None:
    i, j, k = patient.geometry.size
    x, y, z = patient.geometry.spacing
    axes = patient.geometry.axes[:, [2, 0, 1]]
    geometry = Geometry((k, i, j), (z, x, y), patient.geometry.origin, tuple(axes.ravel()))
    turned = replace(patient, array=np.ascontiguousarray(patient.array.transpose(1, 2, 0)), geometry=geometry)
    assert told(turned) == []
    assert told(flipped(turned, 0)) == ["patient-back-to-front"]


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_ct_without_anatomy_is_not_judged(direction) -> None:
    assert told(Volume(a_ct(), a_grid(direction))) == []


@pytest.mark.parametrize("flip", [(), (2,)])
def test_a_trunk_that_is_even_on_both_sides_has_no_liver_on_the_left(flip) -> None:
    _, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 48, 56)], indexing="ij")
    hu = np.full(x.shape, -1000.0)
    radius = (x / 0.85) ** 2 + (y / 0.75) ** 2
    hu[radius < 1], hu[radius < 0.8] = -100, 50
    hu[x**2 + (y - 0.45) ** 2 < 0.02], hu[(x + 0.3) ** 2 + (y + 0.1) ** 2 < 0.05] = 500, 110
    hu += np.random.default_rng(0).normal(0, 8, hu.shape)
    geometry = Geometry((56, 48, 24), (4.0, 4.5, 5.0))
    assert told(flipped(Volume(hu.astype(np.int16), geometry), *flip)) == []


@pytest.mark.parametrize("part", ["upper", "lower"])
def test_a_part_of_the_abdomen_is_not_called_upside_down(patient, part) -> None:
    half = len(patient.array) // 2
    k = slice(half, None) if part == "upper" else slice(0, half)
    geometry = replace(patient.geometry, size=(*patient.geometry.size[:2], len(patient.array[k])))
    assert told(Volume(patient.array[k], geometry)) == []


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    ["ircadb17/ct", "totalseg-example/example_ct", "btcv-dev/btcv0026_ct", "unlabelled/pccs001_ct"],
)
def test_real_patients_are_told_from_their_mirror_images(real_data, name) -> None:
    (path,) = (real_data / "data").glob(f"{name}.nii.gz")
    volume = read_volume(path)
    assert told(volume) == []
    assert told(flipped(volume, 1)) == ["patient-back-to-front"]
    assert told(flipped(volume, 2)) == ["patient-mirrored"]
    assert set(told(flipped(volume, 0))) <= {"patient-upside-down"}

"""DICOM stacks that are no regular whole, hold other values than HU, or are damaged: refused, or remarked on."""

import numpy as np
import pytest
from pydicom.uid import RLELossless
from Testing.helpers.ct_files import a_ct, a_series, a_slice, read_apart, write_slices
from Testing.helpers.dicom_reading import codes, refused

from pancreasseg.core.errors import InputError
from pancreasseg.io.read import read_volume

# Stacks that are no regular whole


def test_missing_slices_are_refused_with_their_place(tmp_path) -> None:
    slices = a_series()
    del slices[4:6], slices[7]
    error = refused(write_slices(tmp_path, slices), "dicom-missing-slices")
    assert "3 slices of 12 are missing" in error.message
    assert "between 109.8 and 118.8 mm" in error.message


def test_one_missing_slice_is_refused(tmp_path) -> None:
    slices = a_series()
    del slices[5]
    assert "1 slice of 12 is missing" in refused(write_slices(tmp_path, slices), "dicom-missing-slices").message


def test_a_slice_that_is_there_twice_is_refused(tmp_path) -> None:
    slices = a_series()
    error = refused(write_slices(tmp_path, [*slices, a_slice(3, a_ct()[3] + 1)]), "dicom-duplicate-slices")
    assert "1 slice lies" in error.message
    assert "109.8 mm" in error.message


def test_two_phases_in_one_series_are_refused(tmp_path) -> None:
    assert (
        "12 slices lie"
        in refused(write_slices(tmp_path, a_series() + a_series(a_ct() + 40)), "dicom-duplicate-slices").message
    )


def test_uneven_slices_are_refused_and_slightly_uneven_ones_noted(tmp_path) -> None:
    slices = a_series()
    slices[5].ImagePositionPatient[2] += 0.09  # 3 % of a step
    volume = read_volume(write_slices(tmp_path / "slightly", slices))
    (finding,) = volume.findings
    assert finding.code == "slice-jitter"
    assert finding.number == pytest.approx(0.03, abs=1e-6)
    assert volume.geometry.spacing[2] == pytest.approx(3.0)
    slices[5].ImagePositionPatient[2] += 0.3
    refused(write_slices(tmp_path / "badly", slices), "dicom-irregular-spacing")


def test_a_gantry_tilt_is_refused_with_its_angle(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.ImagePositionPatient[1] += 0.8 * k
    error = refused(write_slices(tmp_path, slices), "dicom-gantry-tilt")
    assert f"{np.degrees(np.arctan2(0.8, 3)):.1f} degrees" in error.message


def test_a_table_that_moved_sideways_is_refused(tmp_path) -> None:
    slices = a_series()
    for data in slices[6:8]:
        data.ImagePositionPatient[0] += 4
    refused(write_slices(tmp_path, slices), "dicom-shifted-slices")


def test_a_drift_below_half_a_pixel_is_rounding(tmp_path) -> None:
    slices = a_series()
    for k, data in enumerate(slices):
        data.ImagePositionPatient[0] += 0.05 * k
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path, slices)).array, a_ct())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "dicom-mixed-orientations"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "dicom-mixed-orientations"),
        ({"PixelSpacing": [2.5, 2.2]}, "dicom-mixed-spacing"),
        ({"ImagePositionPatient": None}, "dicom-no-positions"),
        ({"PixelSpacing": None}, "dicom-no-positions"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "dicom-no-positions"),
    ],
)
def test_one_slice_that_does_not_fit_the_others_is_refused(tmp_path, change, code) -> None:
    slices = a_series()
    slices[5] = a_slice(5, **change)
    refused(write_slices(tmp_path, slices), code)


def test_slices_of_different_sizes_are_refused(tmp_path) -> None:
    slices = a_series()
    slices[5] = a_slice(5, np.zeros((16, 16), np.int16))
    assert "16 x 16" in refused(write_slices(tmp_path, slices), "dicom-mixed-sizes").message


def test_an_orientation_without_area_is_refused(tmp_path) -> None:
    folder = write_slices(tmp_path, a_series(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    refused(folder, "dicom-bad-orientation")


def test_gaps_between_thin_slices_are_remarked_on(tmp_path) -> None:
    (finding,) = read_volume(write_slices(tmp_path, a_series(SliceThickness=1))).findings
    assert finding.code == "slice-gap"
    assert finding.number == pytest.approx(2.0)


def test_empty_identifiers_are_remarked_on(tmp_path) -> None:
    slices = a_series(SeriesInstanceUID="", SOPInstanceUID="", SOPClassUID="")
    folder = write_slices(tmp_path, slices)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, a_ct())
    assert codes(volume) == ["dicom-empty-uids"]


# Values


@pytest.mark.parametrize("unit", ["Z_EFF", "ED"])
def test_maps_in_other_units_are_refused(tmp_path, unit) -> None:
    assert unit in refused(write_slices(tmp_path, a_series(RescaleType=unit)), "not-hu").message


def test_an_unspecified_unit_is_remarked_on(tmp_path) -> None:
    assert codes(read_volume(write_slices(tmp_path, a_series(RescaleType="US")))) == ["unit-not-stated"]


def test_a_ct_that_lost_its_rescale_is_refused(tmp_path) -> None:
    refused(write_slices(tmp_path, a_series(RescaleSlope=None, RescaleIntercept=None)), "not-hu")


# Damaged files


@pytest.mark.parametrize("lost", [1, 50, 700])
def test_a_truncated_slice_is_refused(tmp_path, lost) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob("image_*_5"))
    victim.write_bytes(victim.read_bytes()[:-lost])
    refused(folder, "dicom-truncated")


@pytest.mark.parametrize("keep", [140, 400, 800])
@pytest.mark.parametrize("which", [0, 5, 11])
def test_a_slice_cut_within_its_header_is_no_silent_gap(tmp_path, which, keep) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob(f"image_*_{which}"))
    victim.write_bytes(victim.read_bytes()[:keep])
    with pytest.raises(InputError):
        read_volume(folder)


def test_whatever_byte_is_damaged_there_is_a_volume_or_a_sentence(tmp_path) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob("image_*_5"))
    content = victim.read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(128, 1100, 2):
            damaged[place] = random.integers(0, 256)
        victim.write_bytes(damaged)
        try:
            read_volume(folder)
            outcomes.add("volume")
        except InputError as error:
            outcomes.add(error.code)
    assert {"volume", "dicom-damaged", "dicom-missing-slices"} <= outcomes


def test_pixels_of_an_odd_kind_are_refused(tmp_path) -> None:
    refused(write_slices(tmp_path, a_series(BitsAllocated=12)), "dicom-damaged")


def test_values_that_are_no_numbers_do_not_surface(tmp_path) -> None:
    folder = write_slices(tmp_path, a_series())
    victim = next(folder.glob("image_*_5"))
    victim.write_bytes(victim.read_bytes().replace(b"-31.5", b"Doe^J"))
    refused(folder, "dicom-no-positions")


def test_nothing_but_the_sentence_comes_out_of_a_damaged_picture(tmp_path) -> None:
    slices = a_series()
    for data in slices:
        data.compress(RLELossless)
    folder = write_slices(tmp_path, slices)
    victim = next(folder.glob("image_*_5"))
    content = victim.read_bytes()
    victim.write_bytes(content[:-300] + b"\x7f" * 300)
    done = read_apart(folder)
    assert done.stderr == ""
    assert done.stdout.startswith(("dicom-damaged ", "dicom-truncated "))

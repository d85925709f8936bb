"""Slices of one volume that do not belong together, and air that lies where no air is."""

import numpy as np
import pytest
from Testing.helpers.bright_model import a_patient

from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Severity
from pancreasseg.io.checks import check_ct


def codes_of(array: np.ndarray) -> list[str]:
    volume, _ = a_patient()
    return [finding.code for finding in check_ct(array, volume.geometry)]


def hu() -> np.ndarray:
    return a_patient()[0].array.copy()


def test_an_even_volume_is_no_remark() -> None:
    assert codes_of(hu()) == []


@pytest.mark.parametrize(
    ("which", "off"), [(slice(7, 8), 1024), (slice(20, None), 1024), (slice(0, 1), 1024), (slice(7, 8), 500)]
)
def test_slices_on_another_scale_are_told_and_where(which, off) -> None:
    array = hu()
    array[which] += np.int16(off)
    volume, _ = a_patient()
    (finding,) = check_ct(array, volume.geometry)
    assert finding.code == "slices-off-scale"
    assert finding.severity is Severity.SERIOUS
    assert finding.number == pytest.approx(off, abs=30)
    assert f"behind slice {which.start or which.stop}," in finding.sentence


def test_a_slice_whose_intercept_was_taken_twice_is_told() -> None:
    array = hu()
    array[7] -= 1024
    assert codes_of(array) == ["slices-off-scale"]


def test_slices_without_picture_are_told_within_the_scan_and_not_at_its_ends() -> None:
    array = hu()
    array[:2] = array[-1:] = -1024
    assert codes_of(array) == []
    array[9:11] = -1024
    volume, _ = a_patient()
    (finding,) = check_ct(array, volume.geometry)
    assert (finding.code, finding.number) == ("slices-blank", 2)
    assert "10, 11" in finding.sentence


def test_air_alone_before_the_body_begins_is_no_other_scale() -> None:
    array = hu()
    array[:5] = np.random.default_rng(0).normal(-1000, 6, array[:5].shape)
    assert codes_of(array) == []


def test_three_woven_phases_are_told() -> None:
    array = hu()
    for k in range(len(array)):
        array[k][array[k] > -200] += 40 * (k % 3)
    assert codes_of(array) == ["slices-alternate"]


def test_air_far_below_that_of_any_scanner_is_no_hu() -> None:
    volume, _ = a_patient()
    with pytest.raises(InputError) as caught:
        check_ct((hu() * 2).astype(np.int16), volume.geometry)
    assert caught.value.code == "not-hu"


@pytest.mark.parametrize("change", [lambda a: a / 2, lambda a: a + 200])
def test_air_above_its_place_is_remarked_on(change) -> None:
    assert codes_of(change(hu()).astype(np.float32)) == ["air-not-at-1000"]


@pytest.mark.parametrize("window", [(-500, 1000), (-400, 400), (-100, 240)])
def test_a_ct_clipped_to_a_window_has_its_air_where_it_was_clipped(window) -> None:
    assert "air-not-at-1000" not in codes_of(hu().clip(*window))


def test_padding_around_an_mr_makes_no_ct_of_it() -> None:
    volume, _ = a_patient()
    noise = np.random.default_rng(1).normal(0, 15, volume.array.shape)
    mr = np.where(volume.array > -500, 260, 20) + noise
    mr[:, :4] = -1500
    with pytest.raises(InputError) as caught:
        check_ct(mr.astype(np.int16), volume.geometry)
    assert caught.value.code == "not-hu"

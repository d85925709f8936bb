"""Means of blocks and masks grown by balls: the answers of SimpleITK and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from pancreasseg.grids.means import block_means
from pancreasseg.grids.morphology import dilated, filled, opened


def a_mask(seed: int = 0) -> np.ndarray:
    """Blobs that meet the border and have holes."""
    noise = np.random.default_rng(seed).normal(size=(13, 34, 41))
    return np.asarray(ndimage.gaussian_filter(noise, 1.5) > 0.03)


@pytest.mark.parametrize("radius", [(2, 2, 0), (11, 11, 0), (7, 7, 3), (1, 3, 2), (0, 0, 1), (50, 60, 20)])
def test_a_mask_grows_and_opens_as_in_simpleitk(radius):
    mask = a_mask()
    mask[:, 5:30] = False  # room to grow into
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    assert np.array_equal(dilated(mask, radius), sitk.GetArrayFromImage(sitk.BinaryDilate(image, radius)) > 0)
    ours = opened(a_mask(), radius)
    image = sitk.GetImageFromArray(a_mask().astype(np.uint8))
    assert np.array_equal(ours, sitk.GetArrayFromImage(sitk.BinaryMorphologicalOpening(image, radius)) > 0)


def test_holes_are_filled_as_in_scipy():
    mask = a_mask(1)
    assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))
    slices = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    assert np.array_equal(filled(mask, slicewise=True), slices)
    assert not np.array_equal(slices, mask)


@pytest.mark.parametrize("mask", [np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)])
def test_nothing_and_everything_stay_what_they_are(mask):
    assert np.array_equal(filled(mask), mask)
    assert np.array_equal(filled(mask, slicewise=True), mask)
    assert np.array_equal(dilated(mask, (2, 2, 1)), mask)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("factors", [(5, 4, 2), (1, 1, 3), (2, 1, 1), (99, 50, 40)])
def test_means_of_blocks_are_those_of_simpleitk(dtype, factors):
    array = np.random.default_rng(2).integers(0 if dtype == np.uint16 else -1024, 1500, (20, 33, 47)).astype(dtype)
    image = sitk.GetImageFromArray(array)
    missing = [-n % f for n, f in zip(image.GetSize(), factors, strict=True)]
    padded = sitk.ZeroFluxNeumannPad(image, [0, 0, 0], missing)
    expected = sitk.GetArrayFromImage(sitk.BinShrink(padded, factors))
    assert np.allclose(block_means(array, factors, complete=True), expected, rtol=0, atol=1e-3)
    if factors[0] < 47:
        expected = sitk.GetArrayFromImage(sitk.BinShrink(image, factors))
        assert np.allclose(block_means(array, factors), expected, rtol=0, atol=1e-3)


def test_means_of_a_mask_are_shares():
    mask = np.zeros((2, 2, 2), np.uint8)
    mask[0] = 1
    assert block_means(mask, (2, 2, 2)).tolist() == [[[0.5]]]

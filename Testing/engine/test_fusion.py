"""Voting, cleaning and the faces of the box."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label

from pancreasseg.core import Box, Geometry
from pancreasseg.pipelines.fusion import fuse
from pancreasseg.pipelines.postprocess import clean, touched_faces


def test_two_of_three_voters_decide() -> None:
    voters = [np.array([[[a]]], dtype=np.float32) for a in (0.9, 0.6, 0.0)]
    fused = fuse(voters)
    assert fused.mask.item()
    assert fused.agreement.item() == pytest.approx(2 / 3)
    assert fused.probability.item() == pytest.approx(0.5)


def test_one_of_two_voters_is_no_majority() -> None:
    assert not fuse([np.full((1, 1, 1), p, np.float32) for p in (0.9, 0.1)]).mask.item()


def test_soft_vote_follows_the_mean() -> None:
    voters = [np.full((1, 1, 1), p, np.float32) for p in (1.0, 0.45, 0.3)]
    assert not fuse(voters, "majority").mask.item()
    assert fuse(voters, "soft").mask.item()


@given(st.lists(arrays(np.float32, (2, 3, 2), elements=st.floats(0, 1, width=32)), min_size=1, max_size=5))
def test_the_order_of_voters_does_not_matter_and_agreement_is_a_share(voters: list[np.ndarray]) -> None:
    there, back = fuse(voters), fuse(voters[::-1])
    np.testing.assert_array_equal(there.mask, back.mask)
    assert ((there.agreement >= 0.5) | ~there.mask).all()
    assert (there.agreement <= 1).all()


def test_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        fuse([np.zeros((1, 1, 1), np.float32), np.zeros((2, 1, 1), np.float32)])
    with pytest.raises(ValueError, match="unknown fusion"):
        fuse([np.zeros((1, 1, 1), np.float32)], "loudest")


def test_cleaning_keeps_the_largest_component_and_fills_its_holes() -> None:
    mask = np.zeros((12, 14, 16), dtype=bool)
    mask[2:8, 3:9, 4:10] = True
    mask[4, 5, 6] = False  # a hole
    mask[10:12, 12:14, 13:16] = True  # another piece
    organ = clean(mask)
    expected = np.zeros_like(mask)
    expected[2:8, 3:9, 4:10] = True
    np.testing.assert_array_equal(organ.mask, expected)
    assert organ.second_largest == pytest.approx(12 / 215)


@given(arrays(bool, (6, 6, 6)))
def test_cleaning_agrees_with_scikit_image(mask: np.ndarray) -> None:
    organ = clean(mask).mask
    components = label(mask, connectivity=3)
    if components.max() == 0:
        assert not organ.any()
        return
    sizes = np.bincount(components.ravel())[1:]
    kept = organ & mask
    assert label(organ, connectivity=3).max() == 1
    assert kept.sum() == sizes.max()


def test_an_empty_mask_stays_empty() -> None:
    assert not clean(np.zeros((3, 3, 3), dtype=bool)).mask.any()


def test_faces_on_the_border_of_the_volume_cannot_grow() -> None:
    geometry = Geometry((10, 10, 10))
    box = Box((0, 2, 2), (5, 8, 10))
    mask = np.zeros(box.shape, dtype=bool)
    mask[:, 3, :] = True  # touches the i and k faces on both sides
    assert touched_faces(mask, box, geometry) == ((0, 0, 1), (1, 0, 0))

"""The 2.5D network and what it sees of a CT."""

import numpy as np
import pytest
import torch
from Testing.helpers.model_cards import card_of, checked, network_entry, preprocessing

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import ModelError
from pancreasseg.grids.network_input import Preprocessing
from pancreasseg.networks import AxialUNet, build
from pancreasseg.networks.fold import fold_batch_norm

NEIGHBOURS = (-10.0, -5.0, 0.0, 5.0, 10.0)


def small(**changes) -> AxialUNet:
    torch.manual_seed(0)
    network = build("axial-unet", **{"slices": 5, "classes": 3, "channels": [4, 6, 8], **changes})
    for module in network.modules():  # as after training: statistics that are not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return network


def ramp(spacing=(2.0, 2.0, 2.5), size=(20, 16, 24)) -> Volume:
    """A CT whose every slice holds its own height in mm as HU."""
    i, j, k = size
    heights = np.arange(k, dtype=np.float32) * spacing[2]
    array = np.broadcast_to(heights[:, None, None], (k, j, i)).astype(np.float32).copy()
    return Volume(array, Geometry(size, spacing, (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)))


def way(**changes) -> Preprocessing:
    settings = {"spacing_mm": (2.0, 2.0, 2.5), "own_slices": True, "neighbours_mm": NEIGHBOURS}
    return Preprocessing(**{**settings, **changes})


def test_a_volume_comes_out_as_its_slices_do_one_by_one():
    network = small().eval()
    volume = torch.randn(1, 5, 11, 21, 30)
    with torch.inference_mode():
        whole = network(volume)
        single = torch.stack([network(volume[:, :, k])[0] for k in range(11)], dim=1)
    assert whole.shape == (1, 3, 11, 21, 30)
    torch.testing.assert_close(whole[0], single, atol=1e-5, rtol=1e-4)


def test_folding_the_batch_norms_changes_no_result():
    network, slices = small().eval(), torch.randn(2, 5, 32, 32)
    with torch.inference_mode():
        before = network(slices)
        folded = fold_batch_norm(network)
        after = folded(slices)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)


def test_training_learns_from_the_second_level_too():
    full, half = small()(torch.randn(2, 5, 32, 48))
    assert full.shape == (2, 3, 32, 48)
    assert half.shape == (2, 3, 16, 24)


@pytest.mark.parametrize("arguments", [{"slices": 4}, {"channels": [8]}], ids=["even", "one level"])
def test_a_network_that_cannot_be_is_refused_in_words(arguments):
    with pytest.raises(ModelError, match="odd number of slices"):
        build("axial-unet", **arguments)


def test_the_channels_are_the_slices_at_their_distances():
    volume = ramp()
    box = Box((4, 4, 6), (16, 12, 14))
    values, grid = way().prepare(volume, box)
    heights = np.arange(6, 14) * 2.5
    assert values.shape == (5, 8, *grid.shape[1:])
    for channel, distance in zip(values, NEIGHBOURS, strict=True):
        np.testing.assert_allclose(channel, np.broadcast_to((heights + distance)[:, None, None], channel.shape))


def test_at_the_ends_of_a_ct_its_last_slice_stands_in():
    values, _ = way().prepare(ramp(), Box((4, 4, 0), (16, 12, 24)))
    assert values.min() == 0.0
    assert values.max() == 23 * 2.5
    np.testing.assert_array_equal(values[0, 0], values[2, 0])
    np.testing.assert_array_equal(values[4, -1], values[2, -1])


@pytest.mark.parametrize(("thickness", "seen"), [(1.0, 2.0), (1.6, 1.6), (3.0, 3.0), (5.0, 5.0)])
def test_a_network_sees_whole_slices_of_the_ct(thickness, seen):
    volume = ramp(spacing=(2.0, 2.0, thickness), size=(20, 16, 48))
    grid = way(spacing_mm=(2.0, 2.0, 2.0)).grid(volume.geometry, Box.whole(volume.geometry))
    assert grid.spacing[2] == pytest.approx(seen)


def test_thick_slices_are_not_mixed():
    volume = ramp(spacing=(1.5, 1.5, 5.0), size=(20, 16, 12))
    values, _ = way(spacing_mm=(1.5, 1.5, 2.0)).prepare(volume, Box.whole(volume.geometry))
    np.testing.assert_array_equal(np.unique(values), np.arange(12) * 5.0)


def test_the_context_is_wider_within_the_slice_only():
    volume = ramp()
    box = way(context_mm=5.0).context(Box((6, 6, 6), (10, 10, 10)), volume.geometry)
    assert (box.start, box.stop) == ((3, 3, 6), (13, 13, 10))


def axial(role: str, **changes):
    settings = preprocessing(own_slices=True, neighbours_mm=list(NEIGHBOURS), context_mm=10, **changes)
    arguments = {"slices": 5, "classes": 2, "channels": [4, 6]}
    return network_entry(role, network="axial-unet", arguments=arguments, members=["net"], preprocessing=settings)


def test_one_network_may_have_two_roles_and_see_the_ct_in_another_way_in_each():
    card = checked(card_of(axial("localizer", millimetres=4.0), axial("segmenter")))
    assert [network.members for network in card.networks] == [("net",), ("net",)]
    assert card.networks[0].preprocessing.neighbours_mm == NEIGHBOURS
    assert card.networks[1].preprocessing.context_mm == 10


def test_two_networks_cannot_share_their_weights():
    with pytest.raises(ModelError, match="share a name"):
        checked(card_of(axial("localizer"), network_entry("segmenter", members=["net"])))


@pytest.mark.parametrize("wrong", [{"neighbours_mm": []}, {"neighbours_mm": ["up"]}, {"array_axes": "ijk"}])
def test_a_card_with_wrong_neighbours_is_refused(wrong):
    entry = axial("segmenter")
    entry["preprocessing"].update(wrong)
    with pytest.raises(ModelError, match="neighbours_mm"):
        checked(card_of(entry))


@pytest.mark.parametrize(
    "window", [(slice(20, 41), slice(13, 50)), (slice(60, 70), slice(0, 3)), (slice(33, 34), slice(82, 83))]
)
def test_some_rows_and_columns_get_the_logits_that_they_have_among_all(window):
    torch.manual_seed(0)
    network = AxialUNet(slices=3, classes=3, channels=(4, 6, 8, 8)).eval()
    x = torch.randn(1, 3, 2, 70, 83)
    with torch.inference_mode():
        assert torch.allclose(network(x, window), network(x)[(..., *window)], atol=1e-5)

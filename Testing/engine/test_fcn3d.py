"""The network of valid convolutions: published tile sizes, odd sizes, how far a voxel sees."""

import pytest
import torch

from pancreasseg import networks
from pancreasseg.core.errors import ModelError
from pancreasseg.networks.fcn3d import FCN3d
from pancreasseg.networks.fold import fold_batch_norm


def small() -> FCN3d:
    torch.manual_seed(0)
    network = FCN3d(channels=(2, 3), classes=3)
    network.train()
    for _ in range(2):
        network(torch.randn(2, 1, 24, 24, 24))  # norms as after training
    return network.eval()


def test_the_published_network_has_the_published_tile():
    network = networks.build("fcn3d")
    assert network.margin == 44
    assert [network.tile(n) for n in (44, 44, 28)] == [132, 132, 116]
    widths = [(block[0][0].out_channels, block[1][0].out_channels) for block in network.down]
    assert widths == [(32, 64), (64, 128), (128, 256), (256, 512)]
    # Çiçek's network, which it is, has 19 million.
    assert 18e6 < sum(p.numel() for p in network.parameters()) < 20e6


def test_four_levels_lose_exactly_the_margin():
    network = FCN3d(channels=(1, 1, 1, 1)).train()
    assert network(torch.randn(2, 1, 132, 116, 100)).shape == (2, 2, 44, 28, 12)


@pytest.mark.parametrize("size", [(24, 24, 24), (27, 18, 41), (1, 2, 3)])
def test_logits_have_the_inputs_size_for_any_size(size):
    assert small()(torch.randn(1, 1, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("size", [(20, 24, 28), (21, 30, 33)])
def test_without_padding_an_odd_size_loses_the_margin_too(size):
    network = small()
    m = network.margin
    assert m == 8
    assert network.valid(torch.randn(1, 1, *size)).shape == (1, 3, *(n - 2 * m for n in size))
    with pytest.raises(ValueError, match="more than 16"):
        network.valid(torch.randn(1, 1, 16, 24, 24))


def test_a_tile_with_its_surroundings_gives_what_the_whole_gives():
    network = small()
    network.padded = False
    x = torch.randn(1, 1, 36, 28, 28)
    with torch.inference_mode():
        whole = network(x)
        part = network(x[:, :, 8:])  # a step that suits the pooling
    torch.testing.assert_close(part, whole[:, :, 8:])


def test_a_voxel_sees_no_farther_than_the_margin_and_one_pooling_cell():
    network = small()
    x = torch.randn(1, 1, 44, 20, 20).requires_grad_()
    network.valid(x)[0, :, 14, 2, 2].sum().backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 3, 4)))
    centre = 14 + network.margin
    assert 4 < centre - int(seen.min()) <= network.margin + 1
    assert 4 < int(seen.max()) - centre <= network.margin + 1


def test_folding_the_batch_norms_changes_nothing():
    network = small()
    x = torch.randn(1, 1, 9, 10, 11)
    with torch.inference_mode():
        before = network(x)
        folded = fold_batch_norm(network)
        assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in folded.modules())
        torch.testing.assert_close(folded(x), before, atol=1e-4, rtol=1e-4)


def test_one_level_is_refused():
    with pytest.raises(ModelError, match="two levels"):
        networks.build("fcn3d", channels=(8,))

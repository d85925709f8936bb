import numpy as np
import pytest
import torch
from torch.nn import functional

from pancreasseg import networks
from pancreasseg.networks.obelisk import sample_moved

PUBLISHED = {"obelisk-hybrid": ("obeliskhybrid", 229_217), "obelisk-unet": ("allconvunet", 883_740)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_has_the_published_number_of_parameters(name):
    assert sum(p.numel() for p in networks.build(name).parameters()) == PUBLISHED[name][1]


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 12, 22)])
def test_logits_have_the_size_of_the_input_and_every_parameter_learns(name, size):
    network = networks.build(name, classes=3)
    logits = network(torch.randn(2, 1, *size))
    assert logits.shape == (2, 3, *size)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_samples_are_those_of_direct_interpolation():
    from scipy.ndimage import map_coordinates

    image = torch.randn(1, 1, 9, 7, 5, dtype=torch.float64)
    offsets = torch.randn(1, 3, 1, 1, 3, dtype=torch.float64) * 0.2
    samples = sample_moved(image, offsets, (4, 3, 2))[0].numpy()
    shape = np.array([9, 7, 5])
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (4, 3, 2)], indexing="ij"))
    for channel in range(3):
        # grid_sample's order has the last axis first
        moved = points + offsets[0, channel, 0, 0].numpy()[::-1, None, None, None]
        index = (moved + 1) / 2 * (shape[:, None, None, None] - 1)
        expected = map_coordinates(image[0, 0].numpy(), index, order=1, mode="grid-constant", cval=0.0)
        np.testing.assert_allclose(samples[channel], expected, atol=1e-10)


@pytest.mark.real_data
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("fold", [1, 4])
def test_published_weights_fit_to_the_letter(real_data, name, fold):
    path = real_data / "models" / "obelisk" / f"{PUBLISHED[name][0]}_tcia_fold{fold}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = networks.build(name)
    network.load_state_dict(state, strict=True)
    assert functional.softmax(network.eval()(torch.zeros(1, 1, 16, 16, 16)), dim=1).isfinite().all()

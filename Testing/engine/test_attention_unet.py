"""The Attention U-Net: its gate against an independent reference, shapes, gradients and folding."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pancreasseg import networks
from pancreasseg.core.errors import ModelError
from pancreasseg.networks.attention_unet import AttentionGate, AttentionGates
from pancreasseg.networks.fold import fold_batch_norm

SMALL = {"channels": (3, 4, 5), "classes": 3}


def linear(x: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Trilinear interpolation between voxel centres, edges repeated, by scipy."""
    places = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(size, x.shape, strict=True)]
    return ndimage.map_coordinates(x, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


def reference_gate(x: np.ndarray, g: np.ndarray, gate: AttentionGate) -> np.ndarray:
    """The paper's equations voxel by voxel in numpy: x (C, A, B, C), g (D, a, b, c) -> alpha (A, B, C)."""
    weight_x = gate.of_skip.weight.detach().numpy()
    weight_g, bias_g = gate.of_gating.weight.detach().numpy()[..., 0, 0, 0], gate.of_gating.bias.detach().numpy()
    psi, bias_psi = gate.psi.weight.detach().numpy()[0, :, 0, 0, 0], float(gate.psi.bias.detach())
    half = tuple((n + 1) // 2 for n in x.shape[1:])
    signal = np.stack([linear(m, half) for m in np.einsum("fd,dabc->fabc", weight_g, g) + bias_g[:, None, None, None]])
    alpha = np.zeros(half)
    whole = np.zeros((x.shape[0], *(2 * n for n in half)))
    whole[:, : x.shape[1], : x.shape[2], : x.shape[3]] = x
    for a, b, c in np.ndindex(*half):
        cube = whole[:, 2 * a : 2 * a + 2, 2 * b : 2 * b + 2, 2 * c : 2 * c + 2]
        q = np.maximum(np.tensordot(weight_x, cube, axes=4) + signal[:, a, b, c], 0)
        alpha[a, b, c] = 1 / (1 + np.exp(-(psi @ q + bias_psi)))
    return linear(alpha, x.shape[1:])


@pytest.mark.parametrize("size", [(6, 8, 4), (7, 5, 9)])
def test_the_gate_computes_the_papers_equations(size):
    torch.manual_seed(0)
    gate = AttentionGate(3, 5, 4, "instance")
    x, g = torch.randn(1, 3, *size), torch.randn(1, 5, *((n + 1) // 2 for n in size))
    found = gate.attention(x, g)[0, 0].detach().numpy()
    np.testing.assert_allclose(found, reference_gate(x[0].numpy(), g[0].numpy(), gate), atol=1e-5)
    assert 0 < found.min() < found.max() < 1


def test_a_gate_that_is_shut_lets_nothing_through_and_an_open_one_all():
    gate = AttentionGate(3, 5, 4, "batch").eval()
    x, g = torch.randn(1, 3, 6, 6, 6), torch.randn(1, 5, 3, 3, 3)
    with torch.no_grad():
        gate.psi.weight.zero_()
        gate.psi.bias.fill_(-50)
        torch.testing.assert_close(gate(x, g), gate.out(torch.zeros_like(x)))
        gate.psi.bias.fill_(50)
        torch.testing.assert_close(gate(x, g), gate.out(x))


def test_heads_are_independent_and_fused():
    gates = AttentionGates(3, 4, 5, 4, "instance")
    x, g = torch.randn(2, 4, 6, 7, 8), torch.randn(2, 5, 3, 4, 4)
    maps = gates.attention(x, g)
    assert maps.shape == (2, 3, 6, 7, 8)
    assert float((maps[:, 0] - maps[:, 1]).abs().max().detach()) > 1e-3
    assert gates(x, g).shape == x.shape


@pytest.mark.parametrize("size", [(32, 32, 32), (33, 37, 41), (5, 1, 50)])
@pytest.mark.parametrize("heads", [1, 4])
def test_logits_have_the_inputs_size_for_any_size(size, heads):
    network = networks.build("attention-unet", heads=heads, **SMALL)
    assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)


def test_attention_maps_can_be_read_out_at_the_inputs_size():
    network = networks.build("attention-unet", channels=(3, 4, 5, 6), heads=2).eval()
    with torch.inference_mode():
        maps = network.attention(torch.randn(1, 1, 33, 20, 40))
    assert [m.shape for m in maps] == [(1, 2, 33, 20, 40)] * 2  # the finest level has no gate
    assert all(0 < float(m.min()) <= float(m.max()) < 1 for m in maps)


def test_every_parameter_of_the_published_size_gets_a_gradient():
    network = networks.build("attention-unet", norm="instance")
    network(torch.randn(1, 1, 32, 32, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias before an instance norm is subtracted again.
    assert all(name.endswith("out.0.bias") for name in without)
    assert len(network.gates) == 3


def test_a_voxel_sees_as_far_as_the_levels_reach():
    network = networks.build("attention-unet", **SMALL).eval()
    x = torch.randn(1, 1, 32, 97, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network(x)[0, 1, 16, 48, 16].backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 2, 4)))
    # Two poolings and 3x3x3 convolutions: the way down sees 2·(1 + 2 + 4) voxels to each side, the way up as much.
    assert 14 <= 48 - int(seen.min()) <= 40
    assert 14 <= int(seen.max()) - 48 <= 40


def test_folding_the_batch_norms_changes_nothing():
    torch.manual_seed(0)
    network = networks.build("attention-unet", **SMALL)
    x = torch.randn(2, 1, 32, 32, 32)
    network(x)
    network.eval()
    with torch.inference_mode():
        before = network(x)
        torch.testing.assert_close(fold_batch_norm(network)(x), before, atol=1e-4, rtol=1e-4)


def test_arguments_that_make_no_network_are_refused():
    for arguments in ({"heads": 0}, {"channels": (8,)}, {"norm": "none"}):
        with pytest.raises(ModelError, match="cannot be built"):
            networks.build("attention-unet", **arguments)

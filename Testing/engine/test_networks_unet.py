import math

import pytest
import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import DynUNet

from pancreasseg import networks
from pancreasseg.core.errors import ModelError
from pancreasseg.networks.fold import fold_batch_norm
from pancreasseg.networks.unet3d import ConvNormAct

ODD = (19, 13, 17)


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Norms as after training, so that a mistake in their order or their statistics shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "norm" in name else 0.0))
    return network


def copy_in_order(source: torch.nn.Module, target: torch.nn.Module, order: list[str]) -> None:
    """Copies the tensors of ``source`` whose names start with the prefixes in ``order`` to those of ``target``."""
    state = source.state_dict()
    ordered = [t for prefix in order for k, t in state.items() if k.startswith(prefix)]
    assert len(ordered) == len(state)
    target.load_state_dict(dict(zip(target.state_dict(), ordered, strict=True)))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_plain_block_computes_what_monai_computes(norm):
    ours = randomised(ConvNormAct(3, 5, 3, 2, norm, 0.02)).eval()
    theirs = Convolution(
        3, 3, 5, strides=2, kernel_size=3, adn_ordering="NDA", bias=False,
        act=("leakyrelu", {"negative_slope": 0.02}), norm=(norm, {"affine": True}),
    ).eval()  # fmt: skip
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 9, 8, 7)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("block", ["plain", "residual"])
def test_the_whole_network_computes_what_monais_dynunet_computes(block):
    strides = [(1, 2, 2), (2, 2, 2)]
    kernels = [3, 3, 3]
    ours = networks.build("unet3d", channels=(4, 6, 8), strides=strides, kernels=kernels, block=block, classes=3)
    randomised(ours).eval()
    theirs = DynUNet(
        3, 1, 3, kernels, [1, *strides], strides, filters=(4, 6, 8), res_block=block == "residual",
        norm_name=("instance", {"affine": True}), act_name=("leakyrelu", {"negative_slope": 0.01}),
    ).eval()  # fmt: skip
    state = dict(ours.state_dict())
    target = {k: v for k, v in theirs.state_dict().items() if not k.startswith("skip_layers")}
    unused = iter(state.values())
    mapping = {}
    # DynUNet lists a block as conv1, conv2, (conv3,) norm1, norm2, (norm3), ours each convolution with its norm.
    blocks = [k.rsplit(".conv1.", 1)[0] for k in target if k.endswith("conv1.conv.weight")]
    for name in blocks:
        up = name.replace("conv_block", "transp_conv.conv.weight")
        if name.endswith("conv_block"):
            mapping[up] = next(unused)
        for n in (1, 2, 3):
            for key in (f"{name}.conv{n}.conv.weight", f"{name}.norm{n}.weight", f"{name}.norm{n}.bias"):
                if key in target:
                    mapping[key] = next(unused)
    for key in ("weight", "bias"):
        mapping[f"output_block.conv.conv.{key}"] = next(unused)
    assert next(unused, None) is None
    assert not theirs.load_state_dict(mapping, strict=False).unexpected_keys
    assert set(mapping) == set(target)
    x = torch.randn(1, 1, 12, 16, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("upsampling", ["transposed", "linear"])
def test_odd_sizes_come_back_and_every_parameter_learns(block, norm, upsampling):
    network = networks.build(
        "unet3d", channels=(4, 6, 8), block=block, norm=norm, upsampling=upsampling, deep_supervision=2, classes=3
    )
    outputs = network(torch.randn(2, 1, *ODD))
    expected = [tuple(math.ceil(n / 2**level) for n in ODD) for level in range(3)]
    assert [tuple(o.shape) for o in outputs] == [(2, 3, *size) for size in expected]
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_evaluation_returns_one_map_of_the_input_size():
    network = networks.build("unet3d", channels=(4, 6), deep_supervision=1).eval()
    assert network(torch.randn(1, 1, *ODD)).shape == (1, 2, *ODD)


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 40, 40), (4, 4, 4), (2, 1, 5)])
def test_tiny_inputs_are_no_crash(size):
    network = networks.build("unet3d", channels=(4, 4, 4)).eval()
    output = network(torch.randn(1, 1, *size))
    assert output.shape == (1, 2, *size)
    assert output.isfinite().all()


def test_a_voxel_reaches_as_far_as_the_receptive_field_says():
    network = networks.build("unet3d", channels=(3, 3), norm="batch", slope=0.5).double().eval()
    x = torch.zeros(1, 1, 1, 1, 64, dtype=torch.float64, requires_grad=True)
    network(x)[0, 1, 0, 0, 32].backward()
    reach = torch.nonzero(x.grad[0, 0, 0, 0]).ravel()
    # Back from output 32: joined map 30..34, half-size map 15..17, 14..18 before its second convolution, 27..37 at full
    # size before the stride, 25..39 before the two convolutions there. Batch norm in evaluation spreads nothing.
    assert reach.tolist() == list(range(25, 40))


def test_bfloat16_and_channels_last_agree_with_float32():
    torch.manual_seed(0)
    network = networks.build("unet3d", channels=(8, 16), norm="batch").eval()
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        reference = network(x).softmax(1)
        network.to(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            quick = network(x.to(memory_format=torch.channels_last_3d)).float().softmax(1)
    assert (quick - reference).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("unet3d", {"channels": (3, 4), "norm": "batch"}),
        ("unet3d", {"channels": (3, 4), "norm": "batch", "block": "residual"}),
        ("unet3d", {"channels": (3, 4), "norm": "instance", "block": "residual"}),
        ("obelisk-hybrid", {}),
        ("obelisk-unet", {}),
    ],
)
def test_folding_batch_norms_changes_no_result(name, arguments):
    torch.manual_seed(0)
    network = networks.build(name, **arguments)
    x = torch.randn(2, 1, 16, 14, 12)
    with torch.no_grad():
        for _ in range(3):
            network(x + torch.randn_like(x))  # running statistics other than 0 and 1
        expected = network.eval()(x)
        convolutions = sum(isinstance(m, torch.nn.BatchNorm3d) for m in network.modules())
        folded = fold_batch_norm(network)
        torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-4)
    left = sum(isinstance(m, torch.nn.BatchNorm3d) for m in folded.modules())
    assert left == (8 if name == "obelisk-hybrid" else 0)  # those before its 1x1x1 layers follow a concatenation
    assert convolutions > left or arguments.get("norm") == "instance"


def test_an_unknown_network_names_the_known_ones():
    with pytest.raises(ModelError, match="unet3d"):
        networks.build("transformer9000")


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 5},
        {"norm": "layer"},
        {"block": "dense"},
        {"upsampling": "nearest"},
        {"channels": ()},
        {"strides": [2]},
        {"kernels": [2, 3, 3, 3]},
        {"strides": [[2, 2], 2, 2]},
        {"deep_supervision": 4},
        {"block": "residual", "convs": 3},
        {"channels": "wide"},
    ],
)
def test_arguments_that_make_no_network_are_refused_in_one_sentence(arguments):
    with pytest.raises(ModelError, match="argument"):
        networks.build("unet3d", **arguments)

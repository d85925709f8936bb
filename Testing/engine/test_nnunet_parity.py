"""The same numbers as nnU-Net's and TotalSegmentator's own code, which runs in an environment of its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from Testing.helpers import nnunet_folders as folders
from Testing.originals import environment

from pancreasseg import networks
from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.progress import Progress
from pancreasseg.inference.evidence import mirrored
from pancreasseg.inference.hardware import Hardware
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.nnunet.package import write_result
from pancreasseg.networks.nnunet import own_names
from pancreasseg.pipelines.trained_stage import TrainedStage

CPU = Hardware("cpu", "f32")
LARGEST = 1e-3  # of a logit; the issue of tiles and weights, not of rounding

_THIN = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
#: By name: plans, the CT, the configuration, the folds, mirroring.
CASES: dict[str, tuple[dict[str, Any], str, str, tuple[str, ...], bool]] = {
    "plain": (folders.plans((24, 24, 24)), "cube", "3d_fullres", ("0",), False),
    "smaller than a tile": (folders.plans((24, 24, 24)), "small", "3d_fullres", ("0",), False),
    "residual, transposed": (
        folders.plans((24, 32, 24), (1.5, 1.2, 1.2), architecture=folders.RESIDUAL, transposition=(2, 0, 1)),
        "cube", "3d_fullres", ("0",), False,
    ),
    "anisotropic": (
        folders.plans((8, 24, 24), (2.5, 0.9, 0.9), strides=_THIN, kernels=[[1, 3, 3], [3, 3, 3], [3, 3, 3]]),
        "thick", "3d_fullres", ("0",), False,
    ),
    "old plans": (folders.plans((8, 24, 24), (2.5, 0.9, 0.9), old=True), "thick", "3d_fullres", ("0",), False),
    "low resolution, z-score": (
        folders.plans((16, 16, 16), (3, 3, 3), name="3d_lowres", scheme="ZScoreNormalization"),
        "cube", "3d_lowres", ("0",), False,
    ),
    "z-score of what is not zero": (
        folders.plans((16, 16, 16), (2, 2, 2), scheme="ZScoreNormalization", masked=True),
        "rimmed", "3d_fullres", ("0",), False,
    ),
    "slices": (folders.plans((24, 32), (0.9, 0.9), name="2d"), "cube", "2d", ("0",), False),
    "two folds, mirrored": (folders.plans((24, 24, 24), (2, 2, 2)), "small", "3d_fullres", ("0", "1"), True),
}  # fmt: skip


def _ct(size: tuple[int, int, int], spacing: tuple[float, float, float], seed: int) -> Volume:
    noise = np.random.default_rng(seed).normal(0, 1, size[::-1])
    array = (ndimage.gaussian_filter(noise, 1.5) * 900 + 40).astype(np.int16)
    return Volume(array, Geometry(size, spacing, (3.0, -4.0, 5.0)))


@pytest.fixture(scope="module")
def cts() -> dict[str, Volume]:
    rimmed = _ct((30, 28, 20), (2.0, 2.0, 2.0), 3)
    rimmed.array[:3] = rimmed.array[:, -2:] = rimmed.array[:, :, :4] = 0
    return {
        "cube": _ct((40, 36, 27), (1.1, 0.9, 1.7), 0),
        "thick": _ct((40, 36, 9), (0.8, 0.8, 5.0), 1),
        "small": _ct((20, 22, 12), (1.5, 1.5, 1.5), 2),
        "rimmed": rimmed,
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, cts: dict[str, Volume]) -> Path:
    """A folder in which nnU-Net has built, saved and run every case."""
    folder = tmp_path_factory.mktemp("originals")
    for name, volume in cts.items():
        np.savez(folder / f"{name}.npz", array=volume.array, spacing=volume.geometry.spacing[::-1])
    jobs: list[dict[str, Any]] = []
    for name, (plans, ct, configuration, folds, mirroring) in CASES.items():
        result = str(folders.result(Path(name), name=configuration))
        facts = {"plans": plans, "dataset": folders.DATASET, "configuration": configuration, "folds": list(folds)}
        jobs.append({"job": "make", "folder": result, **facts, "mirror_axes": [0, 1, 2] if mirroring else None})
        jobs.append(
            {"job": "predict", "folder": result, "ct": f"{ct}.npz", "output": f"{name}.npz", "mirroring": mirroring}
        )
    jobs.append({"job": "networks", "output": "networks.pt", "cases": [case["theirs"] for case in NETWORKS.values()]})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment.run("nnunet", folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_whole_volume_gives_nnu_nets_logits(work, cts, tmp_path, name):
    _, ct, _, _, mirroring = CASES[name]
    package = write_result(work / name, tmp_path / "package", Choices(name="a-model"))
    stage = TrainedStage(package, package.card.networks[0], CPU)
    theirs = np.load(work / f"{name}.npz")
    volume = cts[ct]
    whole = stage.whole(volume)
    seen = whole.values(((0, 0, 0), whole.shape))
    assert seen.shape == theirs["data"].shape
    np.testing.assert_allclose(seen, theirs["data"], atol=1e-5)

    axes = stage.conventions.mirror_axes if mirroring else ()
    logits, _ = stage.look(
        whole, Box.whole(volume.geometry), Progress(), lambda network, image: mirrored(network, image, axes)
    )
    assert np.abs(theirs["logits"]).max() > 0.5
    assert np.abs(logits - whole.to_kji(theirs["logits"])).max() < LARGEST


@pytest.mark.parametrize("name", ["plain", "anisotropic", "residual, transposed"])
def test_a_ct_stored_otherwise_gives_the_same(work, cts, tmp_path, name):
    """nnU-Net takes the axes as they are stored; here a card's orientation says which they were."""
    volume = cts[CASES[name][1]]
    package = write_result(work / name, tmp_path / "package", Choices(name="a-model"))
    stage = TrainedStage(package, package.card.networks[0], CPU)
    geometry = volume.geometry
    corner = geometry.to_world([geometry.size[0] - 1, 0, geometry.size[2] - 1])
    turned = Volume(
        np.ascontiguousarray(volume.array[::-1, :, ::-1]),
        Geometry(geometry.size, geometry.spacing, tuple(corner), (-1, 0, 0, 0, 1, 0, 0, 0, -1)),
    )
    one, grid = stage.pancreas(volume, Box.whole(geometry), Progress())
    other, its_grid = stage.pancreas(turned, Box.whole(geometry), Progress())
    assert grid.same_grid(its_grid)
    np.testing.assert_allclose(one, other, atol=1e-4)


def _kwargs(dimensions: int, norm: str, **others: Any) -> dict[str, Any]:
    kinds = {"instance": "instancenorm.InstanceNorm", "batch": "batchnorm.BatchNorm"}
    axes = [3] * dimensions
    return {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": f"torch.nn.Conv{dimensions}d",
        "kernel_sizes": [[1, *axes[1:]], axes, axes],
        "strides": [[1] * dimensions, [1, *[2] * (dimensions - 1)], [2] * dimensions],
        "num_classes": 5,
        "n_conv_per_stage_decoder": [2, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.{kinds[norm]}{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        **others,
    }


def _network(kind: str, dimensions: int, norm: str) -> dict[str, Any]:
    counts = {"n_conv_per_stage": [2, 2, 3]} if kind == folders.PLAIN else {"n_blocks_per_stage": [1, 3, 2]}
    theirs = _kwargs(dimensions, norm, **counts)
    return {
        "theirs": {
            "class": f"dynamic_network_architectures.architectures.unet.{kind}",
            "kwargs": theirs,
            "size": [8, 16, 16][-dimensions:],
        },
        "ours": {
            "dimensions": dimensions,
            "channels": theirs["features_per_stage"],
            "kernels": theirs["kernel_sizes"],
            "strides": theirs["strides"],
            "decoder_convs": [2, 1],
            "classes": 5,
            "norm": norm,
            "convs" if kind == folders.PLAIN else "blocks": next(iter(counts.values())),
        },
        "name": "plain-conv-unet" if kind == folders.PLAIN else "residual-encoder-unet",
    }


NETWORKS = {
    f"{kind} {dimensions}D {norm}": _network(kind, dimensions, norm)
    for kind in (folders.PLAIN, folders.RESIDUAL)
    for dimensions in (2, 3)
    for norm in ("instance", "batch")
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_are_those_of_dynamic_network_architectures(work, name):
    case = NETWORKS[name]
    theirs = torch.load(work / "networks.pt")[list(NETWORKS).index(name)]
    network = networks.build(case["name"], **case["ours"]).eval()
    network.load_state_dict(own_names(theirs["state"]))
    with torch.inference_mode():
        answer = network(theirs["image"])
    assert theirs["answer"].abs().max() > 0.1
    torch.testing.assert_close(answer, theirs["answer"], atol=1e-4, rtol=1e-4)

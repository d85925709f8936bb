"""Result folders of nnU-Net v2 for tests: plans as nnU-Net writes them, and checkpoints of our networks in its form."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pancreasseg import networks
from pancreasseg.models.nnunet.plans import read_plan

DATASET: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "pancreas": 1, "cancer": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
CONFIGURATION = "3d_fullres"


def plans(
    patch: Sequence[int] = (16, 16, 16),
    spacing: Sequence[float] = (1.5, 1.5, 1.5),
    *,
    architecture: str = PLAIN,
    channels: Sequence[int] = (3, 4, 5),
    strides: Sequence[Sequence[int]] | None = None,
    kernels: Sequence[Sequence[int]] | None = None,
    transposition: Sequence[int] = (0, 1, 2),
    old: bool = False,
    name: str = CONFIGURATION,
    separate: bool | None = None,
    scheme: str = "CTNormalization",
    masked: bool = False,
    reader: str = "SimpleITKIO",
) -> dict[str, Any]:
    """A plans file with one configuration; ``old``: as before nnU-Net 2.2."""
    axes, stages = len(patch), len(channels)
    strides = strides or [[1] * axes] + [[2] * axes] * (stages - 1)
    kernels = kernels or [[3] * axes] * stages
    resampling = "resample_data_or_seg_to_shape"
    facts: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_" + name,
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [100] * axes,
        "spacing": list(spacing),
        "normalization_schemes": [scheme],
        "use_mask_for_norm": [masked],
        "batch_dice": True,
    }
    for what, order, seg in (("data", 3, False), ("seg", 1, True), ("probabilities", 1, False)):
        facts[f"resampling_fn_{what}"] = resampling
        settings = {"is_seg": seg, "order": order, "order_z": 0, "force_separate_z": separate}
        facts[f"resampling_fn_{what}_kwargs"] = settings
    counts = [2] * stages if architecture == PLAIN else [1, *[2] * (stages - 1)]
    if old:
        facts |= {
            "UNet_class_name": architecture,
            "UNet_base_num_features": channels[0],
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": counts,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "num_pool_per_axis": [stages - 1] * axes,
            "pool_op_kernel_sizes": strides,
            "conv_kernel_sizes": kernels,
        }
    else:
        facts["architecture"] = {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{architecture}",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(channels),
                "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
                "kernel_sizes": kernels,
                "strides": strides,
                "n_conv_per_stage" if architecture == PLAIN else "n_blocks_per_stage": counts,
                "n_conv_per_stage_decoder": [1] * (stages - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    return {
        "dataset_name": "Dataset007_Pancreas",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [2.5, 0.8, 0.8],
        "original_median_shape_after_transp": [100, 512, 512],
        "image_reader_writer": reader,
        "transpose_forward": list(transposition),
        "transpose_backward": [int(axis) for axis in np.argsort(transposition)],
        "configurations": {name: facts},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "max": 3071.0,
                "mean": 40.0,
                "median": 40.0,
                "min": -1000.0,
                "percentile_00_5": -120.0,
                "percentile_99_5": 250.0,
                "std": 60.0,
            }
        },
    }


def result(root: Path, dataset: str = "Dataset007_Pancreas", name: str = CONFIGURATION) -> Path:
    """Where the result of a configuration lies in a folder of results."""
    return root / dataset / f"nnUNetTrainer__nnUNetPlans__{name}"


def write_result(
    root: Path,
    given: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    *,
    name: str = CONFIGURATION,
    folds: Sequence[str] = ("0",),
    data: str = "Dataset007_Pancreas",
    outputs: int | None = None,
    seed: int = 0,
) -> Path:
    """A result folder with random weights; the folder of its configuration."""
    given, dataset = given or plans(), dataset or DATASET
    folder = result(root, data, name)
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(given))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plan = read_plan(given, name)
    for number, fold in enumerate(folds):
        torch.manual_seed(seed + number)
        network = networks.build(plan.network, **plan.arguments, classes=outputs or len(dataset["labels"]))
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint(network.state_dict(), name), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def checkpoint(state: dict[str, Any], name: str = CONFIGURATION) -> dict[str, Any]:
    """What nnU-Net saves, with the names that its networks give every tensor."""
    weights = dict(state)
    weights |= {f"decoder.{key}": value for key, value in state.items() if key.startswith("encoder.")}
    return {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"ema_fg_dice": [np.float64(0.5), np.float32(0.25)], "epoch": np.int64(3)},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": name, "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }

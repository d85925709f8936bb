"""What ``plans.json`` of nnU-Net v2 says about a network, read as data: nothing in it is ever imported or run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pancreasseg.core.errors import ModelError
from pancreasseg.grids.conventions import Conventions

#: The networks that can be built here, by the last part of the name in the plans.
ARCHITECTURES = {"PlainConvUNet": "plain-conv-unet", "ResidualEncoderUNet": "residual-encoder-unet"}
_MODULES = (
    "dynamic_network_architectures.architectures.unet.",
    "dynamic_network_architectures.architectures.residual_unet.",
)
_CONVS = {"Conv2d": 2, "Conv3d": 3}
_NORMS = {"InstanceNorm2d": "instance", "InstanceNorm3d": "instance", "BatchNorm2d": "batch", "BatchNorm3d": "batch"}
_ACTIVATIONS = {"LeakyReLU": "leaky-relu", "ReLU": "relu"}
_INTENSITIES = {
    "CTNormalization": "window",
    "NoNormalization": "window",
    "ZScoreNormalization": "z-score",
    "RescaleTo01Normalization": "unit-range",
}
_RESAMPLING = "resample_data_or_seg_to_shape"

#: More than any network that a computer of today runs; plans beyond are made to fill memory.
STAGES_LIMIT, WIDTH_LIMIT, COUNT_LIMIT, KERNEL_LIMIT, PATCH_LIMIT = 12, 4096, 64, 31, 1024
#: Slices that a network of two dimensions gets at once.
SLICES = 8


@dataclass(frozen=True)
class PlannedConfiguration:
    """One configuration of a plans file.

    Attributes:
        network: name for `pancreasseg.networks.build`.
        arguments: for it, without ``classes``.
        patch: along the network's axes.
        spacing: mm along the network's axes.
        window: HU are clipped to this, or None.
        scale, shift: value = HU * scale + shift.
        conventions: the way from CT to input.
        reader: nnU-Net's name for how files are read; it tells the orientation.
    """

    network: str
    arguments: dict[str, Any]
    patch: tuple[int, int, int]
    spacing: tuple[float, float, float]
    window: tuple[float, float] | None
    scale: float
    shift: float
    conventions: Conventions
    reader: str


def read_plan(plans: Any, name: str) -> PlannedConfiguration:
    """One configuration of a plans file, old or new.

    Args:
        plans: the parsed file.
        name: of the configuration, "2d", "3d_fullres" or "3d_lowres".

    Raises:
        ModelError: a cascade, or plans that lack something or ask for what this project does not have.
    """
    try:
        return _plan(plans, name)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ZeroDivisionError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise bad_plans(f"its configuration {name} cannot be understood: {what}") from error


def bad_plans(what: str) -> ModelError:
    """The error for plans that cannot be used."""
    return ModelError(
        "bad-plans",
        f"This nnU-Net model cannot be used: {what}.",
        "Choose another result folder, or another configuration of this one.",
    )


def _plan(plans: Any, name: str) -> PlannedConfiguration:
    facts = _configuration(plans, name)
    if facts.get("previous_stage"):
        raise ModelError(
            "nnunet-cascade",
            f"The configuration {name} is the second half of a cascade, which needs the first half's result as input.",
            "Install the configuration 3d_fullres or 3d_lowres of this model instead.",
        )
    if facts.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        raise bad_plans(f"its preprocessor {facts['preprocessor_name']} is not known here")
    network, arguments = _network(facts)
    dimensions = arguments["dimensions"]
    patch = _numbers(facts["patch_size"], dimensions, 1, PATCH_LIMIT, whole=True)
    spacing = _numbers(facts["spacing"], dimensions, 1e-3, 1e3)
    if dimensions == 2:
        median = plans.get("original_median_spacing_after_transp", [1.0])
        patch, spacing = (SLICES, *patch), (_numbers(median[:1], 1, 1e-3, 1e3)[0], *spacing)
    window, scale, shift, intensities = _intensities(plans, facts)
    transposition = tuple(int(axis) for axis in plans.get("transpose_forward", (0, 1, 2)))
    if sorted(transposition) != [0, 1, 2]:
        raise ValueError(f"transpose_forward is {list(transposition)}")
    return PlannedConfiguration(
        network=network,
        arguments=arguments,
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        spacing=(spacing[0], spacing[1], spacing[2]),
        window=window,
        scale=scale,
        shift=shift,
        conventions=Conventions(
            **_resampling(facts),
            transposition=(transposition[0], transposition[1], transposition[2]),
            dimensions=dimensions,
            intensities=intensities,
        ),
        reader=str(plans.get("image_reader_writer", "SimpleITKIO")),
    )


def _configuration(plans: Any, name: str) -> dict[str, Any]:
    """The entries of a configuration and of those it inherits from."""
    if not isinstance(plans, Mapping) or not isinstance(plans.get("configurations"), Mapping):
        raise bad_plans("plans.json has no configurations, as those of nnU-Net v2 do")
    facts: dict[str, Any] = {}
    visited: set[str] = set()
    while True:
        if name not in plans["configurations"]:
            raise bad_plans(f"plans.json has no configuration {name}")
        if name in visited:
            raise bad_plans(f"its configuration {name} inherits from itself")
        visited.add(name)
        own = plans["configurations"][name]
        facts = {**own, **facts}
        if "inherits_from" not in own:
            return facts
        name = str(own["inherits_from"])


def _network(facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if "architecture" in facts:
        architecture = facts["architecture"]
        return _described(str(architecture["network_class_name"]), architecture["arch_kwargs"])
    # Plans from before nnU-Net 2.2 say the same in other words.
    name = str(facts["UNet_class_name"])
    counts = facts["n_conv_per_stage_encoder"]
    base, most = int(facts["UNet_base_num_features"]), int(facts["unet_max_num_features"])
    arguments = {
        "n_stages": len(counts),
        "features_per_stage": [min(base * 2**level, most) for level in range(min(len(counts), STAGES_LIMIT + 1))],
        "conv_op": f"torch.nn.Conv{len(facts['patch_size'])}d",
        "kernel_sizes": facts["conv_kernel_sizes"],
        "strides": facts["pool_op_kernel_sizes"],
        "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": counts,
        "n_conv_per_stage_decoder": facts["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"torch.nn.InstanceNorm{len(facts['patch_size'])}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return _described(_MODULES[0] + name, arguments)


def _described(path: str, described: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of our network for an architecture of the plans."""
    name = path.rpartition(".")[2]
    if name not in ARCHITECTURES or not path.startswith(_MODULES):
        raise bad_plans(f"its network {path[:100]} is not known here, only {' and '.join(ARCHITECTURES)}")
    dimensions = _CONVS[_of_torch(described["conv_op"])]
    stages = int(described["n_stages"])
    if not 2 <= stages <= STAGES_LIMIT:
        raise ValueError(f"a network of {stages} stages")
    norm = described.get("norm_op")
    activation = described.get("nonlin")
    settings = described.get("norm_op_kwargs") or {}
    if norm and (
        not settings.get("affine", "Batch" in norm) or ("Instance" in norm and settings.get("track_running_stats"))
    ):
        raise ValueError("its norm has no learned scale, or keeps statistics")
    if described.get("nonlin_first") or described.get("block", "BasicBlockD").rpartition(".")[2] != "BasicBlockD":
        raise ValueError("its blocks are of another kind")
    counts, theirs = ("convs", "n_conv_per_stage") if name == "PlainConvUNet" else ("blocks", "n_blocks_per_stage")
    arguments: dict[str, Any] = {
        "dimensions": dimensions,
        "channels": _each(described["features_per_stage"], stages, WIDTH_LIMIT),
        "strides": _sizes(described["strides"], stages, dimensions),
        "kernels": _sizes(described["kernel_sizes"], stages, dimensions),
        counts: _each(described[theirs], stages, COUNT_LIMIT),
        "decoder_convs": _each(described["n_conv_per_stage_decoder"], stages - 1, COUNT_LIMIT),
        "bias": bool(described.get("conv_bias", False)),
        "norm": _NORMS[_of_torch(norm)] if norm else "none",
        "eps": float(settings.get("eps", 1e-5)),
        "activation": _ACTIVATIONS[_of_torch(activation)],
        "slope": float((described.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)),
    }
    if name == "ResidualEncoderUNet" and described.get("stem_channels") is not None:
        arguments["stem_channels"] = _each(described["stem_channels"], 1, WIDTH_LIMIT)[0]
    return ARCHITECTURES[name], arguments


def _of_torch(path: Any) -> str:
    """The class of torch that the plans name."""
    if not str(path).startswith("torch.nn."):
        raise ValueError(f"{str(path)[:100]} is no layer of PyTorch")
    return str(path).rpartition(".")[2]


def _each(value: Any, count: int, most: int) -> list[int]:
    """One whole number for every stage."""
    values = [value] * count if isinstance(value, int) else list(value)
    return [int(v) for v in _numbers(values, count, 1, most, whole=True)]


def _sizes(value: Any, stages: int, dimensions: int) -> list[list[int]]:
    """A size along every axis for every stage."""
    values = [value] * stages if isinstance(value, int) else list(value)
    if len(values) != stages:
        raise ValueError(f"{len(values)} sizes for {stages} stages")
    return [_each(v, dimensions, KERNEL_LIMIT) for v in values]


def _numbers(values: Sequence[Any], count: int, low: float, high: float, *, whole: bool = False) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in values)
    good = len(numbers) == count and all(low <= n <= high and (not whole or n == int(n)) for n in numbers)
    if not good:
        raise ValueError(f"{list(values)[:8]} are not {count} numbers of {low:g} to {high:g}")
    return numbers


def _intensities(
    plans: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[tuple[float, float] | None, float, float, str]:
    """Window, scale, shift and kind."""
    schemes = list(facts["normalization_schemes"])
    if len(schemes) != 1:
        raise ModelError(
            "several-images",
            f"This nnU-Net model wants {len(schemes)} images of each patient; a CT is one.",
            "Choose a model that was trained on CT alone.",
        )
    scheme = str(schemes[0])
    if scheme not in _INTENSITIES:
        raise bad_plans(f"its normalisation {scheme[:60]} is not known here, only {', '.join(_INTENSITIES)}")
    kind = _INTENSITIES[scheme]
    if kind == "z-score" and any(facts.get("use_mask_for_norm") or [False]):
        kind = "z-score-nonzero"
    if scheme != "CTNormalization":
        return None, 1.0, 0.0, kind
    key = "foreground_intensity_properties_per_channel"
    found = plans.get(key) or plans["foreground_intensity_properties_by_modality"]
    facts = found["0"] if "0" in found else found[0]
    names = ("percentile_00_5", "percentile_99_5", "mean", "std")
    low, high, mean, deviation = (float(facts[name]) for name in names)
    if not all(math.isfinite(value) for value in (low, high, mean, deviation)) or low >= high:
        raise ValueError(f"its window is {low:g} to {high:g}")
    scale = 1 / max(deviation, 1e-8)
    return (low, high), scale, -mean * scale, kind


def _resampling(facts: Mapping[str, Any]) -> dict[str, Any]:
    """How the CT is resampled, as arguments of `Conventions`."""
    name = facts.get("resampling_fn_data", _RESAMPLING)
    if name != _RESAMPLING:
        raise bad_plans(f"its resampling {str(name)[:60]} is not known here, only {_RESAMPLING}")
    given = facts.get("resampling_fn_data_kwargs") or {}
    order, across = int(given.get("order", 3)), int(given.get("order_z", 0))
    if not (0 <= order <= 5 and 0 <= across <= 5):
        raise ValueError(f"splines of order {order} and {across}")
    separate = given.get("force_separate_z", False)
    return {"order": order, "order_across": across, "separate": None if separate is None else bool(separate)}

"""Checkpoints of nnU-Net v2: pickles, of which only tensors, numbers and texts are read.

PyTorch's ``weights_only`` loader builds nothing but what is on its list. nnU-Net's own files need numpy's scalars
besides (the best score so far is one); nothing in them, and nothing else, is called or imported.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pancreasseg.core.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

#: Weights, and twice as much again that the optimiser keeps; more than any of nnU-Net's networks has.
SIZE_LIMIT = 8 << 30
ENTRY_LIMIT = 50_000


@dataclass(frozen=True)
class Checkpoint:
    """What is used of a checkpoint.

    Attributes:
        weights: tensors by the network's own names.
        configuration: the name in the plans, or "" where the file does not say.
        trainer: name of the trainer, or "".
        mirror_axes: axes along which it was trained to see mirrored CTs.
    """

    weights: dict[str, Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``checkpoint_final.pth``.

    Raises:
        ModelError: not a checkpoint of nnU-Net v2, one that holds code, or a damaged one.
    """
    from pancreasseg.networks.nnunet import own_names

    found = _load(path)
    weights = found.get("network_weights") if isinstance(found, Mapping) else None
    if not isinstance(weights, Mapping):
        raise _bad(path, "it holds no network_weights, as those of nnU-Net v2 do")
    named = own_names({str(name): value for name, value in weights.items()})
    settings = found.get("init_args")
    return Checkpoint(
        weights=named,
        configuration=_text(settings.get("configuration")) if isinstance(settings, Mapping) else "",
        trainer=_text(found.get("trainer_name")),
        mirror_axes=_axes(found.get("inference_allowed_mirroring_axes")),
    )


def checked(path: Path, weights: Mapping[str, Tensor], network: str, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a network, copied, once they are known to fit it.

    Raises:
        ModelError: the network cannot be built, or a tensor is missing, of another shape, or not finite.
    """
    import torch

    from pancreasseg import networks

    with torch.device("meta"):  # shapes without memory: what the plans ask for may be absurd
        wanted = networks.build(network, **arguments).state_dict()
    for name in sorted(set(wanted) ^ set(weights)):
        raise _unfit(path, name, "missing" if name in wanted else "not in the network")
    copied = {}
    for name, tensor in weights.items():
        if not isinstance(tensor, torch.Tensor) or tensor.shape != wanted[name].shape or tensor.layout != torch.strided:
            raise _unfit(path, name, "of another shape")
        copied[name] = tensor.detach().to(wanted[name].dtype).clone(memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(copied[name]).all()):
            raise _unfit(path, name, "not a finite number")
    return copied


def _load(path: Path) -> Any:
    import torch

    _check_container(path)
    try:
        # Mapped, so that what the optimiser kept is never read.
        with torch.serialization.safe_globals(_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle can fail in any way that Python knows
        text = str(error)
        if "Unsupported global" in text or "GLOBAL" in text or "Unsupported class" in text:
            raise ModelError(
                "unsafe-checkpoint",
                f"{path.name} was refused: it holds more than numbers, and opening it could run a program.",
                "Nothing in it was run. Ask where the file came from.",
            ) from error
        raise _bad(path, "it is damaged, or was not written by PyTorch") from error


def _check_container(path: Path) -> None:
    """PyTorch stores tensors as they are; a file that would unpack to more than it is was made to fill memory."""
    size = path.stat().st_size
    if size > SIZE_LIMIT:
        raise _bad(path, f"it has {size / 1e9:.0f} GB")
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:
        raise _bad(path, "it is damaged") from error
    if len(entries) > ENTRY_LIMIT or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _bad(path, "it is packed, as PyTorch never does")
    if sum(entry.file_size for entry in entries) > size:
        raise _bad(path, "it claims to hold more than it does")


def _scalars() -> list[Any]:
    """What nnU-Net's files need beyond tensors: numpy's numbers, under their old and new names."""
    multiarray = getattr(np, "_core", None) or np.core
    scalar = multiarray.multiarray.scalar
    kinds = [np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType, np.dtypes.Int32DType]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, *kinds]


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _axes(value: Any) -> tuple[int, ...]:
    with contextlib.suppress(TypeError, ValueError):
        axes = tuple(int(axis) for axis in value or ())
        if set(axes) <= {0, 1, 2}:
            return axes
    return ()


def _bad(path: Path, what: str) -> ModelError:
    return ModelError(
        "bad-checkpoint",
        f"{path.name} cannot be used: {what}.",
        "Fetch it again, or export the model anew with nnUNetv2_export_model_to_zip.",
    )


def _unfit(path: Path, name: str, what: str) -> ModelError:
    return ModelError(
        "weights-do-not-fit",
        f"{path.name} does not fit the network in plans.json: {name[:100]} is {what}.",
        "The checkpoint and the plans belong to different models.",
    )

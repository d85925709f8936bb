"""From a model package to networks that are ready to run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pancreasseg.core.errors import ModelError
from pancreasseg.models.network_card import NetworkCard
from pancreasseg.models.package import LARGEST_WEIGHT, ModelPackage, absurd_weights, broken_weights
from pancreasseg.networks import build
from pancreasseg.networks.fold import fold_batch_norm

#: Networks make some tensors that are no weights.
_SLACK = 1_000_000
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


def load_networks(package: ModelPackage, network_card: NetworkCard) -> list[nn.Module]:
    """One network a member for inference: on the CPU in float32, in evaluation mode, batch norms folded.

    Raises:
        ModelError: the weights are damaged, or do not fit the network in the card.
    """
    try:
        tensors = load_tensors(package.read_weights())
    except SafetensorError as error:
        raise broken_weights(package.card.name) from error
    return [_member(package, network_card, prefix, tensors) for prefix in network_card.members]


def _member(package: ModelPackage, card: NetworkCard, prefix: str, tensors: dict[str, Tensor]) -> nn.Module:
    # Not on the meta device, which spares the random numbers but first imports torch's compiler (more than a second).
    start = f"{prefix}."
    given = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
    with _AtMost(_SLACK + sum(value.numel() for value in given.values()), _too_large(package, card)):
        network = build(card.network, **card.arguments)
    _compare(package, card, prefix, network.state_dict(), given)
    for key, value in given.items():
        if value.is_floating_point() and not bool((value.abs() <= LARGEST_WEIGHT).all()):  # nor is NaN
            raise absurd_weights(package.card.name, f"{prefix}.{key}")
    cast = {key: value.float() if value.is_floating_point() else value for key, value in given.items()}
    network.load_state_dict(cast, assign=True)
    return fold_batch_norm(network.eval()).requires_grad_(False)


class _AtMost(TorchFunctionMode):
    """While a network is built: whoever asks for more numbers than its weights can fill gets an error, no memory.

    Args:
        numbers: that all tensors may hold together.
        error: raised before one more is made.
    """

    def __init__(self, numbers: int, error: ModelError) -> None:
        super().__init__()
        self._left = numbers
        self._error = error

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _MAKERS:
            size = args[0] if args and isinstance(args[0], (tuple, list)) else args
            self._left -= math.prod(edge for edge in size if isinstance(edge, int))
            if self._left < 0:
                raise self._error
        return func(*args, **(kwargs or {}))


def _too_large(package: ModelPackage, card: NetworkCard) -> ModelError:
    return _do_not_fit(package, card, "it has more parameters than the file holds")


def _do_not_fit(package: ModelPackage, card: NetworkCard, what: str) -> ModelError:
    return ModelError(
        "weights-do-not-fit",
        f'The weights of the model "{package.card.name}" do not fit the network "{card.network}": {what}.',
        "The card and the weights belong to different models; install the model again.",
    )


def _compare(
    package: ModelPackage, card: NetworkCard, prefix: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> None:
    missing = sorted(set(wanted) - set(given))
    unexpected = sorted(set(given) - set(wanted))
    misshapen = sorted(key for key in set(wanted) & set(given) if wanted[key].shape != given[key].shape)
    for what, keys in (("missing", missing), ("not in the network", unexpected), ("of another shape", misshapen)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise _do_not_fit(package, card, f"{prefix}.{keys[0]}{more}: {what}")

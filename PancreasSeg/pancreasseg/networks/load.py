"""From a model package to networks that are ready to run."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from pancreasseg.core.errors import ModelError
from pancreasseg.models.card import NetworkCard
from pancreasseg.models.package import ModelPackage, broken_weights
from pancreasseg.networks import build
from pancreasseg.networks.fold import fold_batch_norm


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
    network = build(card.network, **card.arguments)
    start = f"{prefix}."
    given = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(given))
    unexpected = sorted(set(given) - set(wanted))
    misshapen = sorted(key for key in set(wanted) & set(given) if wanted[key].shape != given[key].shape)
    for what, keys in (("missing", missing), ("not in the network", unexpected), ("of another shape", misshapen)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(
                "weights-do-not-fit",
                f'The weights of the model "{package.card.name}" do not fit the network "{card.network}": '
                f"{prefix}.{keys[0]}{more}: {what}.",
                "The card and the weights belong to different models; install the model again.",
            )
    cast = {key: value.float() if value.is_floating_point() else value for key, value in given.items()}
    network.load_state_dict(cast, assign=True)
    return fold_batch_norm(network.eval()).requires_grad_(False)

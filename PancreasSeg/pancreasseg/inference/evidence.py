"""What is kept of a network's many outputs: how far each class that is wanted is ahead of all others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Members of an ensemble as one network, for what is read from all of them together."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the members' outputs."""
        total: Tensor = self.members[0](x)
        for member in self.members[1:]:
            total = total + member(x)
        return total / len(self.members)


@dataclass(frozen=True)
class Evidence:
    """Reads margins: the logit of a class less the largest of all others, above 0 exactly where the class wins.

    The sigmoid of a margin is the probability of the class against its strongest rival. Taken from a tile at once, they
    spare the memory that 25 or 118 classes would need over the whole region. Where tiles overlap, nnU-Net judges the
    mean of their logits; the mean of their margins is another thing wherever they see different rivals. So it is
    either one tile, or `logits` are read and `margins` taken of their mean.

    Attributes:
        outputs: channels of the network's last layer.
        organ: output channels that count as the organ together.
        classes: output channels that are wanted on their own.
        regions: whether outputs are judged each by itself, against 0.
        mirror_axes: spatial axes of the input along which it is mirrored; the answers are averaged.
    """

    outputs: int
    organ: tuple[int, ...]
    classes: tuple[int, ...] = ()
    regions: bool = False
    mirror_axes: tuple[int, ...] = ()

    def __call__(self, network: nn.Module, image: Tensor) -> Tensor:
        """Margins of an input (1, inputs, A, B, C): the organ's, then each class's, then each member's of the organ.

        Returns:
            (1, 1 + classes + members, A, B, C); an ensemble of one has no members' margins.
        """
        return self.margins(self.logits(network, image))

    def logits(self, network: nn.Module, image: Tensor) -> Tensor:
        """The mean logits of the members, then each member's margin of the organ: (1, outputs + members, A, B, C)."""
        members = network.members if isinstance(network, Ensemble) else [network]
        if len(members) == 1:
            return mirrored(members[0], image, self.mirror_axes)
        mean: Tensor | None = None
        votes = []
        for member in members:
            logits = mirrored(member, image, self.mirror_axes)
            votes.append(self._margin(logits, self.organ))
            mean = logits if mean is None else mean + logits
        assert mean is not None  # noqa: S101  (an ensemble has members)
        return torch.cat([mean / len(members), torch.stack(votes, dim=1)], dim=1)

    def margins(self, logits: Tensor) -> Tensor:
        """What `logits` has read, as `__call__` returns it."""
        mean, votes = logits[:, : self.outputs], logits[:, self.outputs :]
        own = [self._margin(mean, (channel,)) for channel in self.classes]
        return torch.cat([torch.stack([self._margin(mean, self.organ), *own], dim=1), votes], dim=1)

    def _margin(self, logits: Tensor, channels: tuple[int, ...]) -> Tensor:
        """(1, outputs, A, B, C) -> (1, A, B, C) float32."""
        ours = logits[:, list(channels)].amax(dim=1).float()
        if self.regions:
            return ours
        # Struck out in place for a moment: a copy of all others would be the largest array of all.
        kept = logits[:, list(channels)].clone()
        logits[:, list(channels)] = -torch.inf
        rest = logits.amax(dim=1).float()
        logits[:, list(channels)] = kept
        return ours - rest


def mirrored(network: nn.Module, image: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean answer to an input and to all its mirror images along ``axes``, turned back (nnU-Net's order)."""
    total: Tensor = network(image)
    flips = [flip for count in range(1, len(axes) + 1) for flip in itertools.combinations(axes, count)]
    for flip in flips:
        dims = [axis + 2 for axis in flip]
        total = total + network(image.flip(dims)).flip(dims)
    return total / (len(flips) + 1) if flips else total


def logits_of(network: nn.Module, image: Tensor) -> Tensor:
    """All outputs as they are."""
    answer: Tensor = network(image)
    return answer

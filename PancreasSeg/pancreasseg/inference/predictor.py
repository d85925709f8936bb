"""From a prepared array to class probabilities, on whatever memory there is."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pancreasseg.core.errors import RunError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import DTYPES, Hardware
from pancreasseg.inference.tiles import Shape, Tiles

#: Takes what is wanted from a network: (1, inputs, A, B, C) -> (1, outputs, A, B, C).
Read = Callable[[nn.Module, torch.Tensor], torch.Tensor]

#: Tile edges (voxels) tried in turn when the whole input does not fit into memory.
TILE_EDGES = (160, 112, 80)
#: Neighbouring tiles share this part of their edge; a Gaussian weight hides the seams.
OVERLAP = 0.5
#: Gaussian sigma as a part of the tile's edge (nnU-Net's and MONAI's value).
SIGMA = 0.125


def class_probabilities(
    network: nn.Module, image: torch.Tensor, window: tuple[slice, ...] | None = None
) -> torch.Tensor:
    """The softmax of a network's logits; of some rows and columns alone, where the network can."""
    logits: torch.Tensor = network(image) if window is None else network(image, window)
    return logits.float().softmax(dim=1)


@dataclass(frozen=True)
class Attempt:
    """One way to run: where, how precisely, and in tiles of which edge (None: in one piece)."""

    hardware: Hardware
    tile: int | None

    def sentence(self) -> str:
        """What the person reads when a run falls back to this."""
        where = {"cpu": "the CPU", "cuda": "the GPU"}[self.hardware.device]
        how = "in one piece" if self.tile is None else f"in tiles of {self.tile} voxels"
        return f"Memory ran out; the computation went on {how} on {where} in {self.hardware.precision}."


class Predictor:
    """Runs one network, or the members of an ensemble, over prepared arrays.

    When memory runs out it goes down a ladder (smaller tiles, then half precision, then the CPU), tells the person by
    ``progress.notice`` and stays on the lower rung, so that the next box does not fail the same way first.

    Args:
        networks: the members; their softmax outputs are averaged.
        hardware: device and precision to begin with.
        tiles: false for networks that must see their whole input at once; their ladder has no tiles.
    """

    def __init__(self, networks: Sequence[nn.Module], hardware: Hardware, *, tiles: bool = True) -> None:
        if not networks:
            raise ValueError("a predictor needs at least one network")
        self._networks = [network.eval().requires_grad_(False) for network in networks]
        self._ladder = list(_ladder(hardware, TILE_EDGES if tiles else ()))
        self._placed: str | None = None
        self._copies: dict[tuple[int, torch.dtype], nn.Module] = {}

    @property
    def hardware(self) -> Hardware:
        """Device and precision of the present rung."""
        return self._ladder[0].hardware

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks in the ensemble."""
        return tuple(self._networks)

    @property
    def members(self) -> int:
        """Networks in the ensemble."""
        return len(self._networks)

    def probabilities(
        self,
        array: np.ndarray,
        progress: Progress | None = None,
        *,
        patch: Shape | None = None,
        tiles: Tiles | None = None,
        members: Sequence[int] | None = None,
        read: Read | None = None,
    ) -> np.ndarray:
        """Class probabilities of a prepared array, or whatever else ``read`` takes from the networks.

        Args:
            array: float32 of shape (A, B, C) in the axis order the network wants, or (channels, A, B, C).
            progress: advanced after every forward pass; cancel takes effect before every layer.
            patch: slide a window of this shape instead of one pass over the whole array.
            tiles: windows that are laid already, which memory does not change; instead of ``patch``.
            members: indices of the members to use; all by default.
            read: maps of the input's size; by default `class_probabilities`.

        Returns:
            float32 of shape (classes, A, B, C), or of what the tiles say is wanted: the mean softmax of the members,
            or the mean of what is read.

        Raises:
            RunError: memory runs out even on the last rung of the ladder.
            Cancelled: the person cancelled.
        """
        progress = progress or Progress()
        channels = array[None] if array.ndim == 3 else array
        chosen = [self._networks[index] for index in (range(self.members) if members is None else members)]
        while True:
            attempt = self._ladder[0]
            tile = _smaller(patch, attempt.tile, channels.shape[1:])
            try:
                laid = tiles or (None if tile is None else spread(channels.shape[1:], tile))
                return self._run(chosen, channels, attempt.hardware, laid, progress, read or class_probabilities)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self._fall_back(channels.shape[1:], patch, progress)

    def _fall_back(self, shape: Sequence[int], patch: Shape | None, progress: Progress) -> None:
        """Go to the next rung that differs for this input, or give up."""
        failed = _smaller(patch, self._ladder[0].tile, shape), self._ladder[0].hardware
        while len(self._ladder) > 1:
            self._ladder.pop(0)
            attempt = self._ladder[0]
            if (_smaller(patch, attempt.tile, shape), attempt.hardware) != failed:
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                progress.notice(Finding("out-of-memory", Severity.WARNING, attempt.sentence()))
                return
        raise RunError(
            "out-of-memory",
            "There is not enough memory for this volume, even with the smallest pieces on the CPU.",
            "Close other programs, or choose a smaller box.",
        )

    def _run(
        self,
        networks: Sequence[nn.Module],
        channels: np.ndarray,
        hardware: Hardware,
        tiles: Tiles | None,
        progress: Progress,
        read: Read,
    ) -> np.ndarray:
        if self._placed != hardware.device:
            for network in self._networks:
                # Channels-last convolutions run up to twice as fast on CPUs and on tensor cores.
                network.to(hardware.device)
                planar = any(weight.dim() == 4 for weight in network.parameters())
                layout = torch.channels_last if planar else torch.channels_last_3d
                network.to(memory_format=layout)  # type: ignore[call-overload]
            self._copies.clear()
            self._placed = hardware.device
        image = torch.from_numpy(np.ascontiguousarray(channels, dtype=np.float32))[None]
        with torch.inference_mode():
            if tiles is None:
                total = self._forward(networks[0], image, hardware, progress, read)
                for network in networks[1:]:
                    total += self._forward(network, image, hardware, progress, read)
                return (total / len(networks) if len(networks) > 1 else total).cpu().numpy()
            return self._tiled(networks, image, hardware, tiles, progress, read)

    def _forward(
        self, network: nn.Module, image: torch.Tensor, hardware: Hardware, progress: Progress, read: Read
    ) -> torch.Tensor:
        """What is read from one network over one piece: (1, channels, A, B, C) -> (outputs, A, B, C) float32."""
        dtype, own = DTYPES[hardware.precision], image.dtype
        mixed = dtype != own
        if mixed and getattr(network, "one_type", False):
            network, own, mixed = self._rounded(network, dtype), dtype, False
        placed = image.to(hardware.device, own, memory_format=torch.channels_last_3d)
        with torch.autocast(hardware.device, dtype=dtype, enabled=mixed), _watched(network, progress):
            result = read(network, placed).float()[0]
        progress.advance()
        return result

    def _rounded(self, network: nn.Module, dtype: torch.dtype) -> nn.Module:
        """The network with weights of a type, where autocast would round them at every pass."""
        key = (id(network), dtype)
        if key not in self._copies:
            self._copies[key] = copy.deepcopy(network).to(dtype)
        return self._copies[key]

    def _tiled(
        self,
        networks: Sequence[nn.Module],
        image: torch.Tensor,
        hardware: Hardware,
        tiles: Tiles,
        progress: Progress,
        read: Read,
    ) -> np.ndarray:
        shape, shares = tiles.shares(image.shape[2:])
        weight = torch.from_numpy(tiles.weight)
        progress.extend(max(len(shares) - 1, 0) * len(networks))
        total: torch.Tensor | None = None
        weights = torch.zeros(shape)
        for corner, inside, place in shares:
            region = tuple(slice(c, c + t) for c, t in zip(corner, tiles.size, strict=True))
            piece = image[(slice(None), slice(None), *region)]
            for network in networks:
                output = self._forward(network, piece, hardware, progress, read)[(slice(None), *inside)].cpu()
                if total is None:
                    total = torch.zeros((output.shape[0], *shape))
                total[(slice(None), *place)] += output * (weight[inside] / len(networks))
            weights[place] += weight[inside]
        assert total is not None  # noqa: S101  (there is at least one tile)
        return total.div_(weights).numpy()


@contextmanager
def _watched(network: nn.Module, progress: Progress) -> Iterator[None]:
    """Cancel takes effect before every layer: one pass over a large region can take seconds."""
    layers = [module for module in network.modules() if not any(module.children())]
    hooks = [layer.register_forward_pre_hook(lambda *_: progress.check()) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def spread(shape: Sequence[int], tile: Shape) -> Tiles:
    """Overlapping tiles over a whole array."""
    a, b, c = (min(t, n) for t, n in zip(tile, shape, strict=True))
    first, second, third = (starts(n, t) for n, t in zip(shape, (a, b, c), strict=True))
    return Tiles((a, b, c), tuple(itertools.product(first, second, third)), gaussian_weight((a, b, c)))


def starts(length: int, window: int) -> list[int]:
    """First voxels of the windows along one axis: evenly spread, overlapping by at least `OVERLAP`."""
    if window >= length:
        return [0]
    steps = int(np.ceil((length - window) / (window * (1 - OVERLAP)))) + 1
    return [round(index * (length - window) / (steps - 1)) for index in range(steps)]


def gaussian_weight(shape: Sequence[int]) -> np.ndarray:
    """Separable Gaussian of peak 1 in the middle of a tile, float32 of ``shape``, nowhere below 1e-3."""
    profiles = []
    for length in shape:
        x = np.arange(length, dtype=np.float32) - (length - 1) / 2
        profiles.append(np.exp(-0.5 * (x / (SIGMA * length)) ** 2))
    weight = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    return np.maximum(weight, 1e-3).astype(np.float32)


def _ladder(hardware: Hardware, edges: Sequence[int]) -> Iterator[Attempt]:
    """As asked; smaller tiles; half precision; the CPU."""
    yield Attempt(hardware, None)
    for edge in edges:
        yield Attempt(hardware, edge)
    if hardware.half != hardware:
        yield Attempt(hardware.half, edges[-1] if edges else None)
    if hardware.device != "cpu":
        for tile in (None, *edges):
            yield Attempt(Hardware("cpu", "f32"), tile)


def _smaller(patch: Shape | None, edge: int | None, shape: Sequence[int]) -> Shape | None:
    """The tile to use: the patch the model wants, cut down to ``edge``; None when one piece covers the input."""
    if edge is None and patch is None:
        return None
    wanted = patch or (10**9,) * 3
    a, b, c = (min(w, edge or w, n) for w, n in zip(wanted, shape, strict=True))
    return None if (a, b, c) == tuple(shape) else (a, b, c)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()  # the CPU allocator and cuDNN raise a plain RuntimeError
    return "out of memory" in text or "can't allocate memory" in text or "cudnn_status_alloc_failed" in text

"""Several processes that train one network together, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Give every process the mean gradient of all."""
        if self.size == 1:
            return
        for parameter in network.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def from_leader(self, value: float) -> float:
        """The value that the leading process has, for decisions that all must take alike."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        if torch.distributed.get_backend() == "nccl":
            shared = shared.cuda()
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            torch.distributed.barrier()


ALONE = Team()


def join() -> Team:
    """The team that torchrun's environment describes; `ALONE` without one. Gloo on CPUs, NCCL on GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    return Team(torch.distributed.get_rank(), size)

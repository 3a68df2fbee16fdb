"""Several processes that train one model, started by torchrun; one alone is a team of one.

Every process holds the whole model and takes its share of each batch. Gradients are summed, not
averaged: each share's loss is divided by the counts of the whole batch, so the sum is exactly the
gradient that one process would find.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from fastequi.device import choose_device, device_of_process
from fastequi.errors import InputError

T = TypeVar("T")

#: The leader alone evaluates the finished model, however long that takes; torchrun ends the others
#: when one of them dies.
_PATIENCE = timedelta(days=2)
_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Team:
    """The processes of this training; `device` is where this one computes."""

    def __init__(
        self, rank: int = 0, size: int = 1, device: torch.device | str | None = None
    ) -> None:
        self.rank, self.size = rank, size
        self.device = torch.device(device or "cpu")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of a batch; empty where there are more processes than items."""
        return list(items[self.rank :: self.size])

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the team, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([t.detach().reshape(-1).to(self.device, torch.float64) for t in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, item: T) -> list[T]:
        """Everybody's item, in the order of ranks."""
        items = [item] * self.size
        if self.size > 1:
            distributed.all_gather_object(items, item)
        return items


def follows() -> bool:
    """Whether torchrun made this process one that leaves files and words to another."""
    return os.environ.get("RANK", "0") != "0"


@contextmanager
def join_team(device: str) -> Iterator[Team]:
    """The team that torchrun's environment variables describe, or a team of one.

    device  as [training] names it; of several GPUs, each process of a machine takes its own

    Raises InputError for a device that does not exist here.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=choose_device(device))
        return
    _check_variables()
    mine = device_of_process(device)
    if mine.type == "cuda":
        torch.cuda.set_device(mine)
    backend = "nccl" if mine.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Team(distributed.get_rank(), size, mine)
    finally:
        distributed.destroy_process_group()


def _check_variables() -> None:
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise InputError(
            f"WORLD_SIZE asks for several processes, but {', '.join(missing)} is not set; start "
            "them with torchrun --nproc-per-node N -m fastequi.cli.main train train.toml, or unset "
            "WORLD_SIZE"
        )

"""Several processes that train one model, started by torchrun; one alone is a team of one.

Every process holds the whole model and takes its share of each batch. Gradients are summed, not
averaged: each share's loss is divided by the counts of the whole batch, so the sum is exactly the
gradient that one process would find.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


class Team:
    """The processes of this training."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

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
        flat = torch.cat([t.reshape(-1).to(torch.float64) for t in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, item: Any) -> list[Any]:
        """Everybody's item, in the order of ranks."""
        items: list[Any] = [item] * self.size
        if self.size > 1:
            distributed.all_gather_object(items, item)
        return items


@contextmanager
def join_team(device: torch.device) -> Iterator[Team]:
    """The team that torchrun's environment variables describe, or a team of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()

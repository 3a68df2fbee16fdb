"""Where tensors are in the memory that they share, so that one kernel finds all blocks of a layer.

Addresses never change their alignment: a kernel is given the beginning of the memory, and numbers
that say how far from there a block begins.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")


def memory_of(tensor: Tensor) -> int:
    """What is equal of tensors that share it."""
    return tensor.untyped_storage()._cdata


def whole(tensor: Tensor) -> Tensor:
    """All of it, [numbers]."""
    n = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.as_strided((n,), (1,), 0)


def by_memory(things: Sequence[T], tensors: Callable[[T], Sequence[Tensor]]) -> list[list[T]]:
    """Things whose tensors share memory, one by one, together."""
    groups: dict[tuple[int, ...], list[T]] = {}
    for thing in things:
        groups.setdefault(tuple(map(memory_of, tensors(thing))), []).append(thing)
    return list(groups.values())


def on_device(table: NDArray, device: torch.device) -> Tensor:
    """A table that kernels read, made once."""
    return torch.from_numpy(np.ascontiguousarray(table)).to(device)

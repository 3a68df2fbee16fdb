"""Where tensors are in the memory that they share, so that one kernel finds all blocks of a layer.

Addresses never change their alignment: a kernel is given the beginning of the memory, and numbers
that say how far from there a block begins.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, TypeVar

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


# -- tables that kernels read --------------------------------------------------------------------

#: Of those that are made for a key, so many of the latest are there without anybody who keeps them.
_LATEST = 256
_keepers: list[dict[Any, Any]] = []


def on_device(table: NDArray, device: torch.device) -> Tensor:
    """A copy of a table."""
    return torch.from_numpy(np.ascontiguousarray(table)).to(device)


def made_once(make: Callable[..., T]) -> Callable[..., T]:
    """For each key; whoever is `keeping` has what was asked for as long as they like.

    A captured step reads its tables where they were, so it must not be others who decide.
    """
    latest = lru_cache(_LATEST)(make)

    @wraps(make)
    def found(*key: Any) -> T:
        made = latest(*key)
        for keeper in _keepers:
            keeper[make, key] = made
        return made

    return found


@contextmanager
def keeping(keeper: dict[Any, Any]) -> Iterator[None]:
    """Tables that are asked for inside are also in there."""
    _keepers.append(keeper)
    try:
        yield
    finally:
        _keepers.pop()

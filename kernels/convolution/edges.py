"""Edges of a graph as the kernels read them: senders grouped by receiver (CSR)."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Edges:
    """Directed edges, sorted by receiver.

    sender     [edges] int64, a row of x: the sending atom, or its species where x depends on
               the species alone (the first layer; nothing is gathered per atom then)
    receiver   [edges] int64, sorted
    row_start  [atoms + 1] int64; the edges that atom i receives are row_start[i]:row_start[i+1]
    cutoff_scale  [edges], r_max / r_c of the edge's pair of species where cutoffs differ, else
               None: the radial table is read at r * cutoff_scale
    reverse    [edges], the edge that goes the other way, where it is known
    """

    sender: Tensor
    receiver: Tensor
    row_start: Tensor
    cutoff_scale: Tensor | None = None
    reverse: Tensor | None = None

    @property
    def n_edges(self) -> int:
        return self.sender.shape[0]

    @property
    def n_receivers(self) -> int:
        return self.row_start.shape[0] - 1

    def keep(self, name: str, tensors: tuple[Tensor, ...], key: Any, make: Callable[[], T]) -> T:
        """make(), or what it returned before for the same key and the same, unchanged tensors.

        For what all layers and passes share, whoever sends; kept as long as the edges are.
        """
        old = self._kept.get(name)
        key = (key, *((id(tensor), tensor._version) for tensor in tensors))
        if old is None or old.key != key or any(tensor() is None for tensor in old.tensors):
            old = _Kept(key, tuple(map(weakref.ref, tensors)), make())
            self._kept[name] = old
        return old.made

    @cached_property
    def _kept(self) -> dict[str, "_Kept"]:
        return {}

    def from_senders(self, sender: Tensor) -> "Edges":
        """The same edges with other rows of x; what is kept is kept for both."""
        edges = replace(self, sender=sender)
        edges.__dict__["_kept"] = self._kept
        return edges


@dataclass(frozen=True)
class _Kept:
    """What was made of tensors; a tensor that is gone may have left its id to another."""

    key: tuple[Any, ...]
    tensors: tuple[weakref.ref, ...]
    made: Any


def make_edges(
    sender: Tensor, receiver: Tensor, n_atoms: int, cutoff_scale: Tensor | None = None
) -> Edges:
    """From edges sorted by receiver."""
    counts = torch.bincount(receiver, minlength=n_atoms)
    row_start = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return Edges(sender, receiver, row_start, cutoff_scale)


class EdgeSums:
    """dE/dr of edges, added up over the layers of a network.

    A backend that keeps the sums in an order of its own offers a class with these methods.
    """

    def __init__(self, operations: Any, vectors: Tensor) -> None:
        self.operations, self.total = operations, torch.zeros_like(vectors)

    def add(self, *arguments: Any, dx: Sequence[Tensor] | None = None) -> None:
        """Those of a layer; arguments as those of `definitions.vjp`."""
        self.total += self.operations.vjp(*arguments, dx=dx)

    def gradient(self) -> Tensor:
        """[edges, 3]."""
        return self.total

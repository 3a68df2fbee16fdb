"""What atoms of a domain send to their ghosts on other ranks, and what comes back.

The maps are made once per neighbour list of LAMMPS: who owns the atom of each ghost, by its id.
Ghosts stand in the order of the ranks that own them, so that a message is a piece of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Exchange:
    """A `Halo` over MPI; all ranks call its methods together.

    n_own    own atoms
    sent     [rows] int64, own atoms that others (or this rank itself) have as ghosts, by rank
    n_sent, n_received   [ranks] int64, how many rows for and from each
    """

    comm: Any
    n_own: int
    sent: Tensor
    n_sent: NDArray[np.int64]
    n_received: NDArray[np.int64]

    def of(self, place: Tensor | None) -> "Exchange":
        """With own atoms elsewhere: place [own atoms]."""
        return self if place is None else replace(self, sent=place[self.sent])

    def completed(self, sent: Sequence[Tensor]) -> list[Tensor]:
        """Blocks [own atoms, ...] with those of ghosts behind."""
        found = []
        n = self.n_own + int(self.n_received.sum())
        for block in sent:
            whole = block.new_empty((n, *block.shape[1:]))
            whole[: self.n_own] = block
            rows = block.index_select(0, self.sent)
            self._pass(rows, self.n_sent, whole[self.n_own :], self.n_received)
            found.append(whole)
        return found

    def returned(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """Blocks of own atoms, to which those of their ghosts are added, in the order of ranks.

        They share the memory of what is given.
        """
        found = []
        for block in gradient:
            rows = block.new_empty((len(self.sent), *block.shape[1:]))
            self._pass(block[self.n_own :], self.n_received, rows, self.n_sent)
            found.append(block[: self.n_own].index_add_(0, self.sent, rows))
        return found

    def _pass(
        self, rows: Tensor, n_there: NDArray[np.int64], into: Tensor, n_back: NDArray[np.int64]
    ) -> None:
        """Rows to all ranks, and theirs into memory; both lie in one piece."""
        width = rows.shape[1:].numel()
        self.comm.Alltoallv([rows.numpy(), n_there * width], [into.numpy(), n_back * width])


def make_exchange(
    comm: Any, ids: NDArray[np.int64], n_own: int
) -> tuple[Exchange, NDArray[np.int64]]:
    """(exchange, order [atoms]), from the ids [atoms] of own atoms, then of ghosts.

    order: own atoms as they are, then ghosts by the rank that owns them. Every id has one owner.
    """
    owner, row = _owners(comm, ids[:n_own])
    of_ghosts = owner[ids[n_own:]]
    by_owner = np.argsort(of_ghosts, kind="stable")
    n_received = np.bincount(of_ghosts, minlength=comm.size).astype(np.int64)
    n_sent = np.empty_like(n_received)
    comm.Alltoall(n_received, n_sent)
    wanted = np.ascontiguousarray(row[ids[n_own:]][by_owner])
    sent = np.empty(int(n_sent.sum()), dtype=np.int64)
    comm.Alltoallv([wanted, n_received], [sent, n_sent])
    order = np.concatenate([np.arange(n_own), n_own + by_owner])
    return Exchange(comm, n_own, torch.from_numpy(sent), n_sent, n_received), order


def _owners(comm: Any, own: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each id the rank and its row there, [largest id + 1]."""
    from mpi4py import MPI

    most = comm.allreduce(int(own.max(initial=0)), op=MPI.MAX)
    table = np.zeros((2, most + 1), dtype=np.int64)
    table[0, own], table[1, own] = comm.rank, np.arange(len(own))
    comm.Allreduce(MPI.IN_PLACE, table)
    return table[0], table[1]

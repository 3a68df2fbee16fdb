"""What atoms of a domain send to their ghosts on other ranks, and what comes back.

The maps are made once per neighbour list of LAMMPS: who owns the atom of each ghost, by its id.
Ghosts stand in the order of the ranks that own them, so that a message is a piece of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastequi.integrations.lammps.communicator import Communicator


@dataclass(frozen=True)
class Exchange:
    """A `Halo` over MPI; all ranks call its methods together.

    n_own    own atoms
    sent     [rows] int64, own atoms that others (or this rank itself) have as ghosts, by rank
    n_sent, n_received   [ranks] int64, how many rows for and from each
    """

    comm: Communicator
    n_own: int
    sent: Tensor
    n_sent: NDArray[np.int64]
    n_received: NDArray[np.int64]

    def of(self, place: Tensor | None) -> "Exchange":
        """With own atoms elsewhere: place [own atoms]."""
        return self if place is None else replace(self, sent=place[self.sent])

    def completed(self, sent: Sequence[Tensor]) -> list[Tensor]:
        """Blocks [own atoms, ...] with those of ghosts behind."""
        rows = torch.cat([block.index_select(0, self.sent).flatten(1) for block in sent], dim=1)
        received = self._passed(rows, self.n_sent, self.n_received)
        columns = received.split([block.shape[1:].numel() for block in sent], dim=1)
        return [
            torch.cat([block, ghosts.reshape(-1, *block.shape[1:])])
            for block, ghosts in zip(sent, columns, strict=True)
        ]

    def returned(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """Blocks of own atoms, to which those of their ghosts are added, in the order of ranks.

        They share the memory of what is given.
        """
        rows = torch.cat([block[self.n_own :].flatten(1) for block in gradient], dim=1)
        received = self._passed(rows, self.n_received, self.n_sent)
        columns = received.split([block.shape[1:].numel() for block in gradient], dim=1)
        return [
            block[: self.n_own].index_add_(0, self.sent, back.reshape(-1, *block.shape[1:]))
            for block, back in zip(gradient, columns, strict=True)
        ]

    def _passed(
        self, rows: Tensor, n_there: NDArray[np.int64], n_back: NDArray[np.int64]
    ) -> Tensor:
        """What others send for rows [rows, width] sent to all ranks: one message for each.

        MPI sees the memory of the host alone: what is on a GPU goes by way of it.
        """
        width = rows.shape[1]
        received = torch.empty((int(n_back.sum()), width), dtype=rows.dtype)
        self.comm.exchange_(rows.cpu().numpy(), n_there * width, received.numpy(), n_back * width)
        return received.to(rows.device)


def make_exchange(
    comm: Communicator, ids: NDArray[np.int64], n_own: int, device: torch.device
) -> tuple[Exchange, NDArray[np.int64]]:
    """(exchange, order [atoms]), from the ids [atoms] of own atoms, then of ghosts.

    order: own atoms as they are, then ghosts by the rank that owns them. Every id has one owner.
    """
    owner, row = _owners(comm, ids[:n_own])
    of_ghosts = owner[ids[n_own:]]
    by_owner = np.argsort(of_ghosts, kind="stable")
    n_received = np.bincount(of_ghosts, minlength=comm.size).astype(np.int64)
    n_sent, one = np.empty_like(n_received), np.ones(comm.size, dtype=np.int64)
    comm.exchange_(n_received, one, n_sent, one)
    wanted = np.ascontiguousarray(row[ids[n_own:]][by_owner])
    sent = np.empty(int(n_sent.sum()), dtype=np.int64)
    comm.exchange_(wanted, n_received, sent, n_sent)
    order = np.concatenate([np.arange(n_own), n_own + by_owner])
    rows = torch.from_numpy(sent).to(device)
    return Exchange(comm, n_own, rows, n_sent, n_received), order


def _owners(
    comm: Communicator, own: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each id the rank and its row there, [largest id + 1]."""
    (most,) = comm.largest([int(own.max(initial=0))])
    table = np.zeros((2, most + 1), dtype=np.int64)
    table[0, own], table[1, own] = comm.rank, np.arange(len(own))
    comm.sum_(table)
    return table[0], table[1]

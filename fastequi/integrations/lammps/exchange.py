"""What atoms of a domain send to their ghosts on other ranks, and what comes back.

The maps are made once per neighbour list of LAMMPS: who owns the atom of each ghost, by its id.
A message holds the rows of all irreps of a layer.
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
    ghosts   [ghosts] int64, ghosts sorted by the rank that owns them
    n_sent, n_received   [ranks] int64, how many of them for and from each
    """

    comm: Any
    n_own: int
    sent: Tensor
    ghosts: Tensor
    n_sent: NDArray[np.int64]
    n_received: NDArray[np.int64]

    def of(self, place: Tensor | None) -> "Exchange":
        """With own atoms elsewhere: place [own atoms]."""
        return self if place is None else replace(self, sent=place[self.sent])

    def completed(self, sent: list[Tensor]) -> list[Tensor]:
        """Blocks [own atoms, ...] with those of ghosts behind."""
        rows = torch.cat([block[self.sent].flatten(1) for block in sent], dim=1)
        received = self._passed(rows, self.n_sent, self.n_received, len(self.ghosts))
        found = []
        for block, part in zip(sent, _split(received, sent), strict=True):
            whole = block.new_empty((self.n_own + len(self.ghosts), *block.shape[1:]))
            whole[: self.n_own] = block
            whole[self.n_own + self.ghosts] = part
            found.append(whole)
        return found

    def returned(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """Blocks of own atoms, to which those of their ghosts are added, in the order of ranks."""
        behind = [block[self.n_own :][self.ghosts].flatten(1) for block in gradient]
        rows = torch.cat(behind, dim=1)
        received = self._passed(rows, self.n_received, self.n_sent, len(self.sent))
        parts = _split(received, gradient)
        return [
            block[: self.n_own].clone().index_add_(0, self.sent, part)
            for block, part in zip(gradient, parts, strict=True)
        ]

    def _passed(
        self, rows: Tensor, n_there: NDArray[np.int64], n_back: NDArray[np.int64], n_rows: int
    ) -> Tensor:
        """Rows [rows, width] to and from all ranks."""
        width = rows.shape[1]
        received = rows.new_empty((n_rows, width))
        self.comm.Alltoallv(
            [rows.contiguous().numpy(), n_there * width], [received.numpy(), n_back * width]
        )
        return received


def _split(rows: Tensor, blocks: Sequence[Tensor]) -> list[Tensor]:
    """Rows [rows, width] as blocks of these shapes."""
    shapes = [block.shape[1:] for block in blocks]
    parts = rows.split([shape.numel() for shape in shapes], dim=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def make_exchange(comm: Any, ids: NDArray[np.int64], n_own: int) -> Exchange:
    """ids [atoms]: of own atoms, then of ghosts; every id has one owner."""
    owner, row = _owners(comm, ids[:n_own])
    of_ghosts = owner[ids[n_own:]]
    order = np.argsort(of_ghosts, kind="stable")
    n_received = np.bincount(of_ghosts, minlength=comm.size).astype(np.int64)
    n_sent = np.empty_like(n_received)
    comm.Alltoall(n_received, n_sent)
    wanted = np.ascontiguousarray(row[ids[n_own:]][order])
    sent = np.empty(int(n_sent.sum()), dtype=np.int64)
    comm.Alltoallv([wanted, n_received], [sent, n_sent])
    return Exchange(
        comm, n_own, torch.from_numpy(sent), torch.from_numpy(order), n_sent, n_received
    )


def _owners(comm: Any, own: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each id the rank and its row there, [largest id + 1]."""
    from mpi4py import MPI

    most = comm.allreduce(int(own.max(initial=0)), op=MPI.MAX)
    table = np.zeros((2, most + 1), dtype=np.int64)
    table[0, own], table[1, own] = comm.rank, np.arange(len(own))
    comm.Allreduce(MPI.IN_PLACE, table)
    return table[0], table[1]

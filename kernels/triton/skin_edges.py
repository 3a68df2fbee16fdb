"""What of a force call on a GPU is not the network (kernels/backend.py, `step`).

    edges = SkinEdges(...)             # memory of a fixed size, for a list with a skin
    edges.place(positions, cell)       # where the atoms are now
    edges.find()                       # vectors of all edges
    ...                                # the network: energies, and `EdgeSums` of dE/dr
    edges.collect(energies, sums)      # forces, energies, stress
    edges.found()

Edges beyond the cutoff stay in the list: the convolutions skip them, and their gradients are zero.
Nothing between `place` and `found` asks the device anything, and what it depends on has its place
from the beginning, so it can be captured as a CUDA graph.
"""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.parts import PairRepulsion, SkinList
from fastequi.kernels.triton.memory import keeping
from fastequi.kernels.triton.step.buffers import Batch, EdgeRows
from fastequi.kernels.triton.step.definitions import pack
from fastequi.kernels.triton.step.step import (
    edge_vectors_,
    repel_,
    sum_forces_,
    sum_systems_,
)

#: Calls need not be noted down: a CUDA graph does that.
recording = None
#: A force call is static however many atoms there are.
MOST_ATOMS = math.inf
#: Room for lists that follow: a share of the first one, and so many edges.
_ROOM, _SPARE = 1.25, 64


class SkinEdges:
    """Memory for the edges of a list, and of lists to come that are little longer.

    rows           the edges as the kernels around the network read them
    by_atom, by_species, vectors   as the convolution takes them; vectors [room, 3]
    flags          [1] int32, bits of `step/flags.py`; raised, never cleared, by `collect`
    forces [atoms, 3], energies [atoms], energy [systems], stress [systems, 3, 3]: what is found,
    float64, in the order of the graph
    """

    def __init__(self, given: SkinList, n_systems: int, cutoff: float, dtype: torch.dtype) -> None:
        n, self.room = len(given.atoms), int(given.edges.n_edges * _ROOM) + _SPARE
        self.batch = Batch.sorted(given.system, n_systems)
        index = given.edges.sender

        def whole(*shape: int) -> Tensor:
            return index.new_zeros(shape)

        def real(*shape: int) -> Tensor:
            return index.new_zeros(shape, dtype=torch.float64)

        sender, species = whole(self.room), whole(self.room)
        sender_atom, reverse = (whole(self.room).to(torch.int32) for _ in range(2))
        self.rows = EdgeRows(whole(n), sender_atom, whole(n + 1), reverse, whole(self.room))
        self.vectors = index.new_zeros((self.room, 3), dtype=dtype)
        scale = None
        if given.edges.cutoff_scale is not None:
            scale = index.new_ones(self.room, dtype=dtype)
        self.by_atom = Edges(sender, sender, self.rows.row_start, scale, reverse)
        self.by_species = self.by_atom.from_senders(species)
        self.forces, self.virials, self.energies = real(n, 3), real(n, 6), real(n)
        self.energy, self.stress = real(n_systems), real(n_systems, 3, 3)
        self.totals = real(n_systems, self.batch.n_parts, 7)
        self.flags = index.new_zeros(1, dtype=torch.int32)
        self._tables: dict[Any, Any] = {}
        self.take_(given)

    def fits(self, given: SkinList, n_systems: int) -> bool:
        """Whether there is room for another list of the same atoms."""
        return (
            given.edges.n_edges <= self.room
            and n_systems == self.batch.n_systems
            and (given.edges.cutoff_scale is None) == (self.by_atom.cutoff_scale is None)
            and torch.equal(given.atoms, self.rows.atoms)
            and torch.equal(given.system, self.batch.system_idx)
        )

    def take_(self, given: SkinList) -> None:
        """Another list."""
        n, rows, edges = given.edges.n_edges, self.rows, given.edges
        assert edges.reverse is not None
        rows.atoms.copy_(given.atoms)
        rows.row_start.copy_(edges.row_start)
        rows.sender_atom[:n] = given.atoms[edges.sender]
        rows.reverse[:n] = edges.reverse
        rows.shift[:n] = pack(given.shift)
        self.by_atom.sender[:n] = edges.sender
        self.by_species.sender[:n] = given.species
        if self.by_atom.cutoff_scale is not None and edges.cutoff_scale is not None:
            self.by_atom.cutoff_scale[:n] = edges.cutoff_scale

    def is_current(self) -> bool:
        """Nothing that a call depends on can have changed."""
        return True

    def keeping(self) -> AbstractContextManager[None]:
        """Tables of kernels that are launched inside stay where they are, as long as this does."""
        return keeping(self._tables)

    def place(self, positions: Tensor, cell: Tensor) -> None:
        """Where the atoms are: tensors that may be written into before the next `find`."""
        self.positions, self.cell = positions.contiguous(), cell.contiguous()

    def find(self) -> None:
        """The vectors of all edges."""
        edge_vectors_(self.rows, self.positions, self.cell, self.batch, self.vectors)

    def repel_(self, repulsion: PairRepulsion, sorted_energies: Tensor, sums: Any) -> None:
        """Add a repulsion to the energies of the rows and to dE/dr."""
        repel_(
            self.rows, self.by_species.sender, repulsion, self.vectors, sorted_energies, sums.total
        )

    def collect(self, sorted_energies: Tensor, sums: Any) -> None:
        """From the energies of the rows, float64, and dE/dr."""
        self.energies.index_copy_(0, self.rows.atoms, sorted_energies)
        gradient = sums.gradient()
        sum_forces_(self.rows, gradient, self.vectors, self.forces, self.virials, self.flags)
        sum_systems_(
            self.batch, self.energies, self.virials, self.cell, self.totals, self.energy,
            self.stress, self.flags,
        )  # fmt: skip

    def found(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """energy, energies, forces, stress, where the next call writes them too."""
        return self.energy, self.energies, self.forces, self.stress

    def shortest_distance_A(self) -> float:
        """Of all edges at the last call, where there are some; waits for the device."""
        n = int(self.rows.row_start[-1])
        return float(self.vectors[:n].norm(dim=1).min()) if n else math.inf


def energies(read: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale read + shift [atoms] in eV, float64, from what is read out."""
    return torch.addcmul(shift, scale, read.view(-1).to(torch.float64))

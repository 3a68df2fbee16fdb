"""A force call of a small system as one program, kept as long as the atoms are the same.

Of 13 ms that a call of SevenNet-0 took for 9 atoms, 3 were arithmetic. What a backend offers as its
'step' notes down the calls of one walk, with the memory that they were given, and makes them again
for other positions. Edges are found inside, from a list with a skin; a longer list that follows
takes the place of the former as long as there is room.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.arrangement import Arrangement, Order, arrange
from fastequi.engine.walk import BoundWalk
from fastequi.graph import Graph, image_vectors, volumes
from fastequi.kernels.convolution.weights import Weights
from fastequi.potential import Prediction, stress_of


class PlannedCall:
    """A `ForceCall` through the step of a backend."""

    def __init__(
        self, graph: Graph, order: Order, walk: BoundWalk, tables: Sequence[Weights], cutoff: float,
        scale: Tensor | None,
    ) -> None:  # fmt: skip
        """graph: edges up to the cutoff and a skin; scale [edges] as in `Edges`."""
        self.order, self.walk, self.tables = order, walk, tables
        self.step, self.dtype = walk.walk.backend.part("step"), walk.first_x.dtype
        listed = self._listed(graph, scale)
        self.edges = self.step.SkinEdges(listed, graph.n_systems, cutoff, self.dtype)
        by_atom, by_species = self.edges.by_atom, self.edges.by_species
        self.arrangement = Arrangement(order, self.edges.vectors, by_atom, by_species, None)
        self.n_calls, self.program = 0, None
        self._of(graph)

    def take(self, graph: Graph, scale: Tensor | None) -> bool:
        """Go on with another list of the same atoms; False where there is no room for it."""
        listed = self._listed(graph, scale)
        if not self.edges.fits(listed, graph.n_systems):
            return False
        self.edges.take_(listed)
        self._of(graph)
        return True

    @torch.no_grad()
    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        self.edges.positions.copy_(positions)
        if cell is not self._cell or cell._version != self._version:
            self._set_cell(cell)
        if self.program is not None:
            self.program.run()
        elif self.n_calls == 0:  # makes what is made once
            self._compute()
        else:
            with self.step.recording() as self.program:
                self._compute()
        self.n_calls += 1
        found, virial = self.edges, self.edges.virial.view(-1, 3, 3)
        stress = (virial + virial.mT).mul_(self._half_per_volume)
        return Prediction(
            found.energy.clone(), found.energies.clone(), found.forces.clone(), stress
        )

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last call, in Å; infinite where the list has none."""
        return self.edges.shortest_distance_A()

    def _compute(self) -> None:
        self.edges.find()
        found = self.walk.energies(self.arrangement, self.tables)
        sums = self.walk.edge_sums(self.arrangement, self.tables, *found[1:])
        self.edges.collect(found[0], sums)

    def _of(self, graph: Graph) -> None:
        """What the list is of."""
        self._edge_system = graph.system_idx[graph.edge_dst]
        self._edge_shift, self._numbers = graph.edge_shift, self._listed_numbers
        self._set_cell(graph.cell)

    def _set_cell(self, cell: Tensor) -> None:
        images = image_vectors(cell, self._edge_system, self._edge_shift)
        images = images if self._numbers is None else images[:, self._numbers]
        self.edges.image_vectors[:, : images.shape[1]] = images
        self._half_per_volume = stress_of(torch.full_like(cell, 0.5), volumes(cell))
        self._cell, self._version = cell, cell._version

    def _listed(self, graph: Graph, scale: Tensor | None) -> Any:
        """The list in the order of the atoms here."""
        order, n_edges = self.order, graph.n_edges
        empty = graph.positions.new_empty((n_edges, 3))
        a = arrange(graph, order, empty, self.dtype, scale)
        reverse, numbers = reverse_edges(graph), a.edges
        if numbers is not None:
            place = torch.empty_like(numbers)
            place[numbers] = torch.arange(n_edges)
            reverse = place[reverse[numbers]]
        self._listed_numbers = numbers
        atoms = torch.arange(graph.n_atoms) if order.atoms is None else order.atoms
        return self.step.SkinList(
            atoms, graph.system_idx, a.by_atom, a.by_species.sender, reverse, a.by_atom.stretch
        )


def reverse_edges(graph: Graph) -> Tensor:
    """Of each edge the number of the one that goes the other way, [edges].

    Edges are sorted by (receiver, sender, shift). Raises ValueError where one has no reverse.
    """
    shift = graph.edge_shift.long().unbind(1)
    most = max((int(s.abs().max()) for s in shift), default=0) if graph.n_edges else 0
    forth = _keys((graph.edge_dst, graph.edge_src, *shift), graph.n_atoms, most)
    back = _keys((graph.edge_src, graph.edge_dst, *(-s for s in shift)), graph.n_atoms, most)
    numbers = torch.searchsorted(forth, back).clamp_(max=max(graph.n_edges - 1, 0))
    if not torch.equal(forth[numbers], back):
        raise ValueError("an edge of the list has no reverse")
    return numbers


def _keys(columns: tuple[Tensor, ...], n_atoms: int, most: int) -> Tensor:
    """Two atoms and shifts of up to `most` as one number each, in the same order."""
    key = columns[0] * n_atoms + columns[1]
    for shift in columns[2:]:
        key = key * (2 * most + 1) + (shift + most)
    return key

"""A force call of a small system as one program, kept as long as the atoms are the same.

Of 13 ms that a call of SevenNet-0 took for 9 atoms, 3 were arithmetic. What a backend offers as its
'step' notes down the calls of one walk, with the memory that they were given, and makes them again
for other positions. Edges are found inside, from a list with a skin; a longer list that follows
takes the place of the former as long as there is room. Whoever moves atoms has a program of their
own: it knows one list.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.arrangement import Arrangement, Order, arrange
from fastequi.engine.walk import BoundWalk, Walk
from fastequi.graph import Graph, image_vectors, volumes
from fastequi.kernels.convolution.weights import Weights
from fastequi.potential import Prediction, stress_of


class ForceProgram:
    """A `ForceCall` through the step of a backend, with memory of its own."""

    def __init__(
        self, walk: BoundWalk, order: Order, tables: Sequence[Weights], cutoff: float,
        graph: Graph, cutoff_scale: Tensor | None,
    ) -> None:  # fmt: skip
        """graph: edges up to the cutoff and a skin; cutoff_scale [edges] as in `Edges`."""
        self.walk, self.order, self.tables, self.cutoff = walk, order, tables, cutoff
        self.step, self.dtype = walk.walk.backend.part("step"), walk.first_x.dtype
        self._atomic_numbers = graph.atomic_numbers.clone()
        self._plan(graph, cutoff_scale)

    def is_of(self, walk: Walk, atomic_numbers: Tensor) -> bool:
        """Whether it is a network's, for these elements."""
        return self.walk.walk is walk and torch.equal(self._atomic_numbers, atomic_numbers)

    def take_(self, graph: Graph, cutoff_scale: Tensor | None) -> None:
        """Go on with another list of the same atoms; planned anew where it has no room."""
        listed, numbers = self._listed(graph, cutoff_scale)
        if not self.edges.fits(listed, graph.n_systems):
            self._plan(graph, cutoff_scale)
            return
        self.edges.take_(listed)
        self._remember(graph, cutoff_scale, numbers)

    @torch.no_grad()
    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        if self.n_threads != torch.get_num_threads():
            self._plan(*self._given)
        self.edges.positions.copy_(positions)
        if cell is not self._cell or cell._version != self._version:
            self._set_cell(cell)
        self._run()
        found, virial = self.edges, self.edges.virial.view(-1, 3, 3)
        stress = (virial + virial.mT).mul_(self._half_per_volume)
        return Prediction(
            found.energy.clone(), found.energies.clone(), found.forces.clone(), stress
        )

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last call, in Å; infinite where the list has none."""
        return self.edges.shortest_distance_A()

    def _plan(self, graph: Graph, cutoff_scale: Tensor | None) -> None:
        listed, numbers = self._listed(graph, cutoff_scale)
        self.n_threads = torch.get_num_threads()
        edges = self.step.SkinEdges(listed, graph.n_systems, self.cutoff, self.dtype)
        self.edges = edges
        self.arrangement = Arrangement(
            self.order, edges.vectors, edges.by_atom, edges.by_species, None
        )
        self._is_first, self.program = True, None
        self._remember(graph, cutoff_scale, numbers)

    def _run(self) -> None:
        if self.program is not None:
            self.program.run()
        elif self._is_first:  # makes what is made once
            self._compute()
            self._is_first = False
        else:
            with self.step.recording() as program:
                self._compute()
            self.program = program  # not one that was cut short

    def _compute(self) -> None:
        self.edges.find()
        found = self.walk.energies(self.arrangement, self.tables)
        sums = self.walk.edge_sums(self.arrangement, self.tables, *found[1:])
        self.edges.collect(found[0], sums)

    def _remember(self, graph: Graph, cutoff_scale: Tensor | None, numbers: Tensor | None) -> None:
        """Which list this is, and which edge of it stands where here."""
        self._given, self._numbers = (graph, cutoff_scale), numbers
        self._set_cell(graph.cell)

    def _set_cell(self, cell: Tensor) -> None:
        graph = self._given[0]
        images = image_vectors(cell, graph.system_idx[graph.edge_dst], graph.edge_shift)
        images = images if self._numbers is None else images[:, self._numbers]
        self.edges.image_vectors[:, : images.shape[1]] = images
        self._half_per_volume = stress_of(torch.full_like(cell, 0.5), volumes(cell))
        self._cell, self._version = cell, cell._version

    def _listed(self, graph: Graph, cutoff_scale: Tensor | None) -> tuple[Any, Tensor | None]:
        """The list in the order of the atoms here, and the number that each edge had."""
        order, n_edges = self.order, graph.n_edges
        empty = graph.positions.new_empty((n_edges, 3))
        a = arrange(graph, order, empty, self.dtype, cutoff_scale)
        reverse = reverse_edges(graph)
        if a.edges is not None:
            place = torch.empty_like(a.edges)
            place[a.edges] = torch.arange(n_edges)
            reverse = place[reverse[a.edges]]
        atoms = torch.arange(graph.n_atoms) if order.atoms is None else order.atoms
        species = a.by_species.sender
        listed = self.step.SkinList(atoms, graph.system_idx, a.by_atom, species, reverse)
        return listed, a.edges


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

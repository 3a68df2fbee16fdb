"""A force call of a small system as one program, kept as long as the atoms are the same.

Of 13 ms that a call of SevenNet-0 took for 9 atoms, 3 were arithmetic. What a backend offers as its
'step' notes down the calls of one walk, with the memory that they were given, and makes them again
for other positions. Edges are found inside, from a list with a skin; a longer list that follows
takes the place of the former as long as there is room. Whoever moves atoms has a program of their
own: it knows one list.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastequi.engine.arrangement import Arrangement, Order, arrange
from fastequi.engine.walk import BoundWalk, Walk
from fastequi.graph import Graph
from fastequi.kernels.convolution.weights import Weights
from fastequi.kernels.parts import PairRepulsion, SkinList
from fastequi.potential import Prediction

#: Atoms beyond which features are computed twice rather than kept: memory, not speed, is the limit.
LEAN_FROM = 20_000


class ForceProgram:
    """A `ForceCall` through the step of a backend, with memory of its own."""

    def __init__(
        self, walk: BoundWalk, order: Order, tables: Sequence[Weights], cutoff: float,
        graph: Graph, cutoff_scale: Tensor | None, repulsion: PairRepulsion | None = None,
    ) -> None:  # fmt: skip
        """graph: edges up to the cutoff and a skin; cutoff_scale [edges] as in `Edges`; repulsion:
        of nuclei, that the network does not know."""
        self.walk, self.order, self.tables, self.cutoff = walk, order, tables, cutoff
        self.repulsion = repulsion
        self.step, self.dtype = walk.walk.backend.part("step"), walk.first_x.dtype
        self._atomic_numbers = graph.atomic_numbers.clone()
        self._plan(graph, cutoff_scale)

    def is_of(self, walk: Walk, atomic_numbers: Tensor) -> bool:
        """Whether it is a network's, for these elements."""
        return self.walk.walk is walk and torch.equal(self._atomic_numbers, atomic_numbers)

    def take_(self, graph: Graph, cutoff_scale: Tensor | None) -> bool:
        """Go on with another list of the same atoms; False where there is no room for it."""
        listed = self._listed(graph, cutoff_scale)
        if not self.edges.fits(listed, graph.n_systems):
            return False
        self.edges.take_(listed)
        self._given = graph, cutoff_scale
        return True

    @torch.no_grad()
    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        if not self.edges.is_current():
            self._plan(*self._given)
        self.edges.place(positions, cell)
        self._run()
        return Prediction(*self.edges.found())

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last call, in Å; infinite where the list has none."""
        return self.edges.shortest_distance_A()

    def _plan(self, graph: Graph, cutoff_scale: Tensor | None) -> None:
        listed = self._listed(graph, cutoff_scale)
        edges = self.step.SkinEdges(listed, graph.n_systems, self.cutoff, self.dtype)
        self.edges = edges
        self.arrangement = Arrangement(
            self.order, edges.vectors, edges.by_atom, edges.by_species, None
        )
        self._is_first, self.program = True, None
        self._given = graph, cutoff_scale

    def _run(self) -> None:
        if self.program is not None:
            self.program.run()
        elif self._is_first or self.step.recording is None:  # makes what is made once
            self._compute()
            self._is_first = False
        else:
            with self.step.recording() as program:
                self._compute()
            self.program = program  # not one that was cut short

    def _compute(self) -> None:
        self.edges.find()
        lean = len(self.order.species) > LEAN_FROM
        found = self.walk.energies(self.arrangement, self.tables, lean)
        sums = self.walk.edge_sums(self.arrangement, self.tables, *found[1:])
        if self.repulsion is not None:
            self.edges.repel_(self.repulsion, found[0], sums)
        self.edges.collect(found[0], sums)

    def _listed(self, graph: Graph, cutoff_scale: Tensor | None) -> SkinList:
        """The list in the order of the atoms here."""
        order, n_edges, device = self.order, graph.n_edges, graph.positions.device
        empty = graph.positions.new_empty((n_edges, 3))
        a = arrange(graph, order, empty, self.dtype, cutoff_scale)
        reverse, shift = reverse_edges(graph), graph.edge_shift
        if a.edges is not None:
            place = torch.empty_like(a.edges)
            place[a.edges] = torch.arange(n_edges, device=device)
            reverse, shift = place[reverse[a.edges]], shift[a.edges]
        atoms = order.atoms
        if atoms is None:
            atoms = torch.arange(graph.n_atoms, device=device)
        edges = replace(a.by_atom, reverse=reverse)
        return SkinList(atoms, graph.system_idx, edges, a.by_species.sender, shift)


class StaticProgram(ForceProgram):
    """A `StaticForceCall`: on a device, whose own recording makes its calls again."""

    @property
    def flags(self) -> Tensor:
        """int32 [1], bits that calls have raised; the caller clears them."""
        return self.edges.flags

    def _compute(self) -> None:
        with self.edges.keeping():
            super()._compute()


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

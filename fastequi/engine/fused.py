"""FusedNequIP: a network for dynamics, with radial tables, through the operations of a backend."""

import torch
from torch import Tensor

from fastequi.engine.arrangement import Order, arrange, order_of
from fastequi.engine.force_program import LEAN_FROM, ForceProgram, StaticProgram
from fastequi.engine.repulsion import has_kernels_form, pair_repulsion, repulsion
from fastequi.engine.tables import cached_tables
from fastequi.engine.walk import BoundWalk, Walk
from fastequi.graph import Graph, edge_vectors
from fastequi.kernels.backend import BACKENDS
from fastequi.model.nequip import NequIP
from fastequi.potential import CutCall, ForceCall, Prediction, prediction_from_edges

#: A tensor, and how often it had been written into.
_Versioned = tuple[Tensor, int]


class FusedNequIP:
    """A `Potential`: energies and forces of a `NequIP` network, whose weights are constants.

    network  with its weights, on its device, in its precision
    backend  a name of kernels.backend, 'cpu' for example
    tables   radial weights of each layer
    """

    def __init__(self, network: NequIP, backend: str) -> None:
        self.network, chosen = network, BACKENDS[backend]
        self.walk = Walk(network, chosen, training=False)
        chosen.prepare(
            self.walk.instructions, network.dtype, training=False,
            has_cutoff_scale=network.spec.pair_cutoffs,
        )  # fmt: skip
        self.tables = [t.to(network.dtype, network.device) for t in cached_tables(network)]
        self._last: tuple[_Versioned, Order, BoundWalk] | None = None

    @property
    def cutoff(self) -> float:
        return self.network.cutoff

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        return self.network.atomic_numbers

    @property
    def device(self) -> torch.device:
        return self.network.device

    @torch.no_grad()
    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress."""
        graph = graph.to(self.network.device)
        vectors = edge_vectors(graph)
        order, walk = self._bound(graph.atomic_numbers)
        a = arrange(graph, order, vectors, self.network.dtype, self.cutoff_scale(graph))
        found = walk.energies(a, self.tables, lean=graph.n_atoms > LEAN_FROM)
        energies = a.atoms_back(found[0])
        gradient = a.edges_back(walk.gradient(a, self.tables, *found[1:]))
        if self.network.spec.zbl:
            more, slope = repulsion(self.network, graph, vectors)
            energies, gradient = energies + more, gradient + slope
        return prediction_from_edges(graph, energies, vectors, gradient)

    @property
    def is_compiled(self) -> bool:
        """Whether all that a force call needs is compiled, so that it can be one program."""
        return self.walk.is_compiled and has_kernels_form(self.network)

    def force_call(self, graph: Graph, last: ForceCall | None = None) -> ForceCall:
        """Of a graph whose edges reach up to the cutoff and a skin; as `potential.force_call`."""
        step = self.walk.backend.part("step")
        if not self.is_compiled or graph.n_atoms > step.MOST_ATOMS:
            return CutCall(self, graph)
        graph = graph.to(self.network.device)
        scale = self.cutoff_scale(graph)
        if isinstance(last, ForceProgram) and last.is_of(self.walk, graph.atomic_numbers):
            if last.take_(graph, scale):
                return last
        order, walk = self._bound(graph.atomic_numbers)
        program = StaticProgram if step.recording is None else ForceProgram
        repelling = pair_repulsion(self.network, order.species)
        return program(walk, order, self.tables, self.cutoff, graph, scale, repelling)

    def _bound(self, atomic_numbers: Tensor) -> tuple[Order, BoundWalk]:
        """The order of these atoms, and the walk for it: the same as long as the atoms are."""
        now = atomic_numbers, atomic_numbers._version
        if self._last is None or not _same(self._last[0], now):
            order = order_of(self.network.species(atomic_numbers))
            self._last = now, order, self.walk.of(order)
        return self._last[1:]

    def cutoff_scale(self, graph: Graph) -> Tensor | None:
        """Per edge, as in `Edges`; None where all cutoffs are the same."""
        if not self.network.spec.pair_cutoffs:
            return None
        species = self.network.species(graph.atomic_numbers)
        own = self.network.basis.pair_cutoff[species[graph.edge_dst], species[graph.edge_src]]
        return self.network.cutoff / own


def _same(a: _Versioned, b: _Versioned) -> bool:
    """Whether two tensors hold the same, without a look at them where they are one."""
    if a[0] is b[0]:
        return a[1] == b[1]
    return a[0]._version == a[1] and torch.equal(a[0], b[0])

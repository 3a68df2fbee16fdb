"""A small potential that asks the host nothing, to try chunks on without a model or a GPU."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastequi.graph import Graph, edge_vectors
from fastequi.kernels.triton.step.flags import NOT_FINITE, OVERFLOW
from fastequi.md.testing import LennardJones
from fastequi.potential import ForceCall, Prediction, prediction_from_edges

#: What follows a list or a room that was too small is larger by so much.
_GROWTH = 1.25


@dataclass(frozen=True)
class StaticLennardJones(LennardJones):
    """`LennardJones` by force calls that a device can repeat: `StaticForceCall`.

    room: for so many edges within the cutoff in the first call; it grows as it has to.
    """

    room: int = 64

    def force_call(self, graph: Graph, last: ForceCall | None = None) -> ForceCall:
        """The last one where the list fits, and what was within the cutoff did."""
        room = self.room
        if isinstance(last, StaticCall):
            has_overflown = bool(last.flags & OVERFLOW)
            if not has_overflown and last.fits(self, graph):
                last.take_(graph)
                return last
            room = int(last.room * _GROWTH) if has_overflown else last.room
        return StaticCall(self, graph, room)


class StaticCall:
    """Of Lennard-Jones: edges within the cutoff, packed into `room` in the order of the list.

    What does not fit raises OVERFLOW, and is missing.
    """

    def __init__(self, potential: LennardJones, graph: Graph, room: int) -> None:
        self.potential, self.room = potential, room
        self.flags = torch.zeros(1, dtype=torch.int32, device=graph.positions.device)
        most = int(graph.n_edges * _GROWTH) + 1
        self._listed = replace(
            graph,
            edge_src=graph.edge_src.new_zeros(most),
            edge_dst=graph.edge_dst.new_zeros(most),
            edge_shift=graph.edge_shift.new_zeros((most, 3)),
        )
        self._number = torch.arange(most, device=self.flags.device)
        self._n_edges = torch.zeros((), dtype=torch.int64, device=self.flags.device)
        self.take_(graph)

    def fits(self, potential: LennardJones, graph: Graph) -> bool:
        """Whether it may go on with this list."""
        return (
            potential is self.potential
            and graph.system_idx is self._listed.system_idx
            and graph.n_edges <= self._listed.n_edges
        )

    def take_(self, graph: Graph) -> None:
        """Another list."""
        for name in ("edge_src", "edge_dst", "edge_shift"):
            getattr(self._listed, name)[: graph.n_edges] = getattr(graph, name)
        self._n_edges.fill_(graph.n_edges)

    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        """Adds to `flags`."""
        graph, vectors = self._packed(positions, cell)
        energies, gradients = self.potential.of_edges(vectors, graph)
        found = prediction_from_edges(graph, energies, vectors, gradients)
        wrong = ~(found.forces.isfinite().all() & found.energy.isfinite().all())
        self.flags |= wrong * NOT_FINITE
        return found

    def _packed(self, positions: Tensor, cell: Tensor) -> tuple[Graph, Tensor]:
        """Edges within the cutoff, then such as contribute nothing: of no atom's, and too long."""
        listed, cutoff = self._listed, self.potential.cutoff
        vectors = edge_vectors(replace(listed, positions=positions, cell=cell))
        is_near = vectors.square().sum(dim=1) < cutoff**2
        is_near &= self._number < self._n_edges
        place = is_near.cumsum(0) - 1
        self.flags |= (is_near.sum() > self.room) * OVERFLOW
        place = torch.where(is_near & (place < self.room), place, self.room)

        def packed(values: Tensor, empty: float) -> Tensor:
            out = values.new_full((self.room + 1, *values.shape[1:]), empty)
            return out.index_copy_(0, place, values)[: self.room]

        graph = replace(
            listed,
            positions=positions,
            cell=cell,
            edge_src=packed(listed.edge_src, 0),
            edge_dst=packed(listed.edge_dst, 0),
            edge_shift=packed(listed.edge_shift, 0.0),
        )
        return graph, packed(vectors, 2.0 * cutoff)

    def shortest_distance_A(self) -> float:
        """Is not known."""
        raise NotImplementedError

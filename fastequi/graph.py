"""Graph: a batch of atomistic systems and their directed neighbour edges.

One system is a batch of one; there is no other code path. Conventions, everywhere in fastequi:
cell rows are lattice vectors; `edge_dst` receives and `edge_src` sends; edges are sorted by
`edge_dst`; the edge vector points from the receiver to the sender,

    r = positions[edge_src] - positions[edge_dst] + edge_shift @ cell.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Graph:
    """A batch of systems.

    positions       [atoms, 3]       float64, Å, not wrapped
    atomic_numbers  [atoms]          int64
    cell            [systems, 3, 3]  float64, Å, rows are lattice vectors; zero where absent
    pbc             [systems, 3]     bool
    system_idx      [atoms]          int64, sorted
    edge_src        [edges]          int64, sender
    edge_dst        [edges]          int64, receiver, sorted
    edge_shift      [edges, 3]       float64, whole numbers of lattice vectors
    """

    positions: Tensor
    atomic_numbers: Tensor
    cell: Tensor
    pbc: Tensor
    system_idx: Tensor
    edge_src: Tensor
    edge_dst: Tensor
    edge_shift: Tensor

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def n_systems(self) -> int:
        return self.cell.shape[0]

    @property
    def n_edges(self) -> int:
        return self.edge_src.shape[0]

    def to(self, device: torch.device | str) -> "Graph":
        """The same graph on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__slots__})


def edge_vectors(graph: Graph) -> Tensor:
    """Vectors from receiver to sender [edges, 3] in Å (float64)."""
    shift = torch.einsum(
        "ea,eab->eb", graph.edge_shift, graph.cell[graph.system_idx[graph.edge_dst]]
    )
    return graph.positions[graph.edge_src] - graph.positions[graph.edge_dst] + shift


def image_vectors(cell: Tensor, edge_system: Tensor, edge_shift: Tensor) -> Tensor:
    """edge_shift @ cell as [3, edges] in Å, summed term by term: wherever an edge is stored, its
    vector is rounded alike, and that of its reverse is the opposite."""
    rows = [cell[:, k].index_select(0, edge_system) * edge_shift[:, k : k + 1] for k in range(3)]
    return (rows[0] + rows[1] + rows[2]).T.contiguous()


def volumes(cell: Tensor) -> Tensor:
    """Cell volumes [systems] in Å³; positive for either hand, 0 where a vector is missing."""
    a, b, c = cell.unbind(-2)
    return (torch.linalg.cross(a, b) * c).sum(-1).abs()  # ten times as fast as det


def sum_by_system(values: Tensor, system_idx: Tensor, n_systems: int) -> Tensor:
    """Sum [atoms, ...] over the atoms of each system: [systems, ...]."""
    total = values.new_zeros((n_systems, *values.shape[1:]))
    return total.index_add_(0, system_idx, values)


class EdgeCut:
    """The edges of a list with a skin that are within the cutoff (Å) now.

    In the order of the list; so neither its skin nor its age show in the result, to the last bit.
    """

    def __init__(self, listed: Graph, cutoff: float) -> None:
        self.listed, self.cutoff, self._cell = listed, cutoff, torch.empty(0)
        # Asking the system for large pages at every call would cost more than the sums.
        self._scratch = listed.positions.new_empty((3, listed.n_edges))

    def graph(self, positions: Tensor, cell: Tensor) -> Graph:
        """With these positions and this cell, which become fields of the graph."""
        listed = self.listed
        if not torch.equal(cell, self._cell):
            edge_system = listed.system_idx.index_select(0, listed.edge_dst)
            self._images = image_vectors(cell, edge_system, listed.edge_shift)
            self._cell = cell.clone()
        kept = torch.nonzero(self._distances2(positions) < self.cutoff**2).squeeze(1)
        return replace(
            listed,
            positions=positions,
            cell=cell,
            edge_src=listed.edge_src.index_select(0, kept),
            edge_dst=listed.edge_dst.index_select(0, kept),
            edge_shift=listed.edge_shift.index_select(0, kept),
        )

    def _distances2(self, positions: Tensor) -> Tensor:
        """Component by component: the sum is rounded alike wherever the edge is stored."""
        distance2, d, x_dst = self._scratch
        for axis in range(3):
            x = positions[:, axis].contiguous()
            into = distance2 if axis == 0 else d
            torch.index_select(x, 0, self.listed.edge_src, out=into)
            torch.index_select(x, 0, self.listed.edge_dst, out=x_dst)
            into.sub_(x_dst).add_(self._images[axis]).square_()
            if axis > 0:
                distance2.add_(d)
        return distance2

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last query, in Å; infinite where there is none. Costs nothing."""
        distance2 = self._scratch[0]
        return math.sqrt(float(distance2.min())) if distance2.numel() else math.inf

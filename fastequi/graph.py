"""Graph: a batch of atomistic systems and their directed neighbour edges.

One system is a batch of one; there is no other code path. Conventions, everywhere in fastequi:
cell rows are lattice vectors; `edge_dst` receives and `edge_src` sends; edges are sorted by
`edge_dst`; the edge vector points from the receiver to the sender,

    r = positions[edge_src] - positions[edge_dst] + edge_shift @ cell.
"""

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


def volumes(cell: Tensor) -> Tensor:
    """Cell volumes [systems] in Å³; positive for either hand, 0 where a vector is missing."""
    a, b, c = cell.unbind(-2)
    return (torch.linalg.cross(a, b) * c).sum(-1).abs()  # ten times as fast as det


def sum_by_system(values: Tensor, system_idx: Tensor, n_systems: int) -> Tensor:
    """Sum [atoms, ...] over the atoms of each system: [systems, ...]."""
    total = values.new_zeros((n_systems, *values.shape[1:]))
    return total.index_add_(0, system_idx, values)

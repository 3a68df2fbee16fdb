"""The edges of one step as the kernels for processors read them."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.cpu.segments import edge_lanes, split_receivers


@dataclass
class EdgeArrays:
    """The edges of one step as the kernels read them, shared by all layers.

    sender, row_start  int64
    per_edge           arrays [components, edge_stride], padded so that vectors may overrun
    """

    sender: Tensor
    row_start: Tensor
    n_edges: int
    edge_stride: int
    scratch_stride: int
    per_edge: dict[str, Tensor] = field(default_factory=dict)
    _pieces: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def n_atoms(self) -> int:
        return len(self.row_start) - 1

    @property
    def addresses(self) -> dict[str, int]:
        """What the kernels call by name: addresses and sizes."""
        tensors = {"row_start": self.row_start, "sender": self.sender, **self.per_edge}
        return {name: tensor.data_ptr() for name, tensor in tensors.items()} | {
            "n_atoms": self.n_atoms,
            "edge_stride": self.edge_stride,
            "scratch_stride": self.scratch_stride,
        }

    def of(self, edges: Edges) -> "EdgeArrays":
        """The same with the senders of other edges, `Edges.from_senders`."""
        sender = edges.sender.contiguous()
        same = sender.data_ptr() == self.sender.data_ptr() and sender.shape == self.sender.shape
        return self if same else replace(self, sender=sender)

    def pieces(self, parts: int) -> list[tuple[int, int]]:
        """Receivers of each thread."""
        if parts not in self._pieces:
            self._pieces[parts] = split_receivers(self.row_start, parts)
        return self._pieces[parts]


def edge_arrays(edges: Edges, dtype: torch.dtype, **per_edge: Tensor | None) -> EdgeArrays:
    """per_edge: vectors [edges, 3] or stretch [edges], by name."""
    lanes = edge_lanes(dtype)
    stride = edges.n_edges + lanes
    degrees = edges.row_start[1:] - edges.row_start[:-1]
    longest = int(degrees.max()) if len(degrees) else 0
    arrays = EdgeArrays(
        edges.sender.contiguous(),
        edges.row_start.contiguous(),
        edges.n_edges,
        stride,
        (longest + 2 * lanes - 1) // lanes * lanes,
    )
    for name, values in per_edge.items():
        if values is not None:
            columns = (values.unsqueeze(1) if values.ndim == 1 else values).detach().T
            padded = torch.ones((columns.shape[0], stride), dtype=dtype)
            padded[:, : edges.n_edges] = columns
            arrays.per_edge[name] = padded
    return arrays


def shared_arrays(edges: Edges, vectors: Tensor) -> EdgeArrays:
    """Vectors and stretch; made once for all layers that are given the same vectors."""
    return edges.keep(
        "vectors",
        (vectors,),
        None,
        lambda: edge_arrays(edges, vectors.dtype, vectors=vectors, stretch=edges.stretch),
    ).of(edges)

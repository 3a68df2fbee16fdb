"""The edges of one step as the kernels for processors read them."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.cpu.channels import split_receivers
from fastequi.kernels.llvm.target import lanes_of


@dataclass(frozen=True)
class EdgeArrays:
    """By the names of the kernels' arguments, shared by all layers.

    tensors  sender [edges] and row_start [receivers + 1], int64; vectors and displacements
             [3, edge_stride] and cutoff_scale [1, edge_stride], padded: vectors may overrun
    sizes    n_receivers; edge_stride; block, the receivers whose edges are made ready at a time;
             scratch_stride, room for the edges of any block
    """

    tensors: dict[str, Tensor]
    sizes: dict[str, int]
    n_edges: int
    _cuts: dict[int, list[int]] = field(default_factory=dict)

    def of(self, edges: Edges) -> "EdgeArrays":
        """The same with the senders of other edges, `Edges.from_senders`."""
        sender, mine = edges.sender.contiguous(), self.tensors["sender"]
        if sender.data_ptr() == mine.data_ptr() and sender.shape == mine.shape:
            return self
        return replace(self, tensors=self.tensors | {"sender": sender})

    def cuts(self, parts: int) -> list[int]:
        """Where the receivers of each thread begin and end."""
        if parts not in self._cuts:
            pieces = split_receivers(self.tensors["row_start"], parts)
            self._cuts[parts] = [0, *(last for _, last in pieces)]
        return self._cuts[parts]


def shared_arrays(
    edges: Edges, dtype: torch.dtype, vectors: Tensor, displacements: Tensor | None = None
) -> EdgeArrays:
    """Made once for all layers that are given the same vectors and displacements."""
    name, given = "vectors", (vectors,)
    if displacements is not None:
        name, given = "displacements", (vectors, displacements)
    return edges.keep(name, given, dtype, lambda: _arrays(edges, dtype, *given)).of(edges)


def _arrays(
    edges: Edges, dtype: torch.dtype, vectors: Tensor, displacements: Tensor | None = None
) -> EdgeArrays:
    lanes, n_edges, n = lanes_of(dtype), edges.n_edges, edges.n_receivers
    row_start = edges.row_start.contiguous()
    tensors = {"row_start": row_start, "sender": edges.sender.contiguous()}
    rows = {"vectors": vectors, "displacements": displacements, "cutoff_scale": edges.cutoff_scale}
    for name, values in rows.items():
        if values is not None:
            tensors[name] = _padded(values, n_edges + lanes, dtype)
    block = receivers_at_a_time(n, n_edges, dtype)
    sizes = {
        "n_receivers": n,
        "edge_stride": n_edges + lanes,
        "block": block,
        "scratch_stride": scratch_stride(most_edges(row_start, block), dtype),
    }
    return EdgeArrays(tensors, sizes, n_edges)


def receivers_at_a_time(n_receivers: int, n_edges: int, dtype: torch.dtype) -> int:
    """So many that their edges fill the lanes."""
    full = lanes_of(dtype) * n_receivers // max(n_edges, 1)
    return min(max(full, 1), max(n_receivers, 1))


def most_edges(row_start: Tensor, block: int) -> int:
    """Of any so many receivers that follow each other."""
    if len(row_start) <= block:
        return int(row_start[-1])
    return int((row_start[block:] - row_start[:-block]).max())


def scratch_stride(most: int, dtype: torch.dtype) -> int:
    """Room for so many edges in whole vectors, and one vector more."""
    lanes = lanes_of(dtype)
    return (most + 2 * lanes - 1) // lanes * lanes


def _padded(values: Tensor, stride: int, dtype: torch.dtype) -> Tensor:
    """[edges, components] or [edges] -> [components, stride]."""
    values = values.unsqueeze(1) if values.ndim == 1 else values
    padded = torch.ones((values.shape[1], stride), dtype=dtype)
    padded[:, : len(values)] = values.detach().T
    return padded


def seen_before(edges: Edges, pair: Tensor, n_pairs: int) -> tuple[Tensor, bool]:
    """Per edge, whether an earlier one is of the same pair (0 or 1); whether no pair is missing.

    Made once for all layers.
    """

    def make() -> tuple[Tensor, bool]:
        number, of_edge = np.arange(len(pair)), pair.numpy()
        first = np.full(n_pairs, -1)
        first[of_edge[::-1]] = number[::-1]
        seen = (first[of_edge] != number).astype(np.int64)
        return torch.from_numpy(seen), bool((first >= 0).all())

    return edges.keep("seen before", (pair,), n_pairs, make)

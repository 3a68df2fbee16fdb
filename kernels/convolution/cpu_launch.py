"""Run the printed CPU kernels: which kernels a layer needs, their arguments, and who does what.

Forward: threads share the receivers, split where the edges are evenly many. Adjoint: threads share
the channels of the input irreps, so that each owns the columns of dx that it adds to; there is no
race, no atomic, and the result does not depend on timing.
"""

import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels import cache
from fastequi.kernels.convolution.cpu_kernels import print_kernel, scratch_size
from fastequi.kernels.convolution.cpu_printer import ARGUMENTS, KernelSpec, Source
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.instructions import Instructions, Path
from fastequi.kernels.llvm.compiler import Kernel, entry_name, vector_bytes
from fastequi.kernels.llvm.threads import Call, n_threads, run_side_by_side

_SLOT = {name: i for i, name in enumerate(ARGUMENTS)}
REALS = {torch.float32: "float", torch.float64: "double"}


@functools.cache
def compiled(spec: KernelSpec) -> Kernel:
    """The kernel, from the cache on disk or compiled now."""
    return Kernel(spec.name, print_kernel(spec), n_integers=4)


def is_cached(spec: KernelSpec) -> bool:
    """Whether the kernel needs no compilation."""
    return cache.read(entry_name(spec.name, print_kernel(spec))) is not None


def edge_lanes(dtype: torch.dtype) -> int:
    """Numbers per vector register of this CPU."""
    return vector_bytes() // torch.finfo(dtype).bits * 8


@dataclass(frozen=True, slots=True)
class Segment:
    """Channels [begin, end) of one input irrep, done by the kernel with so many lanes."""

    irrep: int
    lanes: int
    begin: int
    end: int


def segments(instructions: Instructions, dtype: torch.dtype) -> list[Segment]:
    """All channels of all input irreps that have paths; odd counts end in narrower vectors."""
    result = []
    for i, (channels, _) in enumerate(instructions.irreps_in):
        begin, lanes = 0, edge_lanes(dtype)
        while begin < channels and any(path.input == i for path in instructions.paths):
            end = begin + (channels - begin) // lanes * lanes
            if end > begin:
                result.append(Segment(i, lanes, begin, end))
            begin, lanes = end, max(lanes // 2, 1)
    return result


def paths_of(instructions: Instructions, irrep: int) -> list[Path]:
    return [path for path in instructions.paths if path.input == irrep]


def kernel_spec(
    instructions: Instructions,
    segment: Segment,
    dtype: torch.dtype,
    source: Source,
    outputs: tuple[str, ...],
    stretched: bool,
) -> KernelSpec:
    """The kernel that does a segment."""
    paths = paths_of(instructions, segment.irrep)
    return KernelSpec(
        l1=paths[0].l1,
        paths=tuple((path.l2, path.l3) for path in paths),
        real=REALS[dtype],
        lanes=segment.lanes,
        edge_lanes=edge_lanes(dtype),
        source=source,
        outputs=outputs,
        stretched=stretched,
    )


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


def edge_arrays(edges: Edges, dtype: torch.dtype, **per_edge: Tensor | None) -> EdgeArrays:
    """per_edge: vectors [edges, 3], harmonics [edges, n] or stretch [edges], by name."""
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
    seen = edges.kept.get(("arrays", vectors.dtype))
    if seen and seen[0]() is vectors and seen[1] == vectors._version:
        return seen[2]
    made = edge_arrays(edges, vectors.dtype, vectors=vectors, stretch=edges.stretch)
    edges.kept["arrays", vectors.dtype] = weakref.ref(vectors), vectors._version, made
    return made


@dataclass
class Launch:
    """One convolution or adjoint, ready to run.

    x, blocks      features per input irrep; output (or its gradient) per output irrep
    pointers       further arguments by name
    """

    instructions: Instructions
    arrays: EdgeArrays
    dtype: torch.dtype
    source: Source
    outputs: tuple[str, ...]
    x: Sequence[Tensor]
    blocks: Sequence[Tensor]
    pointers: dict[str, Tensor]
    dx: Sequence[Tensor] = ()

    def spec(self, segment: Segment) -> KernelSpec:
        return kernel_spec(
            self.instructions, segment, self.dtype, self.source, self.outputs,
            "stretch" in self.arrays.per_edge,
        )  # fmt: skip

    def call(self, segment: Segment, receivers: tuple[int, int], own: dict[str, Tensor]) -> Call:
        """A segment for a range of receivers; `own` overrides pointers."""
        spec = self.spec(segment)
        kernel = compiled(spec)
        arrays, itemsize = self.arrays, self.dtype.itemsize
        scratch = torch.empty(scratch_size(spec, arrays.scratch_stride), dtype=self.dtype)
        intervals = torch.empty(arrays.scratch_stride, dtype=torch.int32)
        paths = paths_of(self.instructions, segment.irrep)
        table = np.zeros(len(ARGUMENTS) + 4 * len(paths), dtype=np.int64)
        values = {name: tensor.data_ptr() for name, tensor in
                  (arrays.per_edge | self.pointers | own).items()}  # fmt: skip
        values |= {
            "row_start": arrays.row_start.data_ptr(),
            "sender": arrays.sender.data_ptr(),
            "edge_stride": arrays.edge_stride,
            "x": self.x[segment.irrep].data_ptr(),
            "channels": self.x[segment.irrep].shape[2],
            "n_weights": self.instructions.n_weights,
            "scratch": scratch.data_ptr(),
            "scratch_stride": arrays.scratch_stride,
            "intervals": intervals.data_ptr(),
        }
        if self.dx:
            values["dx"] = self.dx[segment.irrep].data_ptr()
        for name, value in values.items():
            table[_SLOT[name]] = value
        for p, path in enumerate(paths):
            block = self.blocks[path.output]
            components, channels = block.shape[1:]
            start = len(ARGUMENTS) + 4 * p
            table[start : start + 4] = (
                path.weight_offset,
                block.data_ptr() + path.channel_offset * itemsize,
                components * channels,
                channels,
            )

        integers = (*receivers, segment.begin, segment.end)
        return Call(kernel, integers, table.ctypes.data, (scratch, intervals, table, *own.values()))

    def run_over_receivers(self) -> None:
        """Threads share the receivers (forward: each owns the rows that it stores)."""
        pieces = split_receivers(self.arrays.row_start, n_threads())
        work = segments(self.instructions, self.dtype)
        run_side_by_side([[self.call(s, piece, {}) for s in work] for piece in pieces])

    def run_over_channels(self, sums: dict[str, Tensor]) -> None:
        """Threads share the channels (adjoint: each owns columns of dx and of dW).

        sums  results that every thread adds to: [threads, ...], one slice per thread
        """
        everyone = (0, len(self.arrays.row_start) - 1)
        shares = split_channels(self.instructions, self.dtype, n_threads())
        run_side_by_side(
            [
                [self.call(s, everyone, {name: total[k] for name, total in sums.items()})
                 for s in share]
                for k, share in enumerate(shares)
            ]
        )  # fmt: skip


def n_shares(instructions: Instructions, dtype: torch.dtype) -> int:
    """Threads that `run_over_channels` will use."""
    return len(split_channels(instructions, dtype, n_threads()))


def split_receivers(row_start: Tensor, parts: int) -> list[tuple[int, int]]:
    """Ranges of receivers with about equally many edges (and atoms, where edges are few)."""
    n_atoms = len(row_start) - 1
    load = row_start + torch.arange(n_atoms + 1)
    cuts = [int(load[-1]) * k // parts for k in range(1, parts)]
    bounds = [0, *torch.searchsorted(load, torch.tensor(cuts)).tolist(), n_atoms]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def _adjoint_operations(paths: list[Path]) -> int:
    """Vector operations of the adjoint per edge and chunk of channels, as they are printed."""
    total = 3 * (max(path.l2 for path in paths) + 1) ** 2  # sums of dY kept between chunks
    for path in paths:
        pairs = int((path.coefficients != 0).any(axis=2).sum())  # entries of G[a, b]
        total += 8 + 2 * (2 * path.l1 + 1) + pairs
        if path.l2 > 0:
            total += pairs + 2 * path.l1 + 1
    return total


@functools.cache
def split_channels(
    instructions: Instructions, dtype: torch.dtype, parts: int
) -> list[list[Segment]]:
    """Contiguous shares of all channels with about equally much arithmetic."""
    chunks: list[tuple[int, Segment]] = []
    for s in segments(instructions, dtype):
        cost = _adjoint_operations(paths_of(instructions, s.irrep))
        chunks += [
            (cost, Segment(s.irrep, s.lanes, u, u + s.lanes))
            for u in range(s.begin, s.end, s.lanes)
        ]
    total = sum(cost for cost, _ in chunks)
    shares: list[list[Segment]] = [[] for _ in range(parts)]
    done = 0.0
    for cost, chunk in chunks:
        share = shares[min(int((done + cost / 2) / total * parts), parts - 1)]
        if share and (share[-1].irrep, share[-1].lanes, share[-1].end) == (
            chunk.irrep, chunk.lanes, chunk.begin,
        ):  # fmt: skip
            share[-1] = Segment(chunk.irrep, chunk.lanes, share[-1].begin, chunk.end)
        else:
            share.append(chunk)
        done += cost
    return [share for share in shares if share]

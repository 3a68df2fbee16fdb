"""Run the printed CPU kernels: which kernels a layer needs, their arguments, and who does what.

Forward: threads share the receivers, split where the edges are evenly many. Adjoint: threads share
the channels of the input irreps, so that each owns the columns of dx that it adds to; there is no
race, no atomic, and the result does not depend on timing.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from fastequi.kernels import cache
from fastequi.kernels.convolution.cpu_kernels import print_kernel, scratch_size
from fastequi.kernels.convolution.cpu_printer import ARGUMENTS, KernelSpec, Source
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.instructions import Instructions, Path
from fastequi.kernels.llvm.compiler import Kernel, entry_name
from fastequi.kernels.llvm.plan import Named, Plan, PlannedCall
from fastequi.kernels.llvm.target import host
from fastequi.kernels.llvm.threads import n_threads

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
    """Numbers per vector."""
    return host().vector_bytes * 8 // torch.finfo(dtype).bits


@dataclass(frozen=True, slots=True)
class Segment:
    """Channels [begin, end) of one input irrep, done by the kernel with so many lanes."""

    irrep: int
    lanes: int
    begin: int
    end: int


def segments(instructions: Instructions, dtype: torch.dtype, source: Source) -> list[Segment]:
    """All channels of all input irreps that have paths; odd counts end in narrower vectors.

    With tables, scalars go two vectors at a time (LLVM splits them): their paths hold few sums, and
    what an edge brings, addresses and coefficients, serves both. Their kernels take 0.80 to 0.95 of
    the time (AVX2); those of vectors, for which registers are too few, 1.1 to 1.35; steps of
    training, if theirs did so too, 1.1.
    """
    vectors_of_scalars = 2 if source == "table" else 1
    result = []
    for i, (channels, ir) in enumerate(instructions.irreps_in):
        begin, lanes = 0, edge_lanes(dtype) * (vectors_of_scalars if ir.l == 0 else 1)
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
    _pieces: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

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
    return edges.keep(
        "vectors",
        (vectors,),
        None,
        lambda: edge_arrays(edges, vectors.dtype, vectors=vectors, stretch=edges.stretch),
    ).of(edges)


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

    def run_over_receivers(self) -> None:
        """Threads share the receivers (forward: each owns the rows that it stores)."""
        pieces = self.arrays.pieces(n_threads())
        cuts = [0, *(last for _, last in pieces)]
        self._run(len(pieces), {f"cut{k}": cut for k, cut in enumerate(cuts)})

    def run_over_channels(self, sums: dict[str, Tensor]) -> None:
        """Threads share the channels (adjoint: each owns columns of dx and of dW).

        sums  results that every thread adds to: [threads, ...], one slice per thread
        """
        values = {"n_receivers": len(self.arrays.row_start) - 1}
        for name, total in sums.items():
            values |= {f"{name}{k}": part.data_ptr() for k, part in enumerate(total)}
        self._run(n_threads(), values)

    def _run(self, parts: int, values: dict[str, int]) -> None:
        arrays = self.arrays
        stretched = "stretch" in arrays.per_edge
        work = _work(self.instructions, self.dtype, self.source, self.outputs, stretched, parts)
        scratch, own = work.scratch(arrays.scratch_stride, self.dtype)
        named = {
            "row_start": arrays.row_start,
            "sender": arrays.sender,
            **arrays.per_edge,
            **self.pointers,
            **{f"x{i}": block for i, block in enumerate(self.x)},
            **{f"dx{i}": block for i, block in enumerate(self.dx)},
            **{f"block{i}": block for i, block in enumerate(self.blocks)},
        }
        values |= {name: tensor.data_ptr() for name, tensor in named.items()}
        values |= {"edge_stride": arrays.edge_stride, "scratch_stride": arrays.scratch_stride}
        work.plan.run(values | own)
        del scratch  # what the kernels wrote to lived until here


@dataclass(frozen=True, eq=False)
class _Work:
    """The calls of a pass over a layer, and the kernels that they need."""

    plan: Plan
    n_shares: int
    specs: tuple[KernelSpec, ...]

    def scratch(self, stride: int, dtype: torch.dtype) -> tuple[Tensor, dict[str, int]]:
        """Memory for edge tables and intervals of each share, and the addresses."""
        size, last = _scratch_bytes(self, stride, dtype.itemsize)
        memory = torch.empty(self.n_shares * size // dtype.itemsize, dtype=dtype)
        starts = [memory.data_ptr() + k * size for k in range(self.n_shares)]
        own = {f"scratch{k}": start for k, start in enumerate(starts)}
        return memory, own | {f"intervals{k}": start + last for k, start in enumerate(starts)}


@functools.cache
def _scratch_bytes(work: _Work, stride: int, itemsize: int) -> tuple[int, int]:
    """(bytes of a share, where its intervals begin), in whole lines of the cache."""
    reals = max((scratch_size(spec, stride) for spec in work.specs), default=0)
    tables, intervals = (-(-size // 64) * 64 for size in (reals * itemsize, 4 * stride))
    return tables + intervals, tables


@functools.cache
def _work(
    instructions: Instructions, dtype: torch.dtype, source: Source, outputs: tuple[str, ...],
    stretched: bool, parts: int,
) -> _Work:  # fmt: skip
    """Forward, each share does all channels of its receivers; adjoint, its channels of all."""
    everything = segments(instructions, dtype, source)
    shares = split_channels(instructions, dtype, source, parts) if outputs else [everything] * parts
    specs = {
        segment: kernel_spec(instructions, segment, dtype, source, outputs, stretched)
        for share in shares
        for segment in share
    }
    plan = Plan(
        [
            [_call(instructions, segment, specs[segment], dtype.itemsize, k) for segment in share]
            for k, share in enumerate(shares)
        ]
    )
    return _Work(plan, len(shares), tuple(specs.values()))


def _call(
    instructions: Instructions, segment: Segment, spec: KernelSpec, itemsize: int, share: int
) -> PlannedCall:
    names = _names(spec, segment.irrep, share)
    arguments: list[int | Named] = [
        Named(names[name]) if name in names else 0 for name in ARGUMENTS
    ]
    arguments[_SLOT["channels"]] = instructions.irreps_in.blocks[segment.irrep][0]
    arguments[_SLOT["n_weights"]] = instructions.n_weights
    for path in paths_of(instructions, segment.irrep):
        channels, ir = instructions.irreps_out.blocks[path.output]
        block = Named(f"block{path.output}", path.channel_offset * itemsize)
        arguments += [path.weight_offset, block, ir.dim * channels, channels]
    receivers = (0, Named("n_receivers"))
    if not spec.outputs:
        receivers = (Named(f"cut{share}"), Named(f"cut{share + 1}"))
    integers = (*receivers, segment.begin, segment.end)
    return PlannedCall(compiled(spec), integers, tuple(arguments))


def _names(spec: KernelSpec, irrep: int, share: int) -> dict[str, str]:
    """Argument -> what a launch calls it, of those that the kernel uses."""
    read = {
        "table": ("vectors", "table", "constants"),
        "rows": ("vectors", "rows", "pair"),
        "memory": ("harmonics", "weights"),
    }[spec.source]
    same = ["row_start", "sender", "edge_stride", "scratch_stride", *read]
    same += ["stretch"] * spec.stretched + ["dweights"] * ("weights" in spec.outputs)
    per_share = ["scratch", "intervals"]
    if "edges" in spec.outputs:
        per_share.append("dvectors" if spec.inference else "dharmonics")
    per_irrep = ["x"] + ["dx"] * ("x" in spec.outputs)
    return (
        {name: name for name in same}
        | {name: f"{name}{share}" for name in per_share}
        | {name: f"{name}{irrep}" for name in per_irrep}
    )


def n_shares(instructions: Instructions, dtype: torch.dtype, source: Source) -> int:
    """Threads that `run_over_channels` will use."""
    return len(split_channels(instructions, dtype, source, n_threads()))


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
    instructions: Instructions, dtype: torch.dtype, source: Source, parts: int
) -> list[list[Segment]]:
    """Contiguous shares of all channels with about equally much arithmetic."""
    chunks: list[tuple[int, Segment]] = []
    for s in segments(instructions, dtype, source):
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

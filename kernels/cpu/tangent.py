"""The convolution with tangents on the CPU, jvp and jvp_vjp: the second pass of training.

Threads share receivers in the forward pass and channels in the adjoint, as in `segments.py`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels import cache
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import PairWeights
from fastequi.kernels.cpu.segments import (
    REALS,
    Segment,
    edge_lanes,
    paths_of,
    segments,
    split_channels,
    split_receivers,
)
from fastequi.kernels.cpu.tangent_printer import (
    ARGUMENTS,
    LOOK_AHEAD,
    TangentSpec,
    print_tangent_kernel,
)
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.compiler import Kernel, entry_name
from fastequi.kernels.llvm.plan import Named, Plan, PlannedCall
from fastequi.kernels.llvm.target import host


def jvp(
    x: list[Tensor],
    vectors: Tensor,
    displacements: Tensor,
    edges: Edges,
    weights: PairWeights,
    instructions: Instructions,
    has_tangents: bool = True,
) -> list[Tensor]:
    """As `definitions.jvp`."""
    rows, x, geometry = _prepared(x, vectors, displacements, edges, weights, instructions)
    sender = edges.sender.contiguous()
    out = [
        torch.empty((2 * geometry.n_atoms, ir.dim, mul), dtype=rows.dtype)
        for mul, ir in instructions.irreps_out
    ]
    read = {"rows": rows.data_ptr(), "sender": sender.data_ptr(), **_addresses("x", x)}
    values = read | _addresses("out", out)
    work = _work(instructions, rows.dtype, False, has_tangents, geometry.n_shares)
    work.run(geometry, values, rows.dtype)
    return out


def jvp_vjp(
    g: Sequence[Tensor],
    x: list[Tensor],
    vectors: Tensor,
    displacements: Tensor,
    edges: Edges,
    weights: PairWeights,
    instructions: Instructions,
    has_tangents: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """As `definitions.jvp_vjp`."""
    rows, x, geometry = _prepared(x, vectors, displacements, edges, weights, instructions)
    sender, g = edges.sender.contiguous(), [block.contiguous() for block in g]
    new = torch.empty if geometry.all_pairs else torch.zeros  # first edges need no zeros
    d_rows, d_x = new(rows.shape, dtype=rows.dtype), [torch.zeros_like(block) for block in x]
    values = {"rows": rows.data_ptr(), "d_rows": d_rows.data_ptr(), "sender": sender.data_ptr()}
    values |= _addresses("x", x) | _addresses("d_x", d_x) | _addresses("out", g)
    work = _work(instructions, rows.dtype, True, has_tangents, threads.n_threads())
    work.run(geometry, values, rows.dtype)
    return d_rows, d_x


def _prepared(
    x: list[Tensor], vectors: Tensor, displacements: Tensor, edges: Edges, weights: PairWeights,
    instructions: Instructions,
) -> tuple[Tensor, list[Tensor], "_Geometry"]:  # fmt: skip
    """Values of weights and features in one piece of memory each, and the geometry."""
    rows, pair = weights.values.detach().contiguous(), weights.pair
    assert rows.shape[1:] == (2, instructions.n_weights), "values are [pairs, 2, n_weights]"
    assert pair.dtype == torch.int64
    assert all(block.dtype == rows.dtype for block in x), "weights and features differ in precision"
    geometry = edges.keep(
        "tangent",
        (vectors, displacements, pair),
        (threads.n_threads(), rows.dtype, len(rows)),
        lambda: _geometry(edges, vectors, displacements, pair, rows),
    )
    return rows, [block.detach().contiguous() for block in x], geometry


def missing_tangents(layers: list[Instructions], dtype: torch.dtype) -> list[Callable[[], Any]]:
    """What is still to compile for the second pass.

    The features of the first layer depend on the species alone: they have no tangents.
    """
    wanted = {
        tangent_spec(instructions, segment, dtype, adjoint, moving=k > 0): None
        for k, instructions in enumerate(layers)
        for segment in segments(instructions, dtype, "rows")
        for adjoint in (False, True)
    }
    return [functools.partial(compiled, spec) for spec in wanted if not is_cached(spec)]


@functools.cache
def compiled(spec: TangentSpec) -> Kernel:
    """The kernel, from the cache on disk or compiled now."""
    return Kernel(spec.name, print_tangent_kernel(spec), n_integers=4)


def is_cached(spec: TangentSpec) -> bool:
    """Whether the kernel needs no compilation."""
    return cache.read(entry_name(spec.name, print_tangent_kernel(spec))) is not None


def tangent_spec(
    instructions: Instructions, segment: Segment, dtype: torch.dtype, adjoint: bool, moving: bool
) -> TangentSpec:
    """The kernel that does a segment."""
    paths = paths_of(instructions, segment.irrep)
    return TangentSpec(
        l1=paths[0].l1,
        paths=tuple((path.l2, path.l3) for path in paths),
        real=REALS[dtype],
        lanes=segment.lanes,
        edge_lanes=edge_lanes(dtype),
        vector_count=host().vector_count,
        adjoint=adjoint,
        moving=moving,
    )


# -- the geometry of one step, shared by all layers ----------------------------------------------


@dataclass(frozen=True)
class _Geometry:
    """Edges as the kernels read them, but for the senders.

    values     what the plans call by name: addresses, sizes, receivers of each forward share
    n_shares   forward shares
    all_pairs  every row belongs to an edge
    kept       the tensors behind the addresses
    """

    n_atoms: int
    n_shares: int
    all_pairs: bool
    values: dict[str, int]
    kept: tuple[Tensor, ...]


def _geometry(
    edges: Edges, vectors: Tensor, displacements: Tensor, pair: Tensor, rows: Tensor
) -> _Geometry:
    lanes, n_edges, n_atoms = edge_lanes(rows.dtype), edges.n_edges, edges.n_receivers
    lines = torch.ones((6, n_edges + lanes), dtype=rows.dtype)  # padded: lanes may overrun
    lines[:3, :n_edges] = vectors.detach().T
    lines[3:, :n_edges] = displacements.detach().T
    row_start, pair = edges.row_start.contiguous(), torch.nn.functional.pad(pair, (0, LOOK_AHEAD))
    again, all_pairs = _seen_before(pair[:n_edges], len(rows))
    arrays = {
        "row_start": row_start, "pair": pair, "again": again, "geometry": lines,
    }  # fmt: skip
    block = min(max(lanes * n_atoms // max(n_edges, 1), 1), max(n_atoms, 1))  # fills the lanes
    longest = int((row_start[block:] - row_start[:-block]).max()) if n_atoms else 0
    pieces = split_receivers(row_start, threads.n_threads())
    cuts = [0, *(last for _, last in pieces)]
    values = {name: tensor.data_ptr() for name, tensor in arrays.items()}
    values |= {f"cut{k}": cut for k, cut in enumerate(cuts)}
    values |= {
        "n_atoms": n_atoms,
        "edge_stride": lines.shape[1],
        "block": block,
        "scratch_stride": (longest + lanes - 1) // lanes * lanes,
    }
    return _Geometry(n_atoms, len(pieces), all_pairs, values, tuple(arrays.values()))


def _seen_before(pair: Tensor, n_pairs: int) -> tuple[Tensor, bool]:
    """Per edge, whether an earlier one is of the same pair (0 or 1); whether no pair is missing."""
    number = np.arange(len(pair))
    first = np.full(n_pairs, -1)
    first[pair.numpy()[::-1]] = number[::-1]
    again = (first[pair.numpy()] != number).astype(np.int64)
    return torch.from_numpy(again), bool((first >= 0).all())


# -- plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """One pass over a layer; scratch_rows of reals per edge and share."""

    plan: Plan
    n_shares: int
    scratch_rows: int

    def run(self, geometry: _Geometry, values: dict[str, int], dtype: torch.dtype) -> None:
        size = self.scratch_rows * geometry.values["scratch_stride"]
        scratch = torch.empty(self.n_shares * size, dtype=dtype)
        start, step = scratch.data_ptr(), size * dtype.itemsize
        own = {f"scratch{k}": start + k * step for k in range(self.n_shares)}
        self.plan.run(geometry.values | values | own)


@functools.cache
def _work(
    instructions: Instructions, dtype: torch.dtype, adjoint: bool, moving: bool, parts: int
) -> _Work:
    """Forward, each share does all channels of its receivers; adjoint, its channels of all."""
    everything = segments(instructions, dtype, "rows")
    shares = split_channels(instructions, dtype, "rows", parts) if adjoint else [everything] * parts
    calls = [
        [_call(instructions, segment, dtype, adjoint, moving, k) for segment in share]
        for k, share in enumerate(shares)
    ]
    specs = [tangent_spec(instructions, s, dtype, adjoint, moving) for s in everything]
    return _Work(Plan(calls), len(shares), max((s.scratch_rows for s in specs), default=0))


def _call(
    instructions: Instructions, segment: Segment, dtype: torch.dtype, adjoint: bool, moving: bool,
    share: int,
) -> PlannedCall:  # fmt: skip
    i = segment.irrep
    special: dict[str, int | Named] = {
        "channels": instructions.irreps_in.blocks[i][0],
        "n_weights": instructions.n_weights,
        "scratch": Named(f"scratch{share}"),
    }
    special |= {name: Named(f"{name}{i}") for name in ("x", "x_tangents", "d_x", "d_x_tangents")}
    if not adjoint:
        special |= dict.fromkeys(("d_rows", "d_x", "d_x_tangents"), 0)
    arguments = [special.get(name, Named(name)) for name in ARGUMENTS]
    for path in paths_of(instructions, i):
        channels, ir = instructions.irreps_out.blocks[path.output]
        offset = path.channel_offset * dtype.itemsize
        blocks = [Named(f"out{half}{path.output}", offset) for half in ("", "_tangents")]
        arguments += [path.weight_offset, *blocks, ir.dim * channels, channels]
    kernel = compiled(tangent_spec(instructions, segment, dtype, adjoint, moving))
    receivers = (
        (0, Named("n_atoms")) if adjoint else (Named(f"cut{share}"), Named(f"cut{share + 1}"))
    )
    return PlannedCall(kernel, (*receivers, segment.begin, segment.end), tuple(arguments))


def _addresses(name: str, blocks: Sequence[Tensor]) -> dict[str, int]:
    """Of each block, and of its second half, the tangents."""
    first = [block.data_ptr() for block in blocks]
    halves = [at + block.nbytes // 2 for at, block in zip(first, blocks, strict=True)]
    return {f"{name}{i}": at for i, at in enumerate(first)} | {
        f"{name}_tangents{i}": at for i, at in enumerate(halves)
    }

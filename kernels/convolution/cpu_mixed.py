"""The fused convolution and the linear map behind it, on the CPU, with its first derivative.

The summed messages are the widest tensors of a layer (12 kB per atom in SevenNet-0), read once and
never again. Here they exist for a few receivers at a time and stay in the cache; so does their
gradient in the adjoint. Threads share receivers in the forward pass and channels in the adjoint, as
in `cpu_launch.py`; each computes those columns of the gradient of the messages that it reads.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.cpu_kernels import scratch_size
from fastequi.kernels.convolution.cpu_launch import (
    EdgeArrays,
    Segment,
    compiled,
    kernel_spec,
    paths_of,
    segments,
    shared_arrays,
    split_channels,
)
from fastequi.kernels.convolution.cpu_op import packed_table
from fastequi.kernels.convolution.cpu_printer import ARGUMENTS, KernelSpec
from fastequi.kernels.convolution.cpu_product import ROWS, product_calls
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.mixing import Mixing
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.llvm.plan import Blocks, Named, Plan, PlannedCall
from fastequi.kernels.llvm.threads import n_threads
from fastequi.kernels.radial_table import RadialTable

#: Bytes of messages that are in the cache at a time, beside tables and matrices.
_MESSAGES_AT_ONCE = 2**18


def mixed_convolution(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    table: RadialTable,
    instructions: Instructions,
    mixing: Mixing,
) -> list[Tensor]:
    """As `mixing.mixed_convolution`; differentiable once, in x and vectors."""
    layer = _Layer(instructions, vectors.dtype, edges.stretch is not None, _MESSAGES_AT_ONCE)
    step = _Step(shared_arrays(edges, vectors), packed_table(table, instructions), mixing)
    return list(_Mixed.apply(layer, step, vectors, *x))


@dataclass(frozen=True)
class _Step:
    """What a layer reads besides features."""

    arrays: EdgeArrays
    table: dict[str, Tensor]
    mixing: Mixing


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: "_Layer", step: _Step, vectors: Tensor, *x: Tensor
    ) -> tuple[Tensor, ...]:
        x, row_start = tuple(block.contiguous() for block in x), step.arrays.row_start
        matrices = step.mixing.matrices
        out = tuple(
            torch.empty((len(row_start) - 1, ir.dim, matrix.shape[1]), dtype=layer.dtype)
            for (_, ir), matrix in zip(layer.instructions.irreps_out, matrices, strict=True)
        )
        pieces = step.arrays.pieces(n_threads())
        cuts = {f"cut{k}": cut for k, cut in enumerate([0, *(last for _, last in pieces)])}
        work = _forward_work(layer, _widths(step.mixing), len(pieces))
        work.run(step, cuts | _addresses(x=x, out=out, matrix=matrices))
        ctx.layer, ctx.step = layer, step
        ctx.save_for_backward(*x)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, layer, step = ctx.saved_tensors, ctx.layer, ctx.step
        g = [block.contiguous() for block in gradients]
        wants_x = any(ctx.needs_input_grad[3:])
        dx = [torch.zeros_like(block) for block in x] if wants_x else []
        work = _adjoint_work(layer, _widths(step.mixing), wants_x, n_threads())
        shape = (max(work.n_shares, 1), 3, step.arrays.edge_stride)
        dvectors = torch.zeros(shape, dtype=layer.dtype)
        transposed = step.mixing.transposed
        work.run(step, _addresses(x=x, dx=dx, out=g, matrix=transposed, dvectors=dvectors))
        total = dvectors.sum(dim=0)[:, : step.arrays.n_edges].T
        return None, None, total, *(dx if wants_x else [None] * len(x))


def _widths(mixing: Mixing) -> tuple[int, ...]:
    return tuple(matrix.shape[1] for matrix in mixing.matrices)


def _addresses(**blocks: Any) -> dict[str, int]:
    """Of each tensor of each list, by name and number."""
    return {
        f"{name}{i}": tensor.data_ptr()
        for name, tensors in blocks.items()
        for i, tensor in enumerate(tensors)
    }


# -- what is to be done, once per layer ----------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """What the calls depend on, besides widths and threads."""

    instructions: Instructions
    dtype: torch.dtype
    stretched: bool
    block_bytes: int

    def spec(self, segment: Segment, outputs: tuple[str, ...]) -> KernelSpec:
        return kernel_spec(self.instructions, segment, self.dtype, "table", outputs, self.stretched)

    @property
    def at_once(self) -> int:
        """Receivers of a block: whole tiles of the products."""
        per_receiver = self.instructions.irreps_out.dim * self.dtype.itemsize
        return max(self.block_bytes // max(per_receiver, 1) // ROWS, 1) * ROWS

    def offsets(self) -> list[int]:
        """Bytes in front of each output irrep in the messages of a block, and of all."""
        reals = [channels * ir.dim for channels, ir in self.instructions.irreps_out]
        return [0, *accumulate(self.at_once * n * self.dtype.itemsize for n in reals)]


@dataclass(frozen=True)
class _Work:
    """One pass over a layer; specs of the kernels of any share."""

    plan: Plan
    n_shares: int
    layer: _Layer
    specs: tuple[KernelSpec, ...]

    def run(self, step: _Step, values: dict[str, int]) -> None:
        """With scratch and messages of a block for each share."""
        arrays = step.arrays
        stride, item = arrays.scratch_stride, self.layer.dtype.itemsize
        sizes = {
            "messages": self.layer.offsets()[-1],
            "scratch": item * max((scratch_size(spec, stride) for spec in self.specs), default=0),
            "intervals": 4 * stride,
        }
        sizes = {name: (size + 63) // 64 * 64 for name, size in sizes.items()}
        own = torch.empty(self.n_shares * sum(sizes.values()), dtype=torch.uint8)
        place = own.data_ptr()
        for share in range(self.n_shares):
            for name, size in sizes.items():
                values[f"{name}{share}"] = place
                place += size
        read = arrays.per_edge | step.table
        values |= {name: tensor.data_ptr() for name, tensor in read.items()}
        values |= {
            "row_start": arrays.row_start.data_ptr(),
            "sender": arrays.sender.data_ptr(),
            "edge_stride": arrays.edge_stride,
            "scratch_stride": stride,
            "n_atoms": len(arrays.row_start) - 1,
        }
        self.plan.run(values)


@functools.cache
def _forward_work(layer: _Layer, widths: tuple[int, ...], n_shares: int) -> _Work:
    everything = segments(layer.instructions, layer.dtype, "table")
    specs = tuple(layer.spec(segment, ()) for segment in everything)
    shares = []
    for share in range(n_shares):
        calls = [_convolve(layer, segment, (), share) for segment in everything]
        for i, width in enumerate(widths):
            calls += _products(layer, i, width, (0, width), share, adjoint=False)
        cuts = Named(f"cut{share}"), Named(f"cut{share + 1}")
        shares.append([Blocks(*cuts, layer.at_once, calls)])
    return _Work(Plan(shares), n_shares, layer, specs)


@functools.cache
def _adjoint_work(layer: _Layer, widths: tuple[int, ...], wants_x: bool, parts: int) -> _Work:
    outputs = ("x", "edges") if wants_x else ("edges",)
    split = split_channels(layer.instructions, layer.dtype, "table", parts)
    shares, specs = [], []
    for share, own in enumerate(split):
        calls = []
        for i, columns in _columns_of(layer.instructions, own):
            calls += _products(layer, i, widths[i], columns, share, adjoint=True)
        calls += [_convolve(layer, segment, outputs, share) for segment in own]
        specs += [layer.spec(segment, outputs) for segment in own]
        shares.append([Blocks(0, Named("n_atoms"), layer.at_once, calls)])
    return _Work(Plan(shares), len(shares), layer, tuple(specs))


def _columns_of(
    instructions: Instructions, own: list[Segment]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """(output irrep, its channels) that the paths of some segments read, joined."""
    ranges = sorted(
        (path.output, path.channel_offset + segment.begin, path.channel_offset + segment.end)
        for segment in own
        for path in paths_of(instructions, segment.irrep)
    )
    joined: list[tuple[int, int, int]] = []
    for output, begin, end in ranges:
        if joined and joined[-1][0] == output and joined[-1][2] == begin:
            begin = joined.pop()[1]
        joined.append((output, begin, end))
    for output, begin, end in joined:
        yield output, (begin, end)


# -- calls ---------------------------------------------------------------------------------------


def _convolve(layer: _Layer, segment: Segment, outputs: tuple[str, ...], share: int) -> PlannedCall:
    """A segment, from or to the messages of a block."""
    instructions, i = layer.instructions, segment.irrep
    values: dict[str, int | Named] = dict.fromkeys(ARGUMENTS, 0)
    shared = ("row_start", "sender", "edge_stride", "scratch_stride", "vectors", "constants")
    values |= {name: Named(name) for name in (*shared, "table")}
    values |= {name: Named(f"{name}{share}") for name in ("scratch", "intervals")}
    values |= {
        "x": Named(f"x{i}"),
        "channels": instructions.irreps_in.blocks[i][0],
        "n_weights": instructions.n_weights,
        "local": 1,
    }
    if layer.stretched:
        values["stretch"] = Named("stretch")
    if "x" in outputs:
        values["dx"] = Named(f"dx{i}")
    if "edges" in outputs:
        values["dvectors"] = Named(f"dvectors{share}")
    arguments = [values[name] for name in ARGUMENTS]
    offsets = layer.offsets()
    for path in paths_of(instructions, i):
        channels, ir = instructions.irreps_out.blocks[path.output]
        place = offsets[path.output] + path.channel_offset * layer.dtype.itemsize
        messages = Named(f"messages{share}", place)
        arguments += [path.weight_offset, messages, ir.dim * channels, channels]
    kernel = compiled(layer.spec(segment, outputs))
    return PlannedCall(kernel, (0, 0, segment.begin, segment.end), tuple(arguments))


def _products(
    layer: _Layer, i: int, width: int, columns: tuple[int, int], share: int, adjoint: bool
) -> list[PlannedCall]:
    """Messages of an output irrep times its matrix; adjoint, gradients times its transpose."""
    depth, ir = layer.instructions.irreps_out.blocks[i]
    messages, outside = Named(f"messages{share}", layer.offsets()[i]), Named(f"out{i}")
    values = {"a": messages, "c": outside, "a_local": 1, "c_local": 0}
    if adjoint:
        depth, width = width, depth
        values = {"a": outside, "c": messages, "a_local": 0, "c_local": 1}
    values |= {
        "b": Named(f"matrix{i}"),
        "components": ir.dim,
        "depth": depth,
        "a_stride": depth,
        "b_stride": width,
        "c_stride": width,
    }
    return product_calls(layer.dtype, (0, 0), columns, values)

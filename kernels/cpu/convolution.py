"""The fused convolution on the CPU, with its first derivative.

For inference and dynamics with radial tables and, where wanted, the linear map behind it; for the
first pass of training with rows of weights.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.mixing import Mixing
from fastequi.kernels.convolution.rows_reference import Pullback
from fastequi.kernels.cpu.arrays import EdgeArrays, edge_arrays, shared_arrays
from fastequi.kernels.cpu.launch import Layer, forward_pass, vjp_pass
from fastequi.kernels.cpu.printer import Operation, Source
from fastequi.kernels.cpu.segments import compiled, is_cached, kernel_spec, paths_of, segments
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.llvm import threads
from fastequi.kernels.radial_table import RadialTable

logger = logging.getLogger(__name__)

#: Bytes of messages that are in the cache at a time, beside tables and matrices.
_MESSAGES_AT_ONCE = 2**18


def fused_convolution(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    table: RadialTable,
    instructions: Instructions,
    mixing: Mixing | None = None,
) -> list[Tensor]:
    """As `fused_reference.fused_convolution`; differentiable once, in x and vectors.

    mixing  the linear map behind it, as in `mixing.mixed_convolution`
    """
    widths = None if mixing is None else tuple(m.shape[1] for m in mixing.matrices)
    stretched = edges.stretch is not None
    layer = Layer(instructions, vectors.dtype, "table", stretched, widths, _MESSAGES_AT_ONCE)
    weights = packed_table(table, instructions)
    problem = _Problem(layer, shared_arrays(edges, vectors), weights, mixing)
    return list(_Fused.apply(problem, vectors, *x))


def rows_pass(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    rows: Tensor,
    pair: Tensor,
    instructions: Instructions,
    wants_x: bool,
) -> tuple[list[Tensor], Pullback]:
    """As `rows_reference.rows_pass`."""
    arrays = edges.keep(
        "rows", (vectors,), None, lambda: edge_arrays(edges, vectors.dtype, vectors=vectors)
    ).of(edges)
    weights = {"rows": rows.detach().contiguous(), "pair": pair.contiguous()}
    problem = _Problem(Layer(instructions, vectors.dtype, "rows"), arrays, weights)
    x = [block.detach().contiguous() for block in x]
    return _values(problem, x), lambda g: _gradients(problem, x, g, wants_x)


@dataclass(frozen=True)
class _Problem:
    """A convolution, but for its features; `weights` are the arrays of the layer's source."""

    layer: Layer
    arrays: EdgeArrays
    weights: dict[str, Tensor]
    mixing: Mixing | None = None

    def addresses(self, **blocks: Sequence[Tensor]) -> dict[str, int]:
        """Of the weights, and of each tensor of each list, by name and number."""
        numbered = {
            f"{name}{i}": tensor
            for name, tensors in blocks.items()
            for i, tensor in enumerate(tensors)
        }
        return {name: tensor.data_ptr() for name, tensor in (self.weights | numbered).items()}


def _values(problem: _Problem, x: Sequence[Tensor]) -> list[Tensor]:
    layer, arrays, mixing = problem.layer, problem.arrays, problem.mixing
    matrices = [] if mixing is None else mixing.matrices
    irreps_out = layer.instructions.irreps_out
    widths = layer.widths if layer.widths is not None else [mul for mul, _ in irreps_out]
    out = [
        torch.empty((arrays.n_atoms, ir.dim, width), dtype=layer.dtype)
        for (_, ir), width in zip(irreps_out, widths, strict=True)
    ]
    pieces = arrays.pieces(threads.n_threads())
    cuts = {f"cut{k}": cut for k, cut in enumerate([0, *(last for _, last in pieces)])}
    named = problem.addresses(x=x, out=out, matrix=matrices)
    forward_pass(layer, len(pieces)).run(arrays, cuts | named)
    return out


def _gradients(
    problem: _Problem, x: Sequence[Tensor], g: Sequence[Tensor], wants_x: bool
) -> list[Tensor]:
    """dE/dvectors, and dE/dx where it is wanted, from dE/dout."""
    layer, arrays, mixing = problem.layer, problem.arrays, problem.mixing
    matrices = [] if mixing is None else mixing.transposed
    g = [block.contiguous() for block in g]
    dx = [torch.zeros_like(block) for block in x] if wants_x else []
    work = vjp_pass(layer, wants_x, threads.n_threads())
    shape = (max(work.n_shares, 1), 3, arrays.edge_stride)
    dvectors = torch.zeros(shape, dtype=layer.dtype)
    named = problem.addresses(x=x, dx=dx, out=g, matrix=matrices, dvectors=dvectors.unbind())
    work.run(arrays, named)
    return [dvectors.sum(dim=0)[:, : arrays.n_edges].T, *dx]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, problem: _Problem, vectors: Tensor, *x: Tensor) -> tuple[Tensor, ...]:
        x = tuple(block.contiguous() for block in x)
        ctx.problem = problem
        ctx.save_for_backward(*x)
        return tuple(_values(problem, x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, wants_x = ctx.saved_tensors, any(ctx.needs_input_grad[2:])
        total, *dx = _gradients(ctx.problem, x, gradients, wants_x)
        return None, total, *(dx if wants_x else [None] * len(x))


# -- ahead of the first call ---------------------------------------------------------------------


def prepare(layers: list[Instructions], dtype: torch.dtype, stretched: bool) -> None:
    """Compile what a model needs, saying so; nothing to do when it is in the cache."""
    compile_all(missing_kernels("table", layers, dtype, stretched))


def missing_kernels(
    source: Source, layers: list[Instructions], dtype: torch.dtype, stretched: bool = False
) -> list[Callable[[], Any]]:
    """What is still to compile for a model.

    The first layer's features depend on the species alone: they need no dE/dx.
    """
    operations: list[list[tuple[Operation, bool]]] = [
        [("forward", False), ("vjp", k > 0)] for k in range(len(layers))
    ]
    wanted = {
        kernel_spec(instructions, segment, dtype, source, operation, wants_x, stretched): None
        for instructions, of_layer in zip(layers, operations, strict=True)
        for segment in segments(instructions, dtype, source)
        for operation, wants_x in of_layer
    }
    return [partial(compiled, spec) for spec in wanted if not is_cached(spec)]


def compile_all(missing: list[Callable[[], Any]]) -> None:
    """Compile, saying so."""
    for k, compile_one in enumerate(missing):
        logger.info("compiling kernel %d of %d for this processor", k + 1, len(missing))
        compile_one()


def packed_table(table: RadialTable, instructions: Instructions) -> dict[str, Tensor]:
    """A table in the order in which the kernels read it; made once per layer.

    For one vector of channels, what all paths that leave an irrep read in a row lies together: of
    the first row coefficients and values, of the others coefficients. An edge then reads three runs
    of consecutive memory instead of four lines here and there per path, and caches, not arithmetic,
    set the speed of the forward kernels.
    """
    if instructions not in table.kept:
        dtype = table.knots.dtype
        packed = table.knots.flatten(1).index_select(1, _order(instructions, dtype))
        constants = torch.tensor(table.grid.constants, dtype=dtype)
        table.kept[instructions] = {"table": packed, "constants": constants}
    return table.kept[instructions]


def _order(instructions: Instructions, dtype: torch.dtype) -> Tensor:
    """Where each number of a packed row stands in a row [2, weights]."""
    places = [
        torch.arange(u, u + segment.lanes) + path.weight_offset + half * instructions.n_weights
        for segment in segments(instructions, dtype, "table")
        for u in range(segment.begin, segment.end, segment.lanes)
        for half in range(2)
        for path in paths_of(instructions, segment.irrep)
    ]
    return torch.cat([torch.arange(0), *places])

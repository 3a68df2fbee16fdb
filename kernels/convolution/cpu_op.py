"""The fused convolution on the CPU, with its first derivative: for inference and dynamics with
radial tables, and for the first pass of training with rows of weights.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.cpu_launch import (
    EdgeArrays,
    Launch,
    compiled,
    edge_arrays,
    is_cached,
    kernel_spec,
    n_shares,
    paths_of,
    segments,
    shared_arrays,
)
from fastequi.kernels.convolution.cpu_printer import Source
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.rows_reference import Pullback
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable

logger = logging.getLogger(__name__)


def fused_convolution(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    table: RadialTable,
    instructions: Instructions,
    arrays: EdgeArrays | None = None,
) -> list[Tensor]:
    """As `fused_reference.fused_convolution`; differentiable once, in x and vectors.

    arrays  of the same edges and vectors, where several layers share them
    """
    if arrays is None:
        arrays = shared_arrays(edges, vectors)
    weights = _Weights("table", packed_table(table, instructions))
    return list(_Fused.apply(arrays, weights, instructions, vectors, *x))


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
    weights = _Weights("rows", {"rows": rows.detach().contiguous(), "pair": pair.contiguous()})
    x = [block.detach().contiguous() for block in x]
    out = _values(arrays, weights, instructions, x)
    return out, lambda g: _adjoint(arrays, weights, instructions, x, g, wants_x)


@dataclass(frozen=True)
class _Weights:
    """Where W and dW/dr come from, and the arrays that the kernels read there."""

    source: Source
    pointers: dict[str, Tensor]


def prepare(layers: list[Instructions], dtype: torch.dtype, stretched: bool) -> None:
    """Compile what a model needs, saying so; nothing to do when it is in the cache."""
    compile_all(missing_kernels("table", layers, dtype, stretched))


def missing_kernels(
    source: Source, layers: list[Instructions], dtype: torch.dtype, stretched: bool = False
) -> list[Callable[[], Any]]:
    """What is still to compile for a model.

    The first layer's features depend on the species alone: they need no dE/dx.
    """
    wanted = {
        kernel_spec(instructions, segment, dtype, source, outputs, stretched): None
        for k, instructions in enumerate(layers)
        for segment in segments(instructions, dtype, source)
        for outputs in ((), ("x", "edges") if k else ("edges",))
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


def _values(
    arrays: EdgeArrays, weights: _Weights, instructions: Instructions, x: Sequence[Tensor]
) -> list[Tensor]:
    dtype, n_atoms = x[0].dtype, len(arrays.row_start) - 1
    out = [torch.empty((n_atoms, ir.dim, mul), dtype=dtype) for mul, ir in instructions.irreps_out]
    Launch(
        instructions, arrays, dtype, weights.source, (), x, out, weights.pointers
    ).run_over_receivers()
    return out


def _adjoint(
    arrays: EdgeArrays, weights: _Weights, instructions: Instructions, x: Sequence[Tensor],
    g: Sequence[Tensor], wants_x: bool,
) -> list[Tensor]:  # fmt: skip
    """dE/dvectors, and dE/dx where it is wanted, from dE/dout."""
    dtype = x[0].dtype
    dx = [torch.zeros_like(block) for block in x] if wants_x else []
    shares = n_shares(instructions, dtype, weights.source)
    dvectors = torch.zeros((shares, 3, arrays.edge_stride), dtype=dtype)
    Launch(
        instructions, arrays, dtype, weights.source,
        ("x", "edges") if wants_x else ("edges",), x, [block.contiguous() for block in g],
        weights.pointers, dx,
    ).run_over_channels({"dvectors": dvectors})  # fmt: skip
    return [dvectors.sum(dim=0)[:, : arrays.n_edges].T, *dx]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, arrays: EdgeArrays, weights: _Weights, instructions: Instructions,
        vectors: Tensor, *x: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        x = tuple(block.contiguous() for block in x)
        ctx.problem = arrays, weights, instructions
        ctx.save_for_backward(*x)
        return tuple(_values(arrays, weights, instructions, x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        wants_x = any(ctx.needs_input_grad[4:])
        arrays, weights, instructions = ctx.problem
        total, *dx = _adjoint(arrays, weights, instructions, ctx.saved_tensors, gradients, wants_x)
        return None, None, None, total, *(dx if wants_x else [None] * len(ctx.saved_tensors))

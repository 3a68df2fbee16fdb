"""The fused convolution on the CPU, with its first derivative, for inference and dynamics."""

import logging
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
    segments,
)
from fastequi.kernels.convolution.edges import Edges
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
        arrays = edge_arrays(edges, vectors.dtype, vectors=vectors, stretch=edges.stretch)
    return list(_Fused.apply(arrays, table, instructions, vectors, *x))


def prepare(layers: list[Instructions], dtype: torch.dtype, stretched: bool) -> None:
    """Compile what a model needs, saying so; nothing to do when it is in the cache.

    The first layer's features depend on the species alone: they need no dE/dx.
    """
    wanted = {
        kernel_spec(instructions, segment, dtype, True, outputs, stretched): None
        for k, instructions in enumerate(layers)
        for segment in segments(instructions, dtype)
        for outputs in ((), ("x", "edges") if k else ("edges",))
    }
    missing = [spec for spec in wanted if not is_cached(spec)]
    for k, spec in enumerate(missing):
        logger.info("compiling kernel %d of %d for this processor", k + 1, len(missing))
        compiled(spec)


def _constants(table: RadialTable, dtype: torch.dtype) -> Tensor:
    n = table.n_intervals
    return torch.tensor([table.cutoff, n / table.cutoff, n - 1], dtype=dtype)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, arrays: EdgeArrays, table: RadialTable, instructions: Instructions,
        vectors: Tensor, *x: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        x = tuple(block.contiguous() for block in x)
        n_atoms = len(arrays.row_start) - 1
        out = [
            torch.empty((n_atoms, ir.dim, mul), dtype=vectors.dtype)
            for mul, ir in instructions.irreps_out
        ]
        pointers = {"table": table.knots, "constants": _constants(table, vectors.dtype)}
        Launch(instructions, arrays, vectors.dtype, True, (), x, out, pointers).run_over_receivers()
        ctx.arrays, ctx.table, ctx.instructions = arrays, table, instructions
        ctx.save_for_backward(*x)
        return tuple(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, arrays, instructions = ctx.saved_tensors, ctx.arrays, ctx.instructions
        dtype = x[0].dtype
        wants_x = any(ctx.needs_input_grad[4:])
        dx = [torch.zeros_like(block) for block in x] if wants_x else []
        pointers = {"table": ctx.table.knots, "constants": _constants(ctx.table, dtype)}
        shares = n_shares(instructions, dtype)
        dvectors = torch.zeros((shares, 3, arrays.edge_stride), dtype=dtype)
        Launch(
            instructions, arrays, dtype, True, ("x", "edges") if wants_x else ("edges",), x,
            [g.contiguous() for g in gradients], pointers, dx,
        ).run_over_channels({"dvectors": dvectors})  # fmt: skip
        total = dvectors.sum(dim=0)[:, : arrays.n_edges].T
        return None, None, None, total, *(dx if wants_x else [None] * len(x))

"""The fused convolution on the CPU: forward and vjp, with the linear map behind where wanted."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
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


def forward(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None = None,
) -> list[Tensor]:
    """As `definitions.forward`."""
    x = [block.contiguous() for block in x]
    return _values(_problem(vectors, edges, weights, instructions, linear_out), x)


def vjp(
    g: Sequence[Tensor],
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None = None,
    dx: Sequence[Tensor] | None = None,
) -> Tensor:
    """As `definitions.vjp`; dx, where given, lies in one piece of memory each."""
    assert all(block.is_contiguous() for block in dx or [])
    x = [block.contiguous() for block in x]
    problem = _problem(vectors, edges, weights, instructions, linear_out)
    return _gradients(problem, x, [block.contiguous() for block in g], dx)


def _problem(
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None,
) -> "_Problem":
    widths = None if linear_out is None else tuple(m.shape[1] for m in linear_out.matrices)
    if isinstance(weights, PairWeights):
        arrays = edges.keep(
            "pairs", (vectors,), None, lambda: edge_arrays(edges, vectors.dtype, vectors=vectors)
        ).of(edges)
        layer = Layer(instructions, vectors.dtype, "rows", False, widths, _MESSAGES_AT_ONCE)
        read = {"rows": weights.values.detach().contiguous(), "pair": weights.pair.contiguous()}
        return _Problem(layer, arrays, read, linear_out)
    stretched = edges.stretch is not None
    layer = Layer(instructions, vectors.dtype, "table", stretched, widths, _MESSAGES_AT_ONCE)
    arrays = shared_arrays(edges, vectors)
    return _Problem(layer, arrays, packed_table(weights, instructions), linear_out)


@dataclass(frozen=True)
class _Problem:
    """A convolution, but for its features; `weights` are the arrays of the layer's source."""

    layer: Layer
    arrays: EdgeArrays
    weights: dict[str, Tensor]
    linear_out: LinearOut | None = None

    def addresses(self, **blocks: Sequence[Tensor]) -> dict[str, int]:
        """Of the weights, and of each tensor of each list, by name and number."""
        numbered = {
            f"{name}{i}": tensor
            for name, tensors in blocks.items()
            for i, tensor in enumerate(tensors)
        }
        return {name: tensor.data_ptr() for name, tensor in (self.weights | numbered).items()}


def _values(problem: _Problem, x: Sequence[Tensor]) -> list[Tensor]:
    layer, arrays, behind = problem.layer, problem.arrays, problem.linear_out
    matrices = [] if behind is None else behind.matrices
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
    problem: _Problem, x: Sequence[Tensor], g: Sequence[Tensor], dx: Sequence[Tensor] | None
) -> Tensor:
    """dE/dvectors from g = dE/dout; dE/dx is added to dx where that is given."""
    layer, arrays, behind = problem.layer, problem.arrays, problem.linear_out
    matrices = [] if behind is None else behind.transposed
    work = vjp_pass(layer, dx is not None, threads.n_threads())
    shape = (max(work.n_shares, 1), 3, arrays.edge_stride)
    dvectors = torch.zeros(shape, dtype=layer.dtype)
    named = problem.addresses(x=x, dx=dx or [], out=g, matrix=matrices, dvectors=dvectors.unbind())
    work.run(arrays, named)
    return dvectors.sum(dim=0)[:, : arrays.n_edges].T


# -- ahead of the first call ---------------------------------------------------------------------


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

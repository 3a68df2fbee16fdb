"""The four operations of the convolution on the CPU, with the linear map behind where wanted."""

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.cpu.arrays import EdgeArrays, seen_before, shared_arrays
from fastequi.kernels.cpu.channels import channel_ranges, paths_of
from fastequi.kernels.cpu.kernels import compiled, is_cached
from fastequi.kernels.cpu.launch import Convolution, pass_of
from fastequi.kernels.cpu.linear import run
from fastequi.kernels.cpu.rows import cleared
from fastequi.kernels.cpu.spec import Operation, Source
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.memory import empty_in_large_pages
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
    given, source, dtype = _weights(weights, instructions)
    arrays = shared_arrays(edges, dtype, vectors)
    widths = _widths(linear_out)
    layer = Convolution(
        instructions, dtype, source, "forward", has_cutoff_scale=_is_scaled(source, edges),
        widths=widths, block_bytes=_MESSAGES_AT_ONCE,
    )  # fmt: skip
    out = _messages(instructions, edges.n_receivers, dtype, widths)
    matrices = [] if linear_out is None else _whole(linear_out.matrices)
    _run_by_receivers(layer, arrays, given | _by_number(x=_whole(x), out=out, matrix=matrices))
    return out


def vjp(
    g: Sequence[Tensor], x: list[Tensor], vectors: Tensor, edges: Edges, *rest: Any, **named: Any
) -> Tensor:
    """As `definitions.vjp`; dx, where given, lies in one piece of memory each."""
    sums = EdgeSums(vectors, edges)
    sums.add(g, x, vectors, edges, *rest, **named)
    return sums.gradient()


class EdgeSums:
    """As `fastequi.kernels.convolution.edges.EdgeSums`: each thread adds up its channels."""

    def __init__(self, vectors: Tensor, edges: Edges) -> None:
        arrays = shared_arrays(edges, vectors.dtype, vectors)
        self.n_edges = arrays.n_edges
        shape = threads.n_threads(), 3, arrays.sizes["edge_stride"]
        self.tensor = torch.empty(shape, dtype=vectors.dtype)
        run(cleared([self.tensor.view(-1, arrays.sizes["edge_stride"])]))

    def add(
        self,
        g: Sequence[Tensor],
        x: list[Tensor],
        vectors: Tensor,
        edges: Edges,
        weights: Weights,
        instructions: Instructions,
        linear_out: LinearOut | None = None,
        dx: Sequence[Tensor] | None = None,
    ) -> None:
        """Those of a layer; arguments as those of `definitions.vjp`."""
        assert all(block.is_contiguous() for block in dx or [])
        given, source, dtype = _weights(weights, instructions)
        arrays = shared_arrays(edges, dtype, vectors)
        layer = Convolution(
            instructions, dtype, source, "vjp", wants_dx=dx is not None,
            has_cutoff_scale=_is_scaled(source, edges), widths=_widths(linear_out),
            block_bytes=_MESSAGES_AT_ONCE,
        )  # fmt: skip
        matrices = [] if linear_out is None else linear_out.transposed
        blocks = _by_number(x=_whole(x), out=_whole(g), dx=dx or [], matrix=matrices)
        blocks |= _by_number(dvectors=self.tensor.unbind())
        pass_of(layer, threads.n_threads()).run(arrays, given | blocks)

    def gradient(self) -> Tensor:
        """[edges, 3]."""
        return self.tensor.sum(dim=0)[:, : self.n_edges].T


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
    given, source, dtype = _weights(weights, instructions)
    arrays = shared_arrays(edges, dtype, vectors, displacements)
    layer = Convolution(instructions, dtype, source, "jvp", has_tangents=has_tangents)
    out = _messages(instructions, 2 * edges.n_receivers, dtype, None)
    given |= {"n_senders": len(x[0]) // (1 + has_tangents)}
    _run_by_receivers(layer, arrays, given | _by_number(x=_whole(x), out=out))
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
    given, source, dtype = _weights(weights, instructions)
    arrays = shared_arrays(edges, dtype, vectors, displacements)
    layer = Convolution(instructions, dtype, source, "jvp_vjp", has_tangents=has_tangents)
    accumulate, has_all = seen_before(edges, weights.pair, len(weights.values))
    x = _whole(x)
    new = torch.empty if has_all else torch.zeros  # a pair's first edge stores, and needs no zeros
    d_values, dx = new(weights.values.shape, dtype=dtype), [torch.zeros_like(b) for b in x]
    given |= {"accumulate": accumulate, "d_pair_weights": d_values}
    given |= {"n_senders": len(x[0]) // (1 + has_tangents)}
    blocks = _by_number(x=x, dx=dx, out=_whole(g))
    pass_of(layer, threads.n_threads()).run(arrays, given | blocks)
    return d_values, dx


def _run_by_receivers(
    layer: Convolution, arrays: EdgeArrays, values: dict[str, Tensor | int]
) -> None:
    cuts = arrays.cuts(threads.n_threads())
    values |= {f"cut{k}": cut for k, cut in enumerate(cuts)}
    pass_of(layer, len(cuts) - 1).run(arrays, values)


def _weights(
    weights: Weights, instructions: Instructions
) -> tuple[dict[str, Tensor | int], Source, torch.dtype]:
    """What the kernels read of them, by name."""
    if isinstance(weights, RadialTable):
        given = packed_table(weights, instructions)
        return {**given}, "table", weights.knots.dtype
    values, pair = weights.values.contiguous(), weights.pair.contiguous()
    assert values.shape[1:] == (2, instructions.n_weights), "values are [pairs, 2, n_weights]"
    return {"pair_weights": values, "pair": pair}, "pair_weights", values.dtype


def _is_scaled(source: Source, edges: Edges) -> bool:
    """Weights of pairs were made with the cutoffs of these."""
    return source == "table" and edges.cutoff_scale is not None


def _widths(linear_out: LinearOut | None) -> tuple[int, ...] | None:
    return None if linear_out is None else tuple(m.shape[1] for m in linear_out.matrices)


def _messages(
    instructions: Instructions, n: int, dtype: torch.dtype, widths: tuple[int, ...] | None
) -> list[Tensor]:
    """Memory for n rows of what comes out."""
    if widths is None:
        widths = tuple(channels for channels, _ in instructions.irreps_out)
    return [
        torch.empty((n, ir.dim, width), dtype=dtype)
        for (_, ir), width in zip(instructions.irreps_out, widths, strict=True)
    ]


def _whole(blocks: Sequence[Tensor]) -> list[Tensor]:
    """Each in one piece of memory."""
    return [block.contiguous() for block in blocks]


def _by_number(**blocks: Sequence[Tensor]) -> dict[str, Tensor | int]:
    """Each tensor of each list, by name and number."""
    values: dict[str, Tensor | int] = {}
    for name, several in blocks.items():
        values.update(zip(_numbered(name, len(several)), several, strict=True))
    return values


@cache
def _numbered(name: str, n: int) -> list[str]:
    return [f"{name}{i}" for i in range(n)]


# -- ahead of the first call ---------------------------------------------------------------------


def missing_kernels(
    layers: list[Instructions], dtype: torch.dtype, *, training: bool, has_cutoff_scale: bool
) -> list[Callable[[], Any]]:
    """What is still to compile for a model.

    The first layer's features depend on the species alone: they need no dE/dx and do not change.
    """
    source: Source = "pair_weights" if training else "table"
    operations: list[Operation] = ["forward", "vjp", *(["jvp", "jvp_vjp"] if training else [])]
    wanted = {
        layer.spec(channels): None
        for operation in operations
        for k, instructions in enumerate(layers)
        for layer in [
            Convolution(
                instructions, dtype, source, operation,
                wants_dx=operation == "vjp" and k > 0,
                has_tangents=operation in ("jvp", "jvp_vjp") and k > 0,
                has_cutoff_scale=has_cutoff_scale and not training,
            )
        ]
        for channels in layer.ranges()
    }  # fmt: skip
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
        rows, order = table.knots.flatten(1), _order(instructions, dtype)
        packed = empty_in_large_pages((len(rows), len(order)), dtype)
        torch.index_select(rows, 1, order, out=packed)
        constants = torch.tensor(table.grid.constants, dtype=dtype)
        table.kept[instructions] = {"table": packed, "constants": constants}
    return table.kept[instructions]


def _order(instructions: Instructions, dtype: torch.dtype) -> Tensor:
    """Where each number of a packed row stands in a row [2, weights]."""
    places = [
        torch.arange(u, u + channels.lanes) + path.weight_offset + half * instructions.n_weights
        for channels in channel_ranges(instructions, dtype, "table")
        for u in range(channels.begin, channels.end, channels.lanes)
        for half in range(2)
        for path in paths_of(instructions, channels.irrep)
    ]
    return torch.cat([torch.arange(0), *places])

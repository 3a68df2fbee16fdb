"""The convolution on GPUs, by Triton: checks, PyTorch operators, derivatives.

    convolution        training form, differentiable to any order
    fused_convolution  inference form, differentiable once
    fused_adjoint      its derivative as a plain call, for those who keep no autograd graph

out(x, Y, W) is linear in each argument, so the derivative of its derivative is made of the same
two operators with arguments exchanged (README.md), and so on to any order. The operators are
opaque to torch.compile and free of host synchronisation, so they can be captured in CUDA graphs.
Triton is imported when the first of them runs.

Deterministic results (sums over senders and channels in a fixed order) when asked for by the
argument, or by torch.use_deterministic_algorithms; they cost one row of x per edge of memory.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.instructions import EdgeParity, Instructions, make_instructions
from fastequi.kernels.radial_table import RadialTable

MaybeList = Sequence[Tensor | None]


def convolution(
    x: list[Tensor],
    harmonics: Tensor,
    weights: Tensor,
    edge_src: Tensor,
    edge_dst: Tensor,
    instructions: Instructions,
    n_receivers: int | None = None,
    *,
    deterministic: bool | None = None,
) -> list[Tensor]:
    """As `reference.convolution`, for edges sorted by receiver."""
    n = x[0].shape[0] if n_receivers is None else n_receivers
    n_edges = edge_src.shape[0]
    _check_features(x, instructions)
    _check("harmonics", harmonics, (n_edges, (instructions.l_max + 1) ** 2), x[0])
    _check("weights", weights, (n_edges, instructions.n_weights), x[0])
    row_start = torch.searchsorted(edge_dst, torch.arange(n + 1, device=edge_dst.device))
    key = _key(instructions)
    return _stored(x, harmonics, weights, edge_src, row_start, key, _choice(deterministic))


def fused_convolution(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    table: RadialTable,
    instructions: Instructions,
    *,
    deterministic: bool | None = None,
) -> list[Tensor]:
    """As `fused_reference.fused_convolution`; differentiable once, in x and vectors.

    Edges beyond the cutoff contribute exactly nothing, so a list with a skin may be given.
    """
    arguments = _fused_arguments(x, vectors, edges, table, instructions)
    return _fused(x, vectors, *arguments, _choice(deterministic))


def fused_adjoint(
    g: list[Tensor],
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    table: RadialTable,
    instructions: Instructions,
    *,
    needs_dx: bool = True,
    deterministic: bool | None = None,
) -> tuple[list[Tensor], Tensor]:
    """dE/dx (empty unless needed) and dE/dvectors [edges, 3] from g = dE/dout per output irrep."""
    arguments = _fused_arguments(x, vectors, edges, table, instructions)
    for i, (mul, ir) in enumerate(instructions.irreps_out):
        _check(f"g[{i}]", g[i], (edges.n_receivers, ir.dim, mul), x[0])
    return _fused_backward(g, x, vectors, *arguments, needs_dx, _choice(deterministic))


# -- checks --------------------------------------------------------------------------------------


def _fused_arguments(
    x: list[Tensor], vectors: Tensor, edges: Edges, table: RadialTable, instructions: Instructions
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, list[float], str]:
    _check_features(x, instructions)
    _check("vectors", vectors, (edges.n_edges, 3), x[0])
    knots = (table.grid.n_rows, 2, instructions.n_weights)
    _check("table.knots", table.knots, knots, x[0])
    if edges.stretch is not None:
        _check("edges.stretch", edges.stretch, (edges.n_edges,), x[0])
    key = _key(instructions)
    grid = table.grid.constants
    return edges.sender, edges.row_start, edges.stretch, table.knots, grid, key


def _check_features(x: Sequence[Tensor], instructions: Instructions) -> None:
    if len(x) != len(instructions.irreps_in):
        raise ValueError(f"x: got {len(x)} blocks for the irreps {instructions.irreps_in}")
    for i, (mul, ir) in enumerate(instructions.irreps_in):
        _check(f"x[{i}]", x[i], (x[0].shape[0], ir.dim, mul), x[0])
    if x[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: got {x[0].dtype}; the kernels compute in float32 or float64")


def _check(name: str, got: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    if tuple(got.shape) != shape:
        raise ValueError(f"{name}: got shape {list(got.shape)}, expected {list(shape)}")
    if got.dtype != like.dtype or got.device != like.device:
        raise ValueError(
            f"{name}: got {got.dtype} on {got.device}, expected {like.dtype} on {like.device}"
        )


def _choice(deterministic: bool | None) -> bool:
    return torch.are_deterministic_algorithms_enabled() if deterministic is None else deterministic


@torch.compiler.assume_constant_result
def _key(instructions: Instructions) -> str:
    """Instructions as an operator can take them: a text that `_instructions` reads back."""
    return _checked_key(instructions)


@cache
def _checked_key(instructions: Instructions) -> str:
    fields = (instructions.irreps_in, instructions.irreps_out)
    key = f"{fields[0]}|{instructions.l_max}|{instructions.edge_parity}|{fields[1]}"
    if _instructions(key) != instructions:
        raise ValueError("instructions that make_instructions did not make are not supported")
    return key


@cache
def _instructions(key: str) -> Instructions:
    irreps_in, l_max, parity, irreps_out = key.split("|")
    edge_parity: EdgeParity = "even" if parity == "even" else "natural"
    return make_instructions(
        Irreps.parse(irreps_in), int(l_max), edge_parity, Irreps.parse(irreps_out)
    )


def _contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.contiguous() for t in tensors]


def _outputs(like: Tensor, row_start: Tensor, key: str) -> list[Tensor]:
    n = row_start.shape[0] - 1
    return [like.new_empty((n, ir.dim, mul)) for mul, ir in _instructions(key).irreps_out]


# -- training form -------------------------------------------------------------------------------


@torch.library.custom_op("fastequi::convolution", mutates_args=())
def _stored(
    x: list[Tensor], harmonics: Tensor, weights: Tensor, sender: Tensor, row_start: Tensor,
    key: str, deterministic: bool,
) -> list[Tensor]:  # fmt: skip
    from fastequi.kernels.convolution import triton_launch as launch

    edges = launch.StoredEdges(*_contiguous([sender, row_start, harmonics, weights]))
    return launch.forward(_instructions(key), _contiguous(x), edges)


@_stored.register_fake
def _(x, harmonics, weights, sender, row_start, key, deterministic):
    return _outputs(weights, row_start, key)


@torch.library.custom_op("fastequi::convolution_backward", mutates_args=())
def _stored_backward(
    g: list[Tensor], x: list[Tensor], harmonics: Tensor, weights: Tensor, sender: Tensor,
    row_start: Tensor, key: str, needs: list[bool], deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
    """dx, dY, dW; those not needed come back empty."""
    from fastequi.kernels.convolution import triton_launch as launch

    instructions, n_edges = _instructions(key), sender.shape[0]
    edges = launch.StoredEdges(*_contiguous([sender, row_start, harmonics, weights]))
    steps = launch.plan(instructions, False, True, weights.dtype)
    slots = launch.n_slots(steps) if deterministic else 1
    needs_dx, needs_dy, needs_dw = needs
    dy = harmonics.new_zeros((n_edges if needs_dy else 0, slots, harmonics.shape[1]))
    dw = weights.new_empty(weights.shape if needs_dw else (0, weights.shape[1]))
    dx = launch.backward(
        instructions, _contiguous(g), _contiguous(x), edges, [dy, dw], needs_dx=needs_dx,
        deterministic=deterministic, flags={"NEEDS_DY": needs_dy, "NEEDS_DW": needs_dw},
    )  # fmt: skip
    return dx, dy.sum(1) if slots > 1 else dy[:, 0], dw


@_stored_backward.register_fake
def _(g, x, harmonics, weights, sender, row_start, key, needs, deterministic):
    dx = [torch.empty_like(block) for block in x] if needs[0] else []
    dy = harmonics.new_empty((harmonics.shape[0] if needs[1] else 0, harmonics.shape[1]))
    dw = weights.new_empty((weights.shape[0] if needs[2] else 0, weights.shape[1]))
    return dx, dy, dw


def _save_stored(ctx: Any, inputs: tuple, output: Any) -> None:
    x, harmonics, weights, sender, row_start, ctx.key, ctx.deterministic = inputs
    ctx.save_for_backward(harmonics, weights, sender, row_start, *x)


def _differentiate_stored(ctx: Any, g: list[Tensor]) -> tuple:
    harmonics, weights, sender, row_start, *x = ctx.saved_tensors
    needs = [any(ctx.needs_input_grad[0]), *ctx.needs_input_grad[1:3]]
    settings = (sender, row_start, ctx.key, needs, ctx.deterministic)
    dx, dy, dw = _stored_backward(g, x, harmonics, weights, *settings)
    return dx if needs[0] else [None] * len(x), _if(needs[1], dy), _if(needs[2], dw), *[None] * 4


def _save_stored_backward(ctx: Any, inputs: tuple, output: Any) -> None:
    g, x, harmonics, weights, sender, row_start, ctx.key, ctx.needs, ctx.deterministic = inputs
    ctx.set_materialize_grads(False)  # an absent gradient is a term that is not computed
    ctx.n_outputs = len(g)
    ctx.save_for_backward(harmonics, weights, sender, row_start, *g, *x)


def _differentiate_stored_backward(ctx: Any, hx: MaybeList, hy: Any, hw: Any) -> tuple:
    """Differentiated is T(hx,Y,W;g) + T(x,hY,W;g) + T(x,Y,hW;g), where T(x,Y,W;g) = <g, out>."""
    harmonics, weights, sender, row_start, *rest = ctx.saved_tensors
    g, x = rest[: ctx.n_outputs], rest[ctx.n_outputs :]
    needs_g, needs_x = any(ctx.needs_input_grad[0]), any(ctx.needs_input_grad[1])
    needs_y, needs_w = ctx.needs_input_grad[2:4]
    terms = []
    if ctx.needs[0] and any(h is not None for h in hx):
        dense = [torch.zeros_like(b) if h is None else h for h, b in zip(hx, x, strict=True)]
        terms.append((dense, harmonics, weights, (False, needs_y, needs_w)))
    if ctx.needs[1] and hy is not None:
        terms.append((x, hy, weights, (needs_x, False, needs_w)))
    if ctx.needs[2] and hw is not None:
        terms.append((x, harmonics, hw, (needs_x, needs_y, False)))

    total = _Total()
    for a, y, w, needs in terms:
        edges = (sender, row_start, ctx.key)
        if needs_g:
            total.add("g", _stored(a, y, w, *edges, ctx.deterministic))
        if any(needs):
            dx, dy, dw = _stored_backward(g, a, y, w, *edges, list(needs), ctx.deterministic)
            for name, value, needed in zip("xyw", (dx, [dy], [dw]), needs, strict=True):
                if needed:
                    total.add(name, value)
    blocks = total.get("g", len(g)), total.get("x", len(x))
    return *blocks, total.get("y", 1)[0], total.get("w", 1)[0], *[None] * 5


class _Total:
    """Named lists of tensors, summed."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = {}

    def add(self, name: str, values: list[Tensor]) -> None:
        seen = self._sums.get(name)
        added = values if seen is None else [a + b for a, b in zip(seen, values, strict=True)]
        self._sums[name] = added

    def get(self, name: str, n: int) -> list[Any]:
        return self._sums.get(name, [None] * n)


_stored.register_autograd(_differentiate_stored, setup_context=_save_stored)
_stored_backward.register_autograd(
    _differentiate_stored_backward, setup_context=_save_stored_backward
)


def _if(needed: bool, value: Tensor) -> Tensor | None:
    return value if needed else None


# -- inference form ------------------------------------------------------------------------------


@torch.library.custom_op("fastequi::fused_convolution", mutates_args=())
def _fused(
    x: list[Tensor], vectors: Tensor, sender: Tensor, row_start: Tensor, stretch: Tensor | None,
    knots: Tensor, grid: list[float], key: str, deterministic: bool,
) -> list[Tensor]:  # fmt: skip
    edges = _fused_edges(vectors, sender, row_start, stretch, knots, grid)
    from fastequi.kernels.convolution import triton_launch as launch

    return launch.forward(_instructions(key), _contiguous(x), edges)


@_fused.register_fake
def _(x, vectors, sender, row_start, stretch, knots, grid, key, deterministic):
    return _outputs(vectors, row_start, key)


@torch.library.custom_op("fastequi::fused_convolution_backward", mutates_args=())
def _fused_backward(
    g: list[Tensor], x: list[Tensor], vectors: Tensor, sender: Tensor, row_start: Tensor,
    stretch: Tensor | None, knots: Tensor, grid: list[float], key: str, needs_dx: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor]:  # fmt: skip
    """dx (empty unless needed), dE/dvectors."""
    from fastequi.kernels.convolution import triton_launch as launch

    instructions = _instructions(key)
    edges = _fused_edges(vectors, sender, row_start, stretch, knots, grid)
    steps = launch.plan(instructions, True, True, vectors.dtype)
    slots = launch.n_slots(steps) if deterministic else 1
    dvectors = vectors.new_zeros((sender.shape[0], slots, 3))
    dx = launch.backward(
        instructions, _contiguous(g), _contiguous(x), edges, [dvectors], needs_dx=needs_dx,
        deterministic=deterministic, flags={},
    )  # fmt: skip
    return dx, dvectors.sum(1) if slots > 1 else dvectors[:, 0]


@_fused_backward.register_fake
def _(g, x, vectors, sender, row_start, stretch, knots, grid, key, needs_dx, deterministic):
    return [torch.empty_like(block) for block in x] if needs_dx else [], torch.empty_like(vectors)


def _fused_edges(
    vectors: Tensor, sender: Tensor, row_start: Tensor, stretch: Tensor | None, knots: Tensor,
    grid: list[float],
) -> Any:  # fmt: skip
    from fastequi.kernels.convolution.triton_launch import FusedEdges

    stretch = None if stretch is None else stretch.contiguous()
    pointers = [t.contiguous() for t in (sender, row_start, vectors)]
    return FusedEdges(pointers[0], pointers[1], pointers[2], stretch, knots.contiguous(), grid)


def _save_fused(ctx: Any, inputs: tuple, output: Any) -> None:
    x, vectors, sender, row_start, stretch, knots, ctx.grid, ctx.key, ctx.deterministic = inputs
    ctx.has_stretch = stretch is not None
    optional = [stretch] if ctx.has_stretch else []
    ctx.save_for_backward(vectors, sender, row_start, knots, *optional, *x)


def _differentiate_fused(ctx: Any, g: list[Tensor]) -> tuple:
    vectors, sender, row_start, knots, *rest = ctx.saved_tensors
    stretch, x = (rest[0], rest[1:]) if ctx.has_stretch else (None, rest)
    needs_dx = any(ctx.needs_input_grad[0])
    settings = (knots, ctx.grid, ctx.key, needs_dx, ctx.deterministic)
    dx, dvectors = _fused_backward(g, x, vectors, sender, row_start, stretch, *settings)
    return dx if needs_dx else [None] * len(x), dvectors, *[None] * 7


_fused.register_autograd(_differentiate_fused, setup_context=_save_fused)

"""The convolution on the CPU with harmonics and weights from memory, differentiable to any order.

out(x, Y, W) is linear in each of x, Y, W. With S = <g, out(x, Y, W)> its adjoint is the triple
(dS/dx, dS/dY, dS/dW), and the derivative of that triple against (a, b, c) comes from

    <g, out(a, Y, W)> + <g, out(x, b, W)> + <g, out(x, Y, c)>,

that is from the same two functions with roles exchanged: two kernels close the calculus.
"""

from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.cpu_launch import Launch, edge_arrays, n_shares
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.instructions import Instructions


def convolution(
    x: list[Tensor],
    harmonics: Tensor,
    weights: Tensor,
    edge_src: Tensor,
    edge_dst: Tensor,
    instructions: Instructions,
    n_receivers: int | None = None,
) -> list[Tensor]:
    """As `reference.convolution`; edges sorted by receiver."""
    n_atoms = x[0].shape[0] if n_receivers is None else n_receivers
    edges = make_edges(edge_src, edge_dst, n_atoms)
    return list(_Forward.apply(edges, instructions, harmonics, weights, *x))


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, edges: Edges, instructions: Instructions, y: Tensor, w: Tensor, *x: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.edges, ctx.instructions = edges, instructions
        ctx.save_for_backward(y, w, *x)
        x = tuple(block.contiguous() for block in x)
        out = [
            torch.empty((edges.n_receivers, ir.dim, mul), dtype=w.dtype)
            for mul, ir in instructions.irreps_out
        ]
        arrays, memory = edge_arrays(edges, w.dtype, harmonics=y), {"weights": w.contiguous()}
        Launch(instructions, arrays, w.dtype, "memory", (), x, out, memory).run_over_receivers()
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, w, *x = ctx.saved_tensors
        needs = ctx.needs_input_grad
        wanted = (any(needs[4:]), needs[2], needs[3])
        dy, dw, *dx = _adjoint(ctx.edges, ctx.instructions, wanted, y, w, x, list(g))
        return None, None, dy, dw, *dx


def _adjoint(
    edges: Edges,
    instructions: Instructions,
    wanted: tuple[bool, bool, bool],
    y: Tensor,
    w: Tensor,
    x: list[Tensor],
    g: list[Tensor],
) -> tuple[Tensor | None, ...]:
    """(dS/dY, dS/dW, *dS/dx), None where not wanted; wanted = (x, Y, W)."""
    if not any(wanted):
        return (None, None, *[None] * len(x))
    return _Adjoint.apply(edges, instructions, wanted, y, w, *x, *g)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, edges: Edges, instructions: Instructions, wanted: tuple[bool, bool, bool],
        y: Tensor, w: Tensor, *x_and_g: Tensor,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        ctx.edges, ctx.instructions, ctx.wanted = edges, instructions, wanted
        ctx.save_for_backward(y, w, *x_and_g)
        ctx.set_materialize_grads(False)
        blocks = [block.contiguous() for block in x_and_g]
        x, g = _split(blocks, instructions)
        arrays = edge_arrays(edges, w.dtype, harmonics=y)
        names = ("x", "edges", "weights")
        outputs = tuple(name for name, is_wanted in zip(names, wanted, strict=True) if is_wanted)
        dx = [torch.zeros_like(block) for block in x] if wanted[0] else []
        dw = torch.empty(w.shape, dtype=w.dtype)
        shares = max(n_shares(instructions, w.dtype, "memory"), 1)
        dy = torch.zeros((shares, y.shape[1], arrays.edge_stride), dtype=w.dtype)
        memory = {"weights": w.contiguous(), "dweights": dw}
        launch = Launch(instructions, arrays, w.dtype, "memory", outputs, x, g, memory, dx)
        launch.run_over_channels({"dharmonics": dy})
        return (
            dy.sum(dim=0)[:, : edges.n_edges].T if wanted[1] else None,
            dw if wanted[2] else None,
            *(dx if wanted[0] else [None] * len(x)),
        )

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Derivatives of <b, dS/dY> + <c, dS/dW> + <a, dS/dx> by Y, W, x and g."""
        y, w, *blocks = ctx.saved_tensors
        edges, instructions = ctx.edges, ctx.instructions
        x, g = _split(blocks, instructions)
        b, c, *a = cotangents
        a_blocks = None
        if any(block is not None for block in a):
            a_blocks = [
                torch.zeros_like(other) if block is None else block
                for block, other in zip(a, x, strict=True)
            ]
        totals = _Totals()
        for xx, yy, ww, wanted in (
            (a_blocks, y, w, (False, True, True)),
            (x, b, w, (True, False, True)),
            (x, y, c, (True, True, False)),
        ):
            if xx is not None and yy is not None and ww is not None:
                dy, dw, *dx = _adjoint(edges, instructions, wanted, yy, ww, xx, g)
                dg = _Forward.apply(edges, instructions, yy, ww, *xx)
                totals.add([dy, dw, *dx, *dg])
        return None, None, None, *totals.values(2 + len(x) + len(g))


class _Totals:
    """Sums of lists in which entries may be missing."""

    def __init__(self) -> None:
        self._values: list[Tensor | None] = []

    def add(self, terms: list[Tensor | None]) -> None:
        if not self._values:
            self._values = [None] * len(terms)
        self._values = [
            old if new is None else (new if old is None else old + new)
            for old, new in zip(self._values, terms, strict=True)
        ]

    def values(self, length: int) -> list[Tensor | None]:
        return self._values or [None] * length


def _split(blocks: list[Tensor], instructions: Instructions) -> tuple[list[Tensor], list[Tensor]]:
    n = len(instructions.irreps_in)
    return blocks[:n], blocks[n:]

"""The operations of a backend as functions that autograd can differentiate, once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.instructions import Instructions

#: A convolution that autograd can differentiate once.
Form = Callable[..., list[Tensor]]


def differentiable(operations: Any) -> Form:
    """`definitions.forward`, differentiable in vectors and x, made of forward and vjp."""

    def form(
        x: list[Tensor], vectors: Tensor, edges: Edges, weights: Weights,
        instructions: Instructions, *linear_out: LinearOut,
    ) -> list[Tensor]:  # fmt: skip
        def run(vectors: Tensor, *x: Tensor) -> list[Tensor]:
            return operations.forward(list(x), vectors, edges, weights, instructions, *linear_out)

        def pullback(g: Sequence[Tensor], vectors: Tensor, *x: Tensor) -> list[Tensor | None]:
            dx = [block.new_zeros(block.shape) for block in x] if wants_x else None
            dvectors = operations.vjp(
                g, list(x), vectors, edges, weights, instructions, *linear_out, dx=dx
            )
            return [dvectors, *(dx or [None] * len(x))]

        wants_x = any(block.requires_grad for block in x)
        return list(_Pulled.apply(run, pullback, vectors, *x))

    return form


def differentiable_jvp(operations: Any) -> Form:
    """`definitions.jvp`, differentiable in x and the values of weights, made of jvp and jvp_vjp."""

    def form(
        x: list[Tensor], vectors: Tensor, displacements: Tensor, edges: Edges,
        weights: PairWeights, *rest: Any,
    ) -> list[Tensor]:  # fmt: skip
        geometry = vectors, displacements, edges

        def run(values: Tensor, *x: Tensor) -> list[Tensor]:
            return operations.jvp(list(x), *geometry, PairWeights(values, weights.pair), *rest)

        def pullback(g: Sequence[Tensor], values: Tensor, *x: Tensor) -> list[Tensor]:
            held = PairWeights(values, weights.pair)
            d_values, dx = operations.jvp_vjp(g, list(x), *geometry, held, *rest)
            return [d_values, *dx]

        return list(_Pulled.apply(run, pullback, weights.values, *x))

    return form


class _Pulled(torch.autograd.Function):
    """run(*leaves) gives an output; pullback(g, *leaves) turns its gradient g into theirs."""

    @staticmethod
    def forward(
        ctx: Any, run: Callable[..., Any], pullback: Callable[..., Any], *leaves: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.pullback = pullback
        ctx.save_for_backward(*leaves)
        return tuple(run(*leaves))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.pullback(gradients, *ctx.saved_tensors)

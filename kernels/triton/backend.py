"""What Triton has compiled of a layer (kernels/backend.py)."""

from collections.abc import Sequence

from torch import Tensor

from fastequi.kernels.convolution import definitions
from fastequi.kernels.convolution.definitions import jvp, jvp_vjp
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.triton_op import fused_adjoint, fused_convolution
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.instructions import Instructions

__all__ = ["forward", "jvp", "jvp_vjp", "vjp"]


def forward(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None = None,
) -> list[Tensor]:
    """As `definitions.forward`."""
    if isinstance(weights, PairWeights):
        return definitions.forward(x, vectors, edges, weights, instructions, linear_out)
    summed = fused_convolution(x, vectors, edges, weights, instructions)
    if linear_out is None:
        return summed
    return [block @ matrix for block, matrix in zip(summed, linear_out.matrices, strict=True)]


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
    """As `definitions.vjp`."""
    if isinstance(weights, PairWeights):
        return definitions.vjp(g, x, vectors, edges, weights, instructions, linear_out, dx)
    if linear_out is not None:
        g = [block @ matrix.T for block, matrix in zip(g, linear_out.matrices, strict=True)]
    found, dvectors = fused_adjoint(
        list(g), x, vectors, edges, weights, instructions, needs_dx=dx is not None
    )
    for total, part in zip(dx or [], found, strict=True):
        total += part
    return dvectors

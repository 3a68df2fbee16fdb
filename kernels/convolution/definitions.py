"""The four operations of the convolution in plain torch: what all fast versions are held to.

    forward  messages summed over neighbours
    vjp      from the gradient of the messages, those of features and edge vectors
    jvp      messages, and how they change with features and along displacements of the edges
    jvp_vjp  from the gradients of both, those of features (values and changes) and of the weights

Dynamics and the first pass of training are forward and vjp. A loss of energies and forces needs
d/dtheta of t . dE/dr, where t = -dL/dF is a constant by then: the parameter gradient of a
directional derivative. Every feature becomes a pair (value, change), and with M = C Y(n),
dM = C dY/dr . t, dW = (n . t) dW/dr, per edge and path

    out  = W (x . M)
    dout = W (dx . M) + W (x . dM) + dW (x . M)

so that one reverse pass through this first-order form replaces the second derivative.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import evaluate
from fastequi.kernels.spherical_harmonics import spherical_harmonics


def forward(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None = None,
) -> list[Tensor]:
    """Messages summed over neighbours; here differentiable in x and vectors.

    x        per input irrep [senders, 2*l1+1, channels]
    vectors  [edges, 3] in Å, from receiver to sender
    returns  per output irrep [atoms, 2*l3+1, channels of all its paths, or of the linear map]
    """
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    harmonics = spherical_harmonics(vectors / lengths.unsqueeze(1), instructions.l_max)
    out = convolution(
        x, harmonics, _weights_at(lengths, edges, weights), edges.sender, edges.receiver,
        instructions, edges.n_receivers,
    )  # fmt: skip
    if linear_out is None:
        return out
    return [block @ matrix for block, matrix in zip(out, linear_out.matrices, strict=True)]


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
    """dE/dvectors [edges, 3] from g = dE/dout; dE/dx is added to dx where that is given."""
    leaf = vectors.detach().requires_grad_(True)
    leaves = [block.detach().requires_grad_(dx is not None) for block in x]
    with torch.enable_grad():
        out = forward(leaves, leaf, edges, weights, instructions, linear_out)
    wanted = [leaf, *(leaves if dx is not None else [])]
    dvectors, *found = torch.autograd.grad(out, wanted, g, materialize_grads=True)
    for total, part in zip(dx or [], found, strict=True):
        total += part
    return dvectors


def jvp(
    x: list[Tensor],
    vectors: Tensor,
    displacements: Tensor,
    edges: Edges,
    weights: PairWeights,
    instructions: Instructions,
    has_tangents: bool = True,
) -> list[Tensor]:
    """Messages and their changes; here differentiable in x and the weights' values.

    x              per input irrep [2 * senders, 2*l1+1, channels]: values, then changes
    vectors        [edges, 3] in Å, from receiver to sender
    displacements  t [edges, 3], their change
    has_tangents   False: x is [senders, ...] and does not change (features of species)
    returns        per output irrep [2 * atoms, 2*l3+1, channels of all its paths]
    """
    harmonics, turning = harmonics_along(vectors, displacements, instructions.l_max)
    value, slope = weights.values.index_select(0, weights.pair).unbind(1)
    change = slope * rates(vectors, displacements).unsqueeze(1)
    n_senders = len(x[0]) // 2 if has_tangents else len(x[0])
    values, tangents = [b[:n_senders] for b in x], [b[n_senders:] for b in x]

    def apply(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        return convolution(x, y, w, edges.sender, edges.receiver, instructions, edges.n_receivers)

    out = apply(values, harmonics, value)
    terms = [apply(values, turning, value), apply(values, harmonics, change)]
    if has_tangents:
        terms.append(apply(tangents, harmonics, value))
    dout = [torch.stack(parts).sum(dim=0) for parts in zip(*terms, strict=True)]
    return [torch.cat(halves) for halves in zip(out, dout, strict=True)]


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
    """The gradients of the weights' values and of x, from that of what `jvp` returns."""
    values, *leaves = (block.detach().requires_grad_(True) for block in (weights.values, *x))
    with torch.enable_grad():
        held = PairWeights(values, weights.pair)
        out = jvp(leaves, vectors.detach(), displacements, edges, held, instructions, has_tangents)
    d_values, *dx = torch.autograd.grad(out, [values, *leaves], g, materialize_grads=True)
    return d_values, dx


def _weights_at(lengths: Tensor, edges: Edges, weights: Weights) -> Tensor:
    """W [edges, n_weights], differentiable in the lengths; values of pairs are constants."""
    if isinstance(weights, PairWeights):
        value, slope = weights.values.detach().index_select(0, weights.pair).unbind(1)
        return value + slope * (lengths - lengths.detach()).unsqueeze(1)
    if edges.cutoff_scale is not None:
        lengths = lengths * edges.cutoff_scale
    return evaluate(lengths, weights)


@torch.no_grad()
def harmonics_along(vectors: Tensor, displacements: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """Y(n) and dY/dr . t, [edges, (l_max + 1)^2]."""

    def harmonics(vectors: Tensor) -> Tensor:
        return spherical_harmonics(torch.nn.functional.normalize(vectors, dim=1), l_max)

    return torch.func.jvp(harmonics, (vectors,), (displacements,))  # pyright: ignore[reportReturnType]


@torch.no_grad()
def rates(vectors: Tensor, displacements: Tensor) -> Tensor:
    """dr/dt = n . t, [edges]."""
    return (torch.nn.functional.normalize(vectors, dim=1) * displacements).sum(dim=1)

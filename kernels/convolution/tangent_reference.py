"""The convolution for training, second pass: values and their change along given displacements.

A loss of energies and forces needs d/dtheta of t . dE/dr, where t = -dL/dF is a constant by then:
the parameter gradient of a directional derivative. Every feature becomes a pair (value, tangent),
and with M = C Y(n), dM = C dY/dr . t, dW = (n . t) dW/dr, per edge and path

    out  = W (x . M)
    dout = W (dx . M) + W (x . dM) + dW (x . M)

so that one reverse pass through this first-order form replaces the second derivative. Plain torch,
of the trilinear form; the definition that the fast versions are held to.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fastequi.kernels.convolution import reference
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.rows_reference import Pullback, gradients
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.spherical_harmonics import spherical_harmonics


def tangent_convolution(
    x: list[Tensor],
    rows: Tensor,
    vectors: Tensor,
    displacements: Tensor,
    pair: Tensor,
    edges: Edges,
    instructions: Instructions,
    moving: bool = True,
    *,
    convolution: Callable[..., list[Tensor]] = reference.convolution,
) -> list[Tensor]:
    """Messages and their tangents; differentiable in x and rows, the geometry is constant.

    x              per input irrep [2 * senders, 2*l1+1, channels]: values, then tangents
    rows           [pairs, 2, n_weights]: W and dW/dr
    vectors        [edges, 3] in Å, from receiver to sender
    displacements  t [edges, 3], the change of `vectors`
    pair           [edges] int64, the row of each edge
    moving         False: x is [senders, ...], its tangents are zero (features of species)
    convolution    any implementation of the trilinear form
    returns        per output irrep [2 * atoms, 2*l3+1, channels of all its paths]
    """
    harmonics, turning = harmonics_along(vectors, displacements, instructions.l_max)
    value, slope = rows.index_select(0, pair).unbind(1)
    change = slope * rates(vectors, displacements).unsqueeze(1)
    n_senders = len(x[0]) // 2 if moving else len(x[0])
    values, tangents = [b[:n_senders] for b in x], [b[n_senders:] for b in x]

    def apply(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        return convolution(x, y, w, edges.sender, edges.receiver, instructions, edges.n_receivers)

    out = apply(values, harmonics, value)
    terms = [apply(values, turning, value), apply(values, harmonics, change)]
    if moving:
        terms.append(apply(tangents, harmonics, value))
    dout = [torch.stack(parts).sum(dim=0) for parts in zip(*terms, strict=True)]
    return [torch.cat(halves) for halves in zip(out, dout, strict=True)]


def tangent_pass(
    x: list[Tensor],
    rows: Tensor,
    vectors: Tensor,
    displacements: Tensor,
    pair: Tensor,
    edges: Edges,
    instructions: Instructions,
    moving: bool = True,
    *,
    convolution: Callable[..., list[Tensor]] = reference.convolution,
) -> tuple[list[Tensor], Pullback]:
    """`tangent_convolution` and its pullback: gradients of rows and x."""
    leaves = [block.detach().requires_grad_(True) for block in (rows, *x)]
    geometry = vectors.detach(), displacements, pair, edges
    with torch.enable_grad():
        out = tangent_convolution(
            leaves[1:], leaves[0], *geometry, instructions, moving, convolution=convolution
        )
    return [block.detach() for block in out], partial(gradients, out, leaves)


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

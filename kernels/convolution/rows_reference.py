"""The convolution for training, first pass: energies and forces without parameter gradients.

The inference form (`fused_reference.py`) with weights from rows rather than from a table: the
radial network gives, per pair of atoms, W and dW/dr. Both directed edges of a pair share its row.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from fastequi.kernels.convolution import reference
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.spherical_harmonics import spherical_harmonics

#: Gradients of the inputs of a pass, from those of its output.
Pullback = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def rows_convolution(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    rows: Tensor,
    pair: Tensor,
    instructions: Instructions,
    *,
    convolution: Callable[..., list[Tensor]] = reference.convolution,
) -> list[Tensor]:
    """Messages summed over neighbours; differentiable in x and vectors, rows are constants.

    x            per input irrep [senders, 2*l1+1, channels]
    vectors      [edges, 3] in Å, from receiver to sender
    rows         [pairs, 2, n_weights]: W and dW/dr
    pair         [edges] int64, the row of each edge
    convolution  any implementation of the trilinear form
    returns      per output irrep [atoms, 2*l3+1, channels of all its paths]
    """
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    harmonics = spherical_harmonics(vectors / lengths, instructions.l_max)
    value, slope = rows.detach().index_select(0, pair).unbind(1)
    weights = value + slope * (lengths - lengths.detach())  # W here, and its derivative
    return convolution(
        x, harmonics, weights, edges.sender, edges.receiver, instructions, edges.n_receivers
    )


def rows_pass(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    rows: Tensor,
    pair: Tensor,
    instructions: Instructions,
    wants_x: bool,
    *,
    convolution: Callable[..., list[Tensor]] = reference.convolution,
) -> tuple[list[Tensor], Pullback]:
    """`rows_convolution` and its pullback: gradients of vectors, and of x where it is wanted."""
    leaf = vectors.detach().requires_grad_(True)
    leaves = [block.detach().requires_grad_(wants_x) for block in x]
    with torch.enable_grad():
        out = rows_convolution(
            leaves, leaf, edges, rows, pair, instructions, convolution=convolution
        )
    wanted = [leaf, *(leaves if wants_x else [])]
    return [block.detach() for block in out], partial(gradients, out, wanted)


def gradients(
    out: Sequence[Tensor], leaves: Sequence[Tensor], g: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Of leaves of autograd, zeros where there is no path."""
    return torch.autograd.grad(out, leaves, g, materialize_grads=True)

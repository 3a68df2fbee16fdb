"""The inference form of the convolution in plain torch: harmonics and weights evaluated inside.

The definition that the fused kernels are held to: values, dx, and dE/dr per edge by autograd.
"""

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable, evaluate
from fastequi.kernels.spherical_harmonics import spherical_harmonics


def fused_convolution(
    x: list[Tensor], vectors: Tensor, edges: Edges, table: RadialTable, instructions: Instructions
) -> list[Tensor]:
    """Messages summed over neighbours.

    x        per input irrep [senders, 2*l1+1, channels]
    vectors  [edges, 3] in Å, from receiver to sender
    returns  per output irrep [atoms, 2*l3+1, channels of all its paths]
    """
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    harmonics = spherical_harmonics(vectors / lengths.unsqueeze(1), instructions.l_max)
    stretched = lengths if edges.stretch is None else lengths * edges.stretch
    weights = evaluate(stretched, table)
    return convolution(
        x, harmonics, weights, edges.sender, edges.receiver, instructions, edges.n_receivers
    )

"""Nuclear repulsion, which has no weights, and its gradient along edges."""

import torch
from torch import Tensor

from fastequi.graph import Graph
from fastequi.model.nequip import NequIP


def repulsion(network: NequIP, graph: Graph, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(energies [atoms] in eV, float64; dE/dr [edges, 3] in eV/Å) for edge vectors [edges, 3]."""
    leaf = vectors.to(network.dtype, copy=True).requires_grad_(True)
    with torch.enable_grad():
        energies = network.repulsion(graph, torch.linalg.vector_norm(leaf, dim=1))
        (gradient,) = torch.autograd.grad(energies.sum(), leaf)
    return energies.detach(), gradient

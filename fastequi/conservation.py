"""Whether forces are the gradient of any energy."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fastequi.graph import Graph
from fastequi.potential import Potential


def hessian_asymmetry(
    potential: Potential,
    graph: Graph,
    n_directions: int = 3,
    side_A: float = 0.05,
    n_nodes: int = 8,
) -> float:
    """How far forces are from being the gradient of any energy: 0 for a conservative potential.

    By Stokes' theorem the work around a small parallelogram, spanned by two random displacements
    of all atoms, is the mean antisymmetric part of the Hessian on it, times its area. Work is
    integrated by Gauss-Legendre quadrature, so that neither a large step nor rounding enters much.
    Returns the largest, relative to the largest mean element of the Hessian. side_A is the root
    mean square displacement of an atom; the graph's edges stay as they are, so build it with a
    skin of a few tenths of an angstrom.
    """
    random = torch.Generator().manual_seed(0)
    shape = (n_directions, *graph.positions.shape)
    v = torch.randn(shape, generator=random, dtype=torch.float64).to(graph.positions.device)
    v = v * (side_A * (graph.n_atoms / v.square().sum(dim=(1, 2), keepdim=True)).sqrt())
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)

    def mean_force(start: Tensor, along: Tensor, axes: Tensor) -> Tensor:
        """Forces averaged over the side from `start`, projected on `axes`."""
        total = torch.zeros(len(axes), dtype=torch.float64, device=along.device)
        for node, weight in zip(nodes, weights, strict=True):
            moved = replace(graph, positions=graph.positions + start + (1 + node) / 2 * along)
            total += weight / 2 * torch.einsum("ind,nd->i", axes, potential.compute(moved).forces)
        return total

    zero, curls, elements = torch.zeros_like(v[0]), [], []
    for i in range(n_directions):
        for j in range(i):
            pair = torch.stack([v[i], v[j]])
            left, right = mean_force(zero, v[j], pair), mean_force(v[i], v[j], pair)
            below, above = mean_force(zero, v[i], pair), mean_force(v[j], v[i], pair)
            change_i, change_j = right - left, above - below  # along v_i, along v_j
            curls.append(abs(float(change_i[1] - change_j[0])))
            elements += [abs(float(change_i[0])), abs(float(change_j[1]))]
    return max(curls) / max(elements)


def assert_hessian_symmetric(potential: Potential, graph: Graph, tolerance: float = 1e-5) -> None:
    """Forces are the gradient of one energy: wrong by one path's weights, and this fails."""
    asymmetry = hessian_asymmetry(potential, graph)
    if not asymmetry <= tolerance:
        raise AssertionError(
            f"the forces are not the gradient of an energy: Hessian asymmetry {asymmetry:.1e} > "
            f"{tolerance:.0e} ({graph.n_atoms} atoms, {graph.n_edges} edges)"
        )

"""One layer with real edges: what every provider of a convolution computes, and is held to.

The edges are those of rattled silicon within 5 Å, so that neighbours are near in memory as they are
in practice. Radial weights come from a network of random weights, of which the table is made: those
who have no table compute the network, and all compute the same function of positions.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import silicon
from benchmarks.work import LAYERS, layer_instructions
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable, build_table
from fastequi.kernels.spherical_harmonics import spherical_harmonics
from fastequi.md.neighbors.build import build_edges

CUTOFF_A = 5.0
EDGES_PER_ATOM = 28


class RadialNetwork:
    """W(r): eight Bessel functions under a polynomial envelope, then a perceptron with SiLU."""

    def __init__(self, hidden: tuple[int, ...], n_weights: int) -> None:
        random = torch.Generator().manual_seed(0)
        widths = (8, *hidden, n_weights)
        self.matrices = [
            torch.randn(a, b, generator=random, dtype=torch.float64) / math.sqrt(a)
            for a, b in pairwise(widths)
        ]

    def to(self, dtype: torch.dtype, device: torch.device) -> "RadialNetwork":
        moved = RadialNetwork.__new__(RadialNetwork)
        moved.matrices = [matrix.to(device, dtype) for matrix in self.matrices]
        return moved

    def __call__(self, r: Tensor) -> Tensor:
        d = (r / CUTOFF_A).clamp(max=1.0).unsqueeze(1)
        n = torch.arange(1, 9, dtype=r.dtype, device=r.device)
        envelope = 1 - 28 * d**6 + 48 * d**7 - 21 * d**8  # DimeNet eq. 8, p = 6
        h = torch.sin(n * math.pi * d) / d.clamp(min=1e-12) * envelope
        for matrix in self.matrices[:-1]:
            h = torch.nn.functional.silu(h @ matrix)
        return h @ self.matrices[-1]


@dataclass(frozen=True)
class LayerProblem:
    """Inputs of one layer on a device.

    vectors [edges, 3]; x per input irrep [atoms, 2 l + 1, channels]; g likewise per output irrep
    """

    name: str
    instructions: Instructions
    edges: Edges
    vectors: Tensor
    x: list[Tensor]
    g: list[Tensor]
    network: RadialNetwork
    table: RadialTable

    @property
    def n_edges(self) -> int:
        return self.edges.n_edges

    @property
    def device(self) -> torch.device:
        return self.vectors.device

    @property
    def dtype(self) -> torch.dtype:
        return self.vectors.dtype

    def to(self, dtype: torch.dtype, device: torch.device) -> "LayerProblem":
        """The same problem elsewhere, from the same numbers."""
        edges = Edges(*(getattr(self.edges, name).to(device) for name in _INDICES))
        x = [block.to(device, dtype) for block in self.x]
        g = [block.to(device, dtype) for block in self.g]
        network, table = self.network.to(dtype, device), self.table.to(dtype, device)
        vectors = self.vectors.to(device, dtype)
        return LayerProblem(self.name, self.instructions, edges, vectors, x, g, network, table)

    @cached_property
    def harmonics(self) -> Tensor:
        """Y [edges, (l_max + 1)^2]."""
        return self.harmonics_of(self.vectors)

    @cached_property
    def weights(self) -> Tensor:
        """W [edges, weights] from the network."""
        return self.network(torch.linalg.vector_norm(self.vectors, dim=1))

    def harmonics_of(self, vectors: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        return spherical_harmonics(vectors / lengths, self.instructions.l_max)


_INDICES = ("sender", "receiver", "row_start")


def layer_problem(
    name: str, n_edges: int, dtype: torch.dtype, device: torch.device
) -> LayerProblem:
    """A layer of `work.LAYERS` with about so many edges."""
    instructions = layer_instructions(name)
    atoms = silicon(max(1, round(n_edges / EDGES_PER_ATOM)))
    cell = np.asarray(atoms.cell, dtype=np.float64)
    found = build_edges(atoms.positions, cell, atoms.pbc, CUTOFF_A)
    dst, src = torch.tensor(found[0]), torch.tensor(found[1])
    positions = torch.tensor(atoms.positions)
    shift = torch.tensor(found[2:].T, dtype=torch.float64) @ torch.tensor(cell)
    random = torch.Generator().manual_seed(1)

    def features(irreps) -> list[Tensor]:
        return [
            torch.randn(len(atoms), ir.dim, mul, generator=random).to(dtype) for mul, ir in irreps
        ]

    network = RadialNetwork(LAYERS[name][1], instructions.n_weights)
    table = build_table(network, CUTOFF_A, dtype)
    problem = LayerProblem(
        name,
        instructions,
        make_edges(src, dst, len(atoms)),
        positions[src] - positions[dst] + shift,
        features(instructions.irreps_in),
        features(instructions.irreps_out),
        network,
        table,
    )
    return problem.to(dtype, device)

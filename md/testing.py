"""Small potentials with known physics, to try the engine on without a model.

Each satisfies `fastequi.potential.Potential`, runs on any device, and does its arithmetic in the
dtype it is given, as a model would.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.graph import Graph, edge_vectors
from fastequi.potential import Prediction, prediction_from_edges
from fastequi.units import ACCELERATION_A_PER_FS2

CPU = torch.device("cpu")


def smooth_switch(r: Tensor, start: float, end: float) -> tuple[Tensor, Tensor]:
    """1 below `start`, 0 beyond `end`, twice continuously differentiable; and its slope.

    1 - 10 t³ + 15 t⁴ - 6 t⁵ with t = (r - start) / (end - start).
    """
    t = ((r - start) / (end - start)).clamp(0.0, 1.0)
    value = 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
    return value, -30.0 * t**2 * (1.0 - t) ** 2 / (end - start)


@dataclass(frozen=True)
class LennardJones:
    """4 epsilon ((sigma/r)¹² - (sigma/r)⁶), switched off smoothly between switch and cutoff.

    Defaults are argon's. epsilon_eV in eV, lengths in Å. The energy has two continuous
    derivatives, so that the order of an integrator can be measured.
    """

    epsilon_eV: float = 0.0104
    sigma_A: float = 3.405
    switch_A: float = 6.0
    cutoff: float = 7.5
    atomic_numbers: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = CPU

    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress of every system of the batch."""
        vectors = edge_vectors(graph).to(self.dtype)
        energies, gradients = self.of_edges(vectors, graph)
        return prediction_from_edges(graph, energies, vectors, gradients)

    def of_edges(self, vectors: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """Energies [atoms] in eV, and their gradients by the vectors [edges, 3] of the edges."""
        vectors = vectors.to(self.dtype)
        r = vectors.square().sum(dim=1).sqrt()
        s6 = ((self.sigma_A / r) ** 2) ** 3  # other powers are rounded by where a number stands
        pair = 4.0 * self.epsilon_eV * (s6 * s6 - s6)
        slope = 4.0 * self.epsilon_eV * (6.0 * s6 - 12.0 * s6 * s6) / r
        switch, switch_slope = smooth_switch(r, self.switch_A, self.cutoff)
        half_pair = 0.5 * pair * switch  # each pair is two edges
        half_slope = 0.5 * (slope * switch + pair * switch_slope)
        energies = half_pair.new_zeros(graph.n_atoms).index_add(0, graph.edge_dst, half_pair)
        return energies, (half_slope / r).unsqueeze(1) * vectors


@dataclass(frozen=True)
class HarmonicWells:
    """Each atom in its own well: ½ k |x - anchor|²; without neighbours, without stress.

    anchors [atoms, 3] in Å; stiffness_eV_per_A2 in eV/Å².
    """

    anchors: Tensor
    stiffness_eV_per_A2: float
    cutoff: float = 1.0
    atomic_numbers: tuple[int, ...] | None = None
    device: torch.device = CPU

    def compute(self, graph: Graph) -> Prediction:
        """Energies and forces; the stress of no edges, zero or NaN."""
        displacement = graph.positions - self.anchors
        energies = 0.5 * self.stiffness_eV_per_A2 * displacement.square().sum(dim=1)
        edgeless = edge_vectors(graph)
        free = prediction_from_edges(graph, energies, edgeless, torch.zeros_like(edgeless))
        forces = -self.stiffness_eV_per_A2 * displacement
        return Prediction(free.energy, free.energies, forces, free.stress)

    def timestep_fs(self, mass_amu: float, dt_omega: float) -> float:
        """The time step for which timestep × angular frequency is `dt_omega`."""
        omega = math.sqrt(self.stiffness_eV_per_A2 / mass_amu * ACCELERATION_A_PER_FS2)
        return dt_omega / omega


@dataclass(frozen=True)
class NoForces:
    """An ideal gas: no energy, no forces."""

    cutoff: float = 5.0
    atomic_numbers: tuple[int, ...] | None = None
    device: torch.device = CPU

    def compute(self, graph: Graph) -> Prediction:
        """Zeros."""
        zeros = torch.zeros_like(graph.positions)
        return Prediction(
            energy=zeros.new_zeros(graph.n_systems),
            energies=zeros.new_zeros(graph.n_atoms),
            forces=zeros,
            stress=torch.zeros_like(graph.cell),
        )

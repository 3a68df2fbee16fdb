"""Potential: what the molecular-dynamics engine, the calculators and the tests ask of a model."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fastequi.graph import EdgeCut, Graph, volumes


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a potential says of a graph; float64 sums, whatever the arithmetic of the model.

    energy    [systems]         eV
    energies  [atoms]           eV, each atom's share
    forces    [atoms, 3]        eV/Å
    stress    [systems, 3, 3]   eV/Å³, ASE's sign (tension > 0); NaN where the cell has no volume
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor
    stress: Tensor


class ForceCall(Protocol):
    """Energies and forces of atoms that move under one neighbour list."""

    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        """Positions [atoms, 3] and cell [systems, 3, 3] in Å, as in `Graph`."""
        ...

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last call, in Å; infinite where the list has none."""
        ...


@runtime_checkable
class StaticForceCall(Protocol):
    """A `ForceCall` that a device can repeat without a word from the host.

    It asks nothing of the data and launches the same work each time. What it reads besides its
    arguments, and the prediction that it returns, stay where they are: the same tensors, written
    anew. `force_call(potential, graph, last)` gives `last` back where a list found room in its
    memory, and whoever has recorded calls of it may go on repeating them; another object is other
    memory.

    flags  int32 [1], on the device: bits of `fastequi.kernels.triton.step.flags` that calls have
           raised, NOT_FINITE and what else they notice; the caller clears them
    """

    @property
    def flags(self) -> Tensor: ...

    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction: ...

    def shortest_distance_A(self) -> float: ...


@runtime_checkable
class Potential(Protocol):
    """Anything that turns a graph into energies and forces.

    A graph may hold edges longer than `cutoff` (a neighbour list with a skin): they contribute
    exactly zero.
    """

    @property
    def cutoff(self) -> float:
        """Interaction range of one edge in Å."""
        ...

    @property
    def atomic_numbers(self) -> tuple[int, ...] | None:
        """Elements that the potential knows; None for any."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the arithmetic happens."""
        ...

    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress of every system of the batch."""
        ...


def prediction_from_edges(
    graph: Graph, energies: Tensor, edge_vectors: Tensor, edge_gradients: Tensor
) -> Prediction:
    """Assemble a prediction from per-atom energies [atoms] and dE/dr_edge [edges, 3].

    F_i = sum over edges received - sum over edges sent; the virial per system is
    sum_e r_e ⊗ dE/dr_e, which for a rotation-invariant energy is symmetric, and is made so.
    """
    g = edge_gradients.to(torch.float64)
    forces = torch.zeros_like(graph.positions)
    forces = forces.index_add(0, graph.edge_dst, g).index_add(0, graph.edge_src, -g)
    r, edge_system = edge_vectors.to(torch.float64), graph.system_idx[graph.edge_dst]
    virial = torch.zeros_like(graph.cell)
    for row in range(3):  # at once, the nine products of every edge would be the widest tensor
        virial[:, row].index_add_(0, edge_system, r[:, row : row + 1] * g)
    stress = stress_of(virial, volumes(graph.cell))
    energies = energies.to(torch.float64)
    energy = energies.new_zeros(graph.n_systems).index_add(0, graph.system_idx, energies)
    return Prediction(energy, energies, forces, stress)


def stress_of(virial: Tensor, volume: Tensor) -> Tensor:
    """The symmetric part of virials over the volumes, [systems, 3, 3] in eV/Å³."""
    volume = volume.view(-1, 1, 1)
    has_volume = volume > 0  # the other rows are NaN, and so chosen that no NaN enters a gradient
    stress = 0.5 * (virial + virial.mT) / torch.where(has_volume, volume, 1.0)
    return torch.where(has_volume, stress, torch.nan)


def force_call(potential: Potential, graph: Graph, last: ForceCall | None = None) -> ForceCall:
    """Of a graph whose edges reach up to the cutoff and a skin.

    last: the caller's own until now, which is given up; its memory may be taken over.
    A potential that has a method `force_call(graph, last)` knows how; another one computes the
    edges that are within its cutoff, each time.
    """
    own = getattr(potential, "force_call", None)
    return CutCall(potential, graph) if own is None else own(graph, last)


class CutCall:
    """A `ForceCall` through `Potential.compute`, with the edges that are within the cutoff."""

    def __init__(self, potential: Potential, graph: Graph) -> None:
        self.potential, self.cut = potential, EdgeCut(graph, potential.cutoff)

    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        return self.potential.compute(self.cut.graph(positions, cell))

    def shortest_distance_A(self) -> float:
        return self.cut.shortest_distance_A()

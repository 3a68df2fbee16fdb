"""Energies and forces of the atoms of one domain, whose neighbours other processes may own.

The graph holds own atoms first and ghosts behind them, as far away as one cutoff whatever the
number of layers; own atoms alone receive. What ghosts send comes from their owners, layer by layer,
and the gradient at it goes back to them (`Halo`). Every process walks through all layers, even one
without atoms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.engine.arrangement import Halo, arrange, order_of, with_ghosts
from fastequi.engine.fused import LEAN_FROM, FusedNequIP
from fastequi.engine.repulsion import repulsion
from fastequi.graph import EdgeCut, Graph, edge_vectors


@dataclass(frozen=True)
class DomainPrediction:
    """energies [own atoms] in eV; forces [atoms, 3] in eV/Å, those on ghosts for their owners;
    virial [3, 3] in eV, sum of r ⊗ dE/dr over the edges of own atoms. All float64."""

    energies: Tensor
    forces: Tensor
    virial: Tensor


class DomainCall:
    """Of atoms that move under one neighbour list."""

    def __init__(
        self, engine: FusedNequIP, graph: Graph, n_own: int,
        halo: Callable[[Tensor | None], Halo],
    ) -> None:  # fmt: skip
        """graph: one system without a cell, edges up to the cutoff and a skin, received by the
        first n_own atoms; halo: makes one for the place of each own atom (None: all stay)."""
        self.engine, self.graph, self.n_own = engine, graph, n_own
        species = engine.network.species(graph.atomic_numbers)
        order = order_of(species[:n_own])
        self.halo = halo(order.place)
        self.order = with_ghosts(order, species[n_own:])
        with torch.no_grad():
            self.walk = engine.walk.of(order)
        self.cut = EdgeCut(graph, engine.cutoff)

    @torch.no_grad()
    def __call__(self, positions: Tensor) -> DomainPrediction:
        """positions [atoms, 3] in Å, float64, ghosts where they are."""
        graph = self.cut.graph(positions, self.graph.cell)
        vectors = edge_vectors(graph)
        energies, gradient = self.of_edges(graph, vectors)
        forces = torch.zeros_like(positions).index_add_(0, graph.edge_dst, gradient)
        forces.index_add_(0, graph.edge_src, -gradient)
        return DomainPrediction(energies, forces, vectors.T @ gradient)

    @torch.no_grad()
    def of_edges(self, graph: Graph, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """(energies [own atoms] in eV, dE/dr [edges, 3] in eV/Å), float64, of the same atoms with
        edges of these vectors [edges, 3] in Å, in the order of their receivers."""
        engine = self.engine
        dtype, scale = engine.network.dtype, engine.cutoff_scale(graph)
        a = arrange(graph, self.order, vectors, dtype, scale, self.halo)
        found = self.walk.energies(a, engine.tables, lean=self.n_own > LEAN_FROM)
        energies = a.atoms_back(found[0])
        gradient = a.edges_back(self.walk.gradient(a, engine.tables, *found[1:]))
        if engine.network.spec.zbl:
            more, slope = repulsion(engine.network, graph, vectors)
            energies, gradient = energies + more[: self.n_own], gradient + slope
        return energies.to(torch.float64), gradient.to(torch.float64)

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last call, in Å; infinite where the list has none."""
        return self.cut.shortest_distance_A()

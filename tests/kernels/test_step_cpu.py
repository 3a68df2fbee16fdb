"""Edges from positions and forces from edges, compiled, against torch on the same list."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from fastequi.engine.force_program import reverse_edges
from fastequi.graph import EdgeCut, Graph, edge_vectors, volumes
from fastequi.kernels.convolution.edges import make_edges
from fastequi.kernels.cpu.convolution import EdgeSums
from fastequi.kernels.cpu.step import SkinEdges, energies
from fastequi.kernels.parts import SkinList
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.potential import prediction_from_edges, stress_of

pytestmark = pytest.mark.widths
CUTOFF_A = 3.5


def list_of(skin: float = 0.7) -> Graph:
    """A skewed cell smaller than two cutoffs, a molecule, an atom without neighbours."""
    crystal = bulk("Si", "diamond", 5.4)
    crystal.rattle(0.2, seed=1)
    molecule = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    s = state_from_atoms([crystal, molecule, Atoms("Si"), crystal * (2, 1, 1)])
    neighbors = NeighborList(CUTOFF_A, skin)
    topology = s.cell, s.pbc, s.system_idx
    neighbors.update(s.positions, *topology)
    return neighbors.graph_with_skin(s.positions, s.atomic_numbers, *topology)


def skin_edges(graph: Graph, dtype: torch.dtype) -> SkinEdges:
    """Rows in the order of the graph; senders' species are their elements."""
    scale = torch.linspace(1.0, 2.0, graph.n_edges, dtype=dtype)
    edges = make_edges(graph.edge_src, graph.edge_dst, graph.n_atoms, scale)
    edges = replace(edges, reverse=reverse_edges(graph))
    atoms, species = torch.arange(graph.n_atoms), graph.atomic_numbers[graph.edge_src]
    listed = SkinList(atoms, graph.system_idx, edges, species, graph.edge_shift)
    found = SkinEdges(listed, graph.n_systems, CUTOFF_A, dtype)
    found.place(graph.positions, graph.cell)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_edges_within_the_cutoff(
    dtype: torch.dtype, n_threads: int, on_threads: Callable[[int], None]
):
    on_threads(n_threads)
    graph = list_of()
    found = skin_edges(graph, dtype)
    found.find()
    check_edges(found, graph)
    moved = graph.positions + 0.1 * torch.sin(torch.arange(3.0 * graph.n_atoms)).view(-1, 3)
    found.place(moved, graph.cell)
    found.find()
    check_edges(found, replace(graph, positions=moved))


def check_edges(found: SkinEdges, graph: Graph) -> None:
    cut = EdgeCut(graph, CUTOFF_A)
    wanted = cut.graph(graph.positions, graph.cell)
    n = wanted.n_edges
    assert 0 < n < graph.n_edges
    edges = make_edges(wanted.edge_src, wanted.edge_dst, wanted.n_atoms)
    assert torch.equal(found.row_start, edges.row_start)
    assert torch.equal(found.sender[:n], wanted.edge_src)
    assert torch.equal(found.sender_species[:n], wanted.atomic_numbers[wanted.edge_src])
    vectors = edge_vectors(wanted)
    assert torch.allclose(found.exact[:n], vectors, rtol=0, atol=1e-14)
    assert torch.equal(found.vectors[:n], found.exact[:n].to(found.dtype))
    assert found.shortest_distance_A() == pytest.approx(cut.shortest_distance_A(), rel=1e-14)
    kept = found.kept[:n]
    assert torch.equal(graph.edge_src[kept], wanted.edge_src)
    assert torch.equal(found.cutoff_scale[0, :n], found.skin_scale[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_forces_energies_and_virial(
    dtype: torch.dtype, n_threads: int, on_threads: Callable[[int], None]
):
    """Any dE/dr, given as the sums of threads, against the formula."""
    on_threads(n_threads)
    graph = list_of()
    found = skin_edges(graph, dtype)
    found.find()
    wanted = EdgeCut(graph, CUTOFF_A).graph(graph.positions, graph.cell)
    random = torch.Generator().manual_seed(0)
    sums = EdgeSums(found.vectors, found.by_atom)
    sums.tensor.copy_(torch.randn(sums.tensor.shape, generator=random))
    of_atoms = torch.randn(graph.n_atoms, generator=random, dtype=torch.float64)
    found.collect(of_atoms, sums)
    gradient = sums.tensor.double().sum(dim=0)[:, : wanted.n_edges].T
    exact = prediction_from_edges(wanted, of_atoms, edge_vectors(wanted), gradient)
    assert torch.equal(found.energies, of_atoms)
    assert torch.allclose(found.energy, exact.energy, rtol=0, atol=1e-13)
    assert torch.allclose(found.forces, exact.forces, rtol=0, atol=1e-13)
    assert torch.allclose(found.forces.sum(dim=0), torch.zeros(3).double(), atol=1e-12)
    stress = stress_of(found.virial.view(-1, 3, 3), volumes(graph.cell))
    assert torch.equal(stress.isnan(), exact.stress.isnan())
    assert torch.allclose(stress.nan_to_num(), exact.stress.nan_to_num(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energies_of_atoms(dtype: torch.dtype):
    """Float32 is widened before it is scaled."""
    read = torch.from_numpy(np.linspace(-3, 5, 17)).to(dtype)
    scale, shift = torch.full((17,), 1.1).double(), torch.linspace(-1e4, 1e4, 17).double()
    assert torch.allclose(
        energies(read, scale, shift), scale * read.double() + shift, rtol=1e-15, atol=0
    )
